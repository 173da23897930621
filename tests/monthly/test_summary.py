"""A month in a few lines: what it says is what was published."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from apex_tasks.monthly.summary import TOP_NAMES, MonthOutcome, alerts_of, summarize_month
from apex_tasks.store import Store
from tests.support.month_reading import run_document, table
from tests.support.small_market import JULY, SmallMarket, month_request, run


@pytest.mark.parametrize(
    ("given", "outcomes"),
    [
        ({}, [MonthOutcome.PUBLISHED, MonthOutcome.UNCHANGED]),
        ({"dry_run": True}, [MonthOutcome.DRY_RUN, MonthOutcome.DRY_RUN]),
    ],
)
def test_the_outcome_of_a_month_and_of_the_same_again(
    market: SmallMarket, tmp_path: Path, given: dict[str, bool], outcomes: list[MonthOutcome]
) -> None:
    for outcome in outcomes:
        plan, published = run(market, tmp_path, JULY, cold_start=True, **given)
        request = month_request(market, tmp_path, JULY, cold_start=True, **given)
        summary = summarize_month(request, plan, published, Store(tmp_path))
        assert summary.verdict is outcome
        assert (summary.portfolio is None) == ("dry_run" in given)


def test_it_sums_up_the_published_files(market: SmallMarket, tmp_path: Path) -> None:
    plan, published = run(market, tmp_path, JULY, cold_start=True)
    summary = summarize_month(month_request(market, tmp_path, JULY), plan, published, Store(tmp_path))
    document, book = run_document(tmp_path, JULY), table(tmp_path, JULY, "portfolio.csv")
    metrics = document["metrics"]
    assert (summary.rebalance_date.isoformat(), summary.as_of.isoformat()) == ("2025-07-01", "2025-06-30")
    assert (summary.portfolio, summary.parent) == ("2025-07-01/v1", None)
    assert (summary.positions, summary.turnover) == (metrics["positions"], metrics["turnover"])
    assert (summary.cost_jpy, summary.cost_bps) == (metrics["cost_jpy"], metrics["apex_daily_cost_bps"])
    best = book.sort_values("rank").head(TOP_NAMES)
    assert [name.code for name in summary.top] == best["code"].tolist()
    assert [name.weight for name in summary.top] == pytest.approx(best["weight"].tolist())
    assert alerts_of(plan, Store(tmp_path)) == ()
    assert summary.alerts == ()
    assert summary.warnings == tuple(document["warnings"])


def test_a_name_without_a_sector_has_none(market: SmallMarket, tmp_path: Path) -> None:
    dataset = market.changed(
        tmp_path / "no sectors.parquet", sector33_code=pd.Series([None] * len(market.codes), dtype=object)
    )
    plan, published = run(market, tmp_path, JULY, cold_start=True, dataset=str(dataset))
    summary = summarize_month(month_request(market, tmp_path, JULY), plan, published, Store(tmp_path))
    assert {name.sector for name in summary.top} == {None}
