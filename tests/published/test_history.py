"""The history that each month carries, against the ledger and a plain loop over the prices."""

from __future__ import annotations

import datetime as dt
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from apex_tasks.dataset.schema import open_dataset
from apex_tasks.published import audit
from apex_tasks.published.history import History
from apex_tasks.published.ledger import read_published_ledger
from apex_tasks.store import Store, file_sha256
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    JULY,
    OCTOBER,
    REBALANCES,
    SEPTEMBER,
    SmallMarket,
    home_after,
    portfolio,
    run,
)


def history(home: Path, rebalance: dt.date) -> dict[str, Any]:
    return portfolio(home, rebalance).read_json("history.json")


def market_by_hand(market: SmallMarket, first: dt.date, last: dt.date) -> dict[dt.date, float]:
    """Mean return of all stocks on each session after `first`, one row after the other."""
    before: dict[str, float] = {}
    moves: dict[dt.date, list[float]] = {}
    for (day, code), row in market.prices.sort_index().iterrows():
        if day > last:
            continue
        if code in before and abs(row["AdjustmentClose"] / before[code] - 1) <= 0.5:
            moves.setdefault(day, []).append(row["AdjustmentClose"] / before[code] - 1)
        before[code] = row["AdjustmentClose"]
    return {day: sum(found) / len(found) for day, found in sorted(moves.items()) if day > first}


def test_values_are_those_of_the_ledger_session_by_session(market: SmallMarket, chain: Path) -> None:
    for month in REBALANCES[1:]:
        found = history(chain, month)
        ledger = read_published_ledger(Store(chain), open_dataset(market.dataset), AS_OF[month])
        days = {str(day.session): day.book.portfolio_value_jpy for day in ledger.days}
        assert found["sessions"] == [str(AS_OF[JULY]), *days]
        assert found["portfolio_value_jpy"][0] == 10_000_000.0
        assert found["portfolio_value_jpy"][1:] == pytest.approx(list(days.values()), rel=1e-12)
        # The last is what the month's orders start from.
        before = portfolio(chain, month).read_json("book.json")["before"]
        assert found["portfolio_value_jpy"][-1] == before["portfolio_value_jpy"]


def test_market_returns_are_those_of_a_loop(market: SmallMarket, chain: Path) -> None:
    found = history(chain, OCTOBER)
    expected = market_by_hand(market, AS_OF[JULY], AS_OF[OCTOBER])
    assert found["sessions"][1:] == [str(day) for day in expected]
    assert found["market_returns"][0] is None
    assert found["market_returns"][1:] == pytest.approx(list(expected.values()), rel=1e-9, abs=1e-15)


def test_months_are_what_each_of_them_published(chain: Path) -> None:
    months = history(chain, OCTOBER)["months"]
    assert [month["portfolio"] for month in months] == [f"{day}/v1" for day in REBALANCES[:-1]] + [None]
    for day, month in zip(REBALANCES, months, strict=True):
        published = portfolio(chain, day).read_json("run.json")
        metrics = published["metrics"]
        assert (month["rebalance_date"], month["as_of"]) == (str(day), published["as_of"])
        assert month["first_build"] is (day == JULY)
        assert (month["positions"], month["trades"]) == (metrics["positions"], metrics["trades"])
        assert month["turnover"] == metrics["turnover"]
        assert (month["cost_bps"], month["cost_jpy"]) == (metrics["apex_daily_cost_bps"], metrics["cost_jpy"])
        assert month["portfolio_value_jpy"] == metrics["portfolio_value_jpy"]


def test_a_month_adds_to_its_parents_history_and_changes_nothing_of_it(chain: Path) -> None:
    for before, after in pairwise(REBALANCES):
        older, newer = history(chain, before), history(chain, after)
        for column in ("sessions", "portfolio_value_jpy", "market_returns"):
            assert newer[column][: len(older[column])] == older[column]


def without_history(home: Path, rebalance: dt.date) -> None:
    """Make a published month one of before histories were written."""
    folder = home / "portfolio" / str(rebalance) / "v1"
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["history.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "history.json").unlink()


def test_a_parent_without_a_history_starts_one(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    home = home_after(chain, tmp_path / "home", JULY, AUGUST)
    without_history(home, AUGUST)
    run(market, home, SEPTEMBER)
    found, whole = history(home, SEPTEMBER), history(chain, SEPTEMBER)
    start = whole["sessions"].index(str(AS_OF[AUGUST]))
    assert found["months"] == whole["months"][1:]
    assert found["sessions"] == whole["sessions"][start:]
    assert found["portfolio_value_jpy"] == whole["portfolio_value_jpy"][start:]
    assert found["market_returns"] == [None, *whole["market_returns"][start + 1 :]]
    # The result is the same: the history is no part of it.
    assert portfolio(home, SEPTEMBER).content_hash == portfolio(chain, SEPTEMBER).content_hash
    assert b"2025-07-01/v1" not in portfolio(home, SEPTEMBER).read_bytes("report.html")


def test_a_cold_start_in_mid_life_starts_anew(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    home = home_after(chain, tmp_path / "home", JULY)
    run(market, home, SEPTEMBER, cold_start=True)
    found = history(home, SEPTEMBER)
    assert found["sessions"] == [str(AS_OF[SEPTEMBER])]
    assert found["portfolio_value_jpy"] == [10_000_000.0]
    assert [month["rebalance_date"] for month in found["months"]] == [str(SEPTEMBER)]


def test_the_history_is_published_under_the_manifest_and_the_audit_trail(chain: Path, tmp_path: Path) -> None:
    artifact = portfolio(chain, OCTOBER)
    assert artifact.sha256("history.json") == file_sha256(Path(str(artifact.folder)) / "history.json")
    assert "history.json" not in artifact.manifest.identity
    assert audit.verify(Store(chain)).problems == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sessions": ("2025-06-30", "2025-06-30")},
        {"market_returns": (None,)},
        {"sessions": (), "portfolio_value_jpy": (), "market_returns": ()},
    ],
)
def test_a_history_that_does_not_fit_together_is_none(wrong: dict[str, Any]) -> None:
    sound = {
        "months": (),
        "sessions": ("2025-06-30", "2025-07-01"),
        "portfolio_value_jpy": (1.0, 2.0),
        "market_returns": (None, math.pi),
    }
    History.model_validate(sound)
    with pytest.raises(ValidationError):
        History.model_validate({**sound, **wrong})
