"""Tables of the portfolios, against figures computed by hand."""

from __future__ import annotations

import datetime as dt
import math
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from real_data.chart import equity_chart
from real_data.console_tables import show_differences, show_portfolios, show_rank_ics
from real_data.measures import (
    difference_table,
    equity_table,
    performance_table,
)
from real_data.portfolios import EQUAL_WEIGHT, MODEL, MOMENTUM, PORTFOLIOS
from real_data.rank_ic_summary import rank_ic_summary
from rich.console import Console

from apex_tasks.backtesting.result import BacktestResult, RebalanceRow
from apex_tasks.portfolio.daily_rows import DailyRow
from apex_tasks.statistics.performance import daily_returns_pct, measure_performance

CAPITAL, DAYS = 1e8, 300
FIRST = dt.date(2012, 1, 3)


def _result(returns: np.ndarray, costs: np.ndarray, positions: int) -> BacktestResult:
    """A portfolio that earns these returns, and pays these costs at the closes."""
    values, value = [], CAPITAL
    for earned, cost in zip(returns, costs, strict=True):
        value = value * (1 + earned) - cost
        values.append(value)
    days = [FIRST + dt.timedelta(days=n) for n in range(len(values))]
    return BacktestResult(
        synthetic=False,
        performance=measure_performance(
            values, initial_capital_jpy=CAPITAL, total_trades=3, total_cost_jpy=float(costs.sum())
        ),
        rebalances=tuple(
            RebalanceRow(
                **dict.fromkeys(("eligible", "priced", "candidate_total", "candidate_kept", "trades"), 0),
                date=day,
                as_of=day,
                fallback=False,
                positions=positions + number,
                cost_jpy=0.0,
                turnover=0.5 if number == 0 else 0.1 * number,
                estimated_cost_jpy=0.0,
                estimated_turnover=0.0,
                unfilled=(),
                filled=True,
                notes=(),
                weights={},
            )
            for number, day in enumerate(days[:3])
        ),
        failed_attempts=(),
        daily=tuple(
            DailyRow(
                date=day,
                portfolio_value=value,
                cash=0.01 * value,
                daily_return=change,
                cost_jpy=cost,
                dividends_jpy=0.0,
                positions=positions,
            )
            for day, value, cost, change in zip(days, values, costs, daily_returns_pct(values), strict=True)
        ),
        warnings=(),
        settings={"capital_jpy": CAPITAL},
        hashes={},
    )


RNG = np.random.default_rng(11)
MARKET = 0.0006 + 0.01 * RNG.standard_normal(DAYS)
RETURNS = {
    MODEL: 1.5 * MARKET + 0.004 * RNG.standard_normal(DAYS),
    MOMENTUM: 0.8 * MARKET + 0.002 + 0.001 * RNG.standard_normal(DAYS),
    EQUAL_WEIGHT: MARKET,
}
COSTS = {
    MODEL: np.where(np.arange(DAYS) % 20 == 0, 80_000.0, 0.0),
    MOMENTUM: np.where(np.arange(DAYS) % 20 == 0, 10_000.0, 0.0),
    EQUAL_WEIGHT: np.zeros(DAYS),
}
RESULTS = {name: _result(RETURNS[name], COSTS[name], 10) for name in PORTFOLIOS}
PERFORMANCE = performance_table(RESULTS).set_index("portfolio")
DIFFERENCES = difference_table(RESULTS).set_index("portfolio")


def test_before_costs_is_what_the_same_trades_would_have_earned() -> None:
    for name in PORTFOLIOS:
        row, earned = PERFORMANCE.loc[name], RETURNS[name]
        gross = math.prod(1 + r for r in earned) ** (252 / DAYS) - 1
        assert row["annualized_return_before_costs"] == pytest.approx(100 * gross, rel=1e-9)
        later = earned[1:]
        sharpe = later.mean() / later.std() * math.sqrt(252)
        assert row["sharpe_ratio_before_costs"] == pytest.approx(sharpe, rel=1e-9)
        yearly_cost = COSTS[name].sum() / CAPITAL / (DAYS / 252) * 100
        assert row["cost_pct_of_capital_per_year"] == pytest.approx(yearly_cost, rel=1e-12)
    assert (
        PERFORMANCE.loc[MODEL, "annualized_return_before_costs"]
        > (PERFORMANCE.loc[MODEL, "annualized_return"])
    )
    free = PERFORMANCE.loc[EQUAL_WEIGHT]
    assert free["annualized_return_before_costs"] == pytest.approx(free["annualized_return"], rel=1e-12)


