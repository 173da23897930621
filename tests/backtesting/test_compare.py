"""The comparison: every variant is the backtest with its settings, differences are to the baseline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from apex_tasks.backtesting.backtest import BacktestRequest, Market, backtest, open_market
from apex_tasks.backtesting.compare import VARIANTS, PolicyComparison, compare
from apex_tasks.cli import app
from apex_tasks.parameters import with_parameters
from apex_tasks.settings import PortfolioSettings
from apex_tasks.statistics.performance import annualized_sharpe
from tests.support.small_market import CALENDAR, JULY, LAST_SESSION, SmallMarket, small_settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def opened(market: SmallMarket) -> Market:
    settings = small_settings("unused", portfolio=PortfolioSettings(initial_capital_jpy=1e8))
    request = BacktestRequest(
        bundle=str(market.bundle),
        dataset=str(market.dataset),
        start=JULY,
        end=LAST_SESSION,
        settings=settings,
    )
    return open_market(request, CALENDAR)


@pytest.fixture(scope="module")
def comparison(opened: Market) -> PolicyComparison:
    return compare(opened)


def test_every_row_is_the_backtest_with_its_settings(opened: Market, comparison: PolicyComparison) -> None:
    assert [row.name for row in comparison.variants] == list(VARIANTS)
    for row in comparison.variants:
        result = backtest(opened, with_parameters(opened.request.settings, VARIANTS[row.name]))
        assert row.performance == result.performance
        assert row.mean_positions == np.mean([month.positions for month in result.rebalances])
        assert row.mean_turnover == np.mean([month.turnover for month in result.rebalances[1:]])
        assert row.mean_cash_share == np.mean([day.cash / day.portfolio_value for day in result.daily])
        assert row.sharpe_interval is not None
        assert row.sharpe_interval.estimate == pytest.approx(result.performance.sharpe_ratio, rel=1e-12)


def test_differences_are_to_the_baseline_on_the_same_days(
    opened: Market, comparison: PolicyComparison
) -> None:
    base = backtest(opened)
    for row in comparison.variants:
        result = backtest(opened, with_parameters(opened.request.settings, VARIANTS[row.name]))
        returns = [[day.daily_return for day in one.daily[1:]] for one in (result, base)]
        if returns[0] == returns[1]:
            assert row.sharpe_difference is None
        else:
            assert row.sharpe_difference is not None
            difference = annualized_sharpe(returns[0]) - annualized_sharpe(returns[1])
            assert row.sharpe_difference.estimate == pytest.approx(difference, rel=1e-9)
    assert comparison.variants[0].sharpe_difference is None
    assert any(row.sharpe_difference for row in comparison.variants)


def test_the_best_is_judged_against_all_that_were_tried(comparison: PolicyComparison) -> None:
    sharpe = {row.name: row.performance.sharpe_ratio for row in comparison.variants if row.performance}
    assert comparison.best == max(sharpe, key=lambda name: sharpe[name] or -9.0)
    assert comparison.deflated_sharpe is not None
    assert 0 < comparison.deflated_sharpe < 1


def test_the_command_prints_the_table(market: SmallMarket, tmp_path: Path) -> None:
    out = tmp_path / "comparison.json"
    arguments = ["--bundle", str(market.bundle), "--dataset", str(market.dataset), "--out", str(out)]
    done = CliRunner().invoke(
        app, ["compare", "--start", "2025-07-01", "--end", "2025-10-10", *arguments], env={"COLUMNS": "80"}
    )
    assert done.exit_code == 0, done.output
    for name in VARIANTS:
        assert name in done.stdout
    assert "…" not in done.stdout, "the table must fit 80 columns"
    written = json.loads(out.read_text())
    assert PolicyComparison.model_validate(written).model_dump(mode="json") == written
