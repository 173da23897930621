"""A chain of months: each starts from what the one before really became, and from nothing newer than its as-of."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from apex_tasks.monthly.run import run_month
from apex_tasks.published import audit
from apex_tasks.published.portfolio import published_dates
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store
from tests.support import bundle_factory
from tests.support.month_reading import results, run_document
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    FEATURE_COLUMNS,
    JULY,
    REBALANCES,
    SEPTEMBER,
    SmallMarket,
    home_after,
    market_bundle,
    month,
    portfolio,
    published_bytes,
    replaced,
    run,
    write_table,
)


def test_a_chain_is_published_and_clean(chain: Path) -> None:
    store = Store(chain)
    assert published_dates(store) == list(REBALANCES)
    assert audit.verify(store) == audit.AuditReport(4, ())
    parents = [run_document(chain, day)["parent"] for day in REBALANCES]
    assert parents[0] is None
    for before, parent in zip(REBALANCES, parents[1:], strict=False):
        assert parent == {"portfolio": f"{before}/v1", "content_hash": portfolio(chain, before).content_hash}


def scrambled_after(market: SmallMarket, last: dt.date, out: Path) -> Path:
    """Everything after a day is other: features, closes, volumes, sectors; some rows gone, some doubled."""
    random = np.random.default_rng(1)
    later = market.dates > last
    columns = {}
    for name in (*FEATURE_COLUMNS, "Close", "AdjustmentClose", "Volume", "TurnoverValue"):
        values = market.values(name)
        values[later] = random.permutation(values[later]) * random.choice([1e-3, 50.0, np.nan], later.sum())
        columns[name] = values
    changed = replaced(market.table, **columns)
    rows = np.arange(len(later))
    kept = np.concatenate([rows[~later], random.choice(rows[later], size=later.sum() // 2)])
    return write_table(changed.take(pa.array(kept)), out)


def without_after(market: SmallMarket, last: dt.date, out: Path) -> Path:
    return write_table(market.table.filter(pa.array(market.dates <= last)), out)


@pytest.mark.parametrize("future", [scrambled_after, pytest.param(without_after, marks=pytest.mark.slow)])
def test_nothing_after_the_as_of_session_changes_a_byte(
    market: SmallMarket, chain: Path, tmp_path: Path, future: object
) -> None:
    home = tmp_path / "home"
    for day in (JULY, SEPTEMBER):
        if day == SEPTEMBER:
            home_after(chain, home, AUGUST)
        dataset = future(market, AS_OF[day], tmp_path / f"{day}.parquet")
        run(market, home, day, dataset=str(dataset), cold_start=day == JULY)
        for name, data in results(home, day).items():
            assert data == portfolio(chain, day).read_bytes(name), (day, name)


def test_rows_up_to_the_as_of_session_do_matter(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    # Without this the test above could pass on a run that reads nothing at all.
    dataset = scrambled_after(market, AS_OF[JULY] - dt.timedelta(days=20), tmp_path / "early.parquet")
    with pytest.raises(Refusal):  # the doubled rows are now within reach
        run(market, tmp_path / "home", JULY, dataset=str(dataset), cold_start=True)
    values = market.values("returns_5d")
    values[market.dates == AS_OF[JULY] - dt.timedelta(days=20)] *= -3  # the model skips the last 4 rows
    dataset = market.changed(tmp_path / "changed.parquet", returns_5d=values)
    run(market, tmp_path / "home", JULY, dataset=str(dataset), cold_start=True)
    assert portfolio(tmp_path / "home", JULY).sha256("scores.parquet") != portfolio(chain, JULY).sha256(
        "scores.parquet"
    )


def test_a_bundle_for_evaluation_only_is_never_published(market: SmallMarket, tmp_path: Path) -> None:
    draft = bundle_factory.Draft()
    draft.manifest["evaluation_only"] = True
    bundle = str(draft.folder(tmp_path / "bundle"))
    with pytest.raises(Refusal, match="for evaluation only"):
        run(market, tmp_path / "home", JULY, bundle=bundle, cold_start=True)
    assert published_bytes(tmp_path / "home") == {}
    plan, published = run(market, tmp_path / "home", JULY, bundle=bundle, cold_start=True, dry_run=True)
    assert (plan.positions, published) == (35, None)


def test_a_dry_run_publishes_nothing(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    plan, published = run(market, tmp_path, JULY, cold_start=True, dry_run=True)
    assert published is None
    assert published_bytes(tmp_path) == {}
    stored = Store(tmp_path).get("plans", plan.key)
    assert stored.read_bytes("portfolio.csv") == portfolio(chain, JULY).read_bytes("portfolio.csv")


def test_an_archive_gives_the_same_bytes_as_its_folder(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    archive = market_bundle().archive(tmp_path / "bundle.tar.gz")
    run(market, tmp_path / "home", JULY, bundle=str(archive), cold_start=True)
    assert results(tmp_path / "home", JULY) == results(chain, JULY)


def test_what_a_step_left_is_found_again(market: SmallMarket, tmp_path: Path) -> None:
    first = month(market, tmp_path, JULY, cold_start=True)
    handshake = first.validate_bundle()
    panel = first.build_panel(handshake)
    scores = first.infer(handshake, panel)
    assert (panel.cached, scores.cached) == (False, False)
    again = first.build_panel(handshake)
    assert again == panel.model_copy(update={"cached": True})
    found = first.infer(handshake, again)
    assert found.cached
    assert found.content_hash == scores.content_hash
    # Airflow hands references on as JSON: the steps take them back as they come.
    loose = json.loads(json.dumps(panel.model_dump(mode="json")))
    assert first.infer(handshake, loose).content_hash == scores.content_hash


def test_the_log_tells_each_step(market: SmallMarket, tmp_path: Path) -> None:
    said: list[str] = []
    run_month(replace(month(market, tmp_path, JULY, cold_start=True), log=said.append))
    text = "\n".join(said)
    for part in (
        bundle_factory.INIT_LOG,
        "Panel of 2025-06-30 built: 120 eligible of 120 stocks",
        "Scores of 120 stocks computed",
        "Plan for 2025-07-01: 35 positions",
        "from cash",
        "Portfolio 2025-07-01/v1 published",
    ):
        assert part in text