def test_the_row_is_that_of_the_backtest() -> None:
    for name in PORTFOLIOS:
        row, result = PERFORMANCE.loc[name], RESULTS[name]
        for figure in ("total_return", "annualized_return", "sharpe_ratio", "max_drawdown"):
            assert row[figure] == getattr(result.performance, figure)
        assert row["sharpe_ratio_low"] < row["sharpe_ratio"] < row["sharpe_ratio_high"]
        assert row["mean_turnover"] == pytest.approx(0.15)
        assert row["mean_positions"] == 11
        daily = pd.Series([day.daily_return for day in result.daily[1:]])
        assert row["volatility"] == pytest.approx(daily.std(ddof=0) * math.sqrt(252))
    assert pd.isna(PERFORMANCE.loc[EQUAL_WEIGHT, "deflated_sharpe"])
    assert (PERFORMANCE.loc[[MODEL, MOMENTUM], "deflated_sharpe"] <= 1).all()


def test_differences_are_of_the_same_days() -> None:
    base = np.array([day.daily_return for day in RESULTS[EQUAL_WEIGHT].daily[1:]])
    for name in (MODEL, MOMENTUM):
        row = DIFFERENCES.loc[name]
        own = np.array([day.daily_return for day in RESULTS[name].daily[1:]])
        assert row["excess"] == pytest.approx((own - base).mean() * 252)
        assert row["tracking_error"] == pytest.approx((own - base).std() * math.sqrt(252))
        slope, intercept = np.polyfit(base, own, 1)
        assert row["beta"] == pytest.approx(slope)
        assert row["alpha"] == pytest.approx(intercept * 252)
        expected = PERFORMANCE.loc[name, "sharpe_ratio"] - PERFORMANCE.loc[EQUAL_WEIGHT, "sharpe_ratio"]
        assert row["sharpe_difference"] == pytest.approx(expected)
        for figure in ("excess", "sharpe_difference", "alpha"):
            assert row[f"{figure}_low"] < row[figure] < row[f"{figure}_high"]
    assert DIFFERENCES.loc[MODEL, "deflated_sharpe"] < DIFFERENCES.loc[MODEL, "probabilistic_sharpe"]
    # Momentum was made 50 % a year better than its beta, the model no better than its own.
    assert DIFFERENCES.loc[MOMENTUM, "alpha_low"] > 0
    assert DIFFERENCES.loc[MODEL, "alpha_low"] < 0 < DIFFERENCES.loc[MODEL, "alpha_high"]


def test_tables_are_the_same_again() -> None:
    pd.testing.assert_frame_equal(performance_table(RESULTS).set_index("portfolio"), PERFORMANCE)
    pd.testing.assert_frame_equal(difference_table(RESULTS).set_index("portfolio"), DIFFERENCES)


def test_the_chart_is_the_same_for_the_same_values() -> None:
    equity = equity_table(RESULTS)
    assert list(equity.columns) == ["date", *PORTFOLIOS]
    chart = equity_chart(equity, CAPITAL)
    assert ET.fromstring(chart).tag.endswith("svg")
    assert chart == equity_chart(equity, CAPITAL)
    assert chart != equity_chart(equity.assign(**{MODEL: equity[MOMENTUM]}), CAPITAL)


def test_all_fits_into_80_columns() -> None:
    console = Console(width=80, record=True)
    show_portfolios(console, PERFORMANCE.reset_index())
    show_differences(console, DIFFERENCES.reset_index())
    table = pd.DataFrame(
        {"as_of": range(24), "stocks": 5, "at_last_price": 0, "momentum_from_fill": RNG.uniform(-1, 1, 24)}
    )
    show_rank_ics(console, rank_ic_summary(table, 19))
    lines = console.export_text().splitlines()
    assert max(len(line) for line in lines) <= 80
    assert "…" not in "".join(lines)
    for name in (*PORTFOLIOS, "momentum_from_fill"):
        assert any(line.startswith(name) for line in lines)
