"""How the portfolios did, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from apex_tasks.backtesting.compare import SEED, returns_pct, variant_row
from apex_tasks.backtesting.result import BacktestResult
from apex_tasks.statistics.bootstrap import bootstrap_interval
from apex_tasks.statistics.deflated_sharpe import deflated_sharpe_ratio, probabilistic_sharpe_ratio
from apex_tasks.statistics.performance import SESSIONS_PER_YEAR, annualized_sharpe
from real_data.portfolios import EQUAL_WEIGHT, MODEL, MOMENTUM

RANKINGS = (MODEL, MOMENTUM)
"""All that was tried on the period and could have been chosen: the trials of the deflated Sharpe ratio.

One variant of the model was replayed, so momentum is the second trial; equal weight is what both are measured by.
"""


def performance_table(results: Mapping[str, BacktestResult]) -> pd.DataFrame:
    """One row per portfolio, returns in percent.

    Returns
    -------
    DataFrame
        `sharpe_ratio_low`, `..._high`: 95 % interval by the block bootstrap. `..._before_costs`: every session's
        cost added back to its value, the trades unchanged. `volatility`: a year.
        `cost_pct_of_capital_per_year`: of the initial capital. `mean_turnover`: one way, of the rebalances after
        the first. `probabilistic_sharpe`: P(true ratio above 0). `deflated_sharpe`: of a ranking, with
        `RANKINGS` as the trials.
    """
    returns = {name: returns_pct(result) for name, result in results.items()}
    trials = [returns[name] for name in RANKINGS]
    rows = []
    for name, result in results.items():
        row = variant_row(name, result, results[EQUAL_WEIGHT])
        figures, interval = row.performance, row.sharpe_interval
        years = len(result.daily) / SESSIONS_PER_YEAR
        yearly_gross, sharpe_gross = _before_costs(result)
        rows.append(
            {
                "portfolio": name,
                "first": result.daily[0].date,
                "last": result.daily[-1].date,
                "sessions": len(result.daily),
                "rebalances": len(result.rebalances),
                "total_return": figures.total_return,
                "annualized_return": figures.annualized_return,
                "annualized_return_before_costs": yearly_gross,
                "sharpe_ratio": figures.sharpe_ratio,
                "sharpe_ratio_low": interval and interval.low,
                "sharpe_ratio_high": interval and interval.high,
                "sharpe_ratio_before_costs": sharpe_gross,
                "volatility": _yearly_spread(returns[name]),
                "max_drawdown": figures.max_drawdown,
                "total_cost_jpy": figures.total_cost_jpy,
                "cost_pct_of_capital_per_year": figures.cost_pct_of_capital / years,
                "mean_turnover": row.mean_turnover,
                "mean_positions": row.mean_positions,
                "mean_cash_share": row.mean_cash_share,
                "probabilistic_sharpe": probabilistic_sharpe_ratio(returns[name]),
                "deflated_sharpe": deflated_sharpe_ratio(returns[name], trials) if name in RANKINGS else None,
            }
        )
    return pd.DataFrame(rows)


def difference_table(results: Mapping[str, BacktestResult]) -> pd.DataFrame:
    """Each ranking less equal weight, day by day on the same days.

    Returns
    -------
    DataFrame
        `excess`: mean daily difference times 252, percent a year; `sharpe_difference`; 95 % intervals of both
        by the block bootstrap. `tracking_error`: standard deviation of the difference, percent a year. `beta` to
        equal weight, and `alpha`: mean of what is left of the return without beta times equal weight's, percent a
        year, its interval with beta held at its estimate.
        `probabilistic_sharpe`, `deflated_sharpe`: of the differences, so P(ahead of equal weight), and P(more so
        than the best of the two would be by luck).
    """
    base = returns_pct(results[EQUAL_WEIGHT])
    excess = {name: returns_pct(results[name]) - base for name in RANKINGS}
    rows = []
    for name in RANKINGS:
        yearly = bootstrap_interval(excess[name], _yearly, seed=SEED)
        sharpe = variant_row(name, results[name], results[EQUAL_WEIGHT]).sharpe_difference
        beta = 1.0 + _slope(excess[name], base)
        alpha = bootstrap_interval(excess[name] + (1.0 - beta) * base, _yearly, seed=SEED)
        rows.append(
            {
                "portfolio": name,
                "excess": yearly.estimate,
                "excess_low": yearly.low,
                "excess_high": yearly.high,
                "sharpe_difference": sharpe and sharpe.estimate,
                "sharpe_difference_low": sharpe and sharpe.low,
                "sharpe_difference_high": sharpe and sharpe.high,
                "tracking_error": _yearly_spread(excess[name]),
                "beta": beta,
                "alpha": alpha.estimate,
                "alpha_low": alpha.low,
                "alpha_high": alpha.high,
                "probabilistic_sharpe": probabilistic_sharpe_ratio(excess[name]),
                "deflated_sharpe": deflated_sharpe_ratio(excess[name], list(excess.values())),
            }
        )
    return pd.DataFrame(rows)


def equity_table(results: Mapping[str, BacktestResult]) -> pd.DataFrame:
    """`date`, and the value of each portfolio at its close, JPY."""
    dates = [row.date for row in results[EQUAL_WEIGHT].daily]
    values = {name: [row.portfolio_value for row in result.daily] for name, result in results.items()}
    return pd.DataFrame({"date": dates, **values})


def _before_costs(result: BacktestResult) -> tuple[float, float]:
    """Yearly return in percent and Sharpe ratio of the same trades, had they cost nothing.

    The cost of a session is added back to its close, and what follows grows from there as the portfolio did. The
    first state counts from the initial capital, as in `Performance.total_return`.
    """
    values = np.array([row.portfolio_value for row in result.daily])
    costs = np.array([row.cost_jpy for row in result.daily])
    before = np.concatenate([[result.settings["capital_jpy"]], values[:-1]])
    growth = (values + costs) / before
    yearly = float(np.prod(growth) ** (SESSIONS_PER_YEAR / len(values)) - 1) * 100
    return yearly, annualized_sharpe((growth[1:] - 1) * 100)


def _yearly(daily_pct: npt.NDArray[np.float64]) -> float:
    return float(daily_pct.mean()) * SESSIONS_PER_YEAR


def _yearly_spread(daily_pct: npt.NDArray[np.float64]) -> float:
    return float(daily_pct.std() * np.sqrt(SESSIONS_PER_YEAR))


def _slope(values: npt.NDArray[np.float64], on: npt.NDArray[np.float64]) -> float:
    """Of the least squares line."""
    centered = on - on.mean()
    return float(centered @ values / (centered @ centered))
