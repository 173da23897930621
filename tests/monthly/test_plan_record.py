"""What a plan leaves behind for people agrees with the plan itself."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.month_reading import book, run_document, table
from tests.support.small_market import (
    AUGUST,
    CALENDAR,
    JULY,
    OCTOBER,
    SmallMarket,
    portfolio,
    run,
    write_table,
)


@pytest.mark.parametrize("day", [JULY, AUGUST, OCTOBER])
def test_the_metrics_are_those_of_the_published_files(chain: Path, day: object) -> None:
    metrics = run_document(chain, day)["metrics"]
    held, orders = table(chain, day, "portfolio.csv"), table(chain, day, "orders.csv")
    after = book(chain, day)["orders"]["book"]
    assert (metrics["positions"], metrics["trades"]) == (len(held), len(orders))
    assert metrics["cost_jpy"] == pytest.approx(orders["cost_jpy"].sum(), rel=1e-12)
    assert metrics["cash_after_jpy"] == after["cash_jpy"]
    assert metrics["apex_daily_cost_bps"] == pytest.approx(
        metrics["cost_jpy"] / metrics["portfolio_value_jpy"] * 1e4, rel=1e-12
    )


def test_the_book_is_listed_best_rank_first_with_scores_of_the_same_month(chain: Path) -> None:
    held = table(chain, OCTOBER, "portfolio.csv")
    scores = pd.read_parquet(portfolio(chain, OCTOBER).folder / "scores.parquet").set_index("Code")
    ranked = held[held["rank"].notna()]
    assert ranked["rank"].is_monotonic_increasing
    assert held["rank"].isna().sort_values().tolist() == held["rank"].isna().tolist(), (
        "unranked names stand last"
    )
    for row in ranked.itertuples():
        assert row.rank == scores["Rank"][row.code]
        assert np.float32(row.score) == scores["Score"][row.code]


def test_the_sectors_of_all_eligible_stocks_are_counted(market: SmallMarket, chain: Path) -> None:
    document = run_document(chain, JULY)
    counts = document["eligible_by_sector"]
    assert sum(counts.values()) == document["metrics"]["eligible_stocks"] == 120
    assert counts == {f"{3050 + 50 * number}": 24 for number in range(5)}


def test_what_a_policy_gives_up_is_a_warning(market: SmallMarket, tmp_path: Path) -> None:
    run(market, tmp_path, JULY, cold_start=True, policy="capped")
    warnings = run_document(tmp_path, JULY)["warnings"]
    assert any("the policy gave something up" in warning for warning in warnings)


@pytest.mark.parametrize("day", [JULY, AUGUST])
def test_run_json_says_up_to_which_session_features_were_read(chain: Path, day: object) -> None:
    document = run_document(chain, day)
    as_of = dt.date.fromisoformat(document["as_of"])
    assert document["bundle"]["newest_rows_unread"] == 4
    assert document["features_until"] == str(CALENDAR.sessions(as_of - dt.timedelta(days=20), as_of)[-5])
    assert not any(
        "reach" in warning for warning in document["warnings"]
    )  # sound data are no cause for alarm


def test_features_of_another_origin_are_a_warning_of_the_month(market: SmallMarket, tmp_path: Path) -> None:
    dataset = write_table(
        market.table.replace_schema_metadata({b"features": b"prices-1"}), tmp_path / "d.parquet"
    )
    run(market, tmp_path / "home", JULY, cold_start=True, dataset=str(dataset))
    warnings = run_document(tmp_path / "home", JULY)["warnings"]
    assert [text for text in warnings if "origin prices-1" in text]
