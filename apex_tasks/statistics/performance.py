"""Performance of a portfolio, as v0.1.0 computes it: returns, risk, drawdown and costs."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat, NonNegativeInt

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.refusal import Refusal

SESSIONS_PER_YEAR = 252
"""Sessions that v0.1.0 counts in a year; the Tokyo Stock Exchange has about 245."""

NO_SPREAD_PCT = 1e-10
"""Standard deviation in percent up to which returns count as all equal: what rounding of float64 makes."""

NonNegativeFinite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Performance(FrozenModel):
    """Figures of a simulated or real portfolio.

    Parameters
    ----------
    total_return
        Last value over the initial capital, less 1, in percent.
    annualized_return
        The total return at its yearly pace, in percent; None beyond the range of float64.
    sharpe_ratio
        See `annualized_sharpe`; None where that is not a number.
    sortino_ratio
        See `annualized_sortino`; None where that is not a number.
    max_drawdown
        Largest fall from the highest value so far, the initial capital included, in percent of that value; 0 or
        more.
    calmar_ratio
        Annualized return over largest drawdown; None without a drawdown.
    win_rate
        Share of the daily returns above 0, as a fraction; None under two states.
    total_trades
        Number of trades.
    total_cost_jpy
        Commission and slippage of all trades in JPY.
    cost_pct_of_capital
        Total cost in percent of the initial capital.
    avg_daily_cost_bps
        Total cost per state in basis points of the initial capital.
    """

    total_return: FiniteFloat
    annualized_return: FiniteFloat | None
    sharpe_ratio: FiniteFloat | None
    sortino_ratio: FiniteFloat | None
    max_drawdown: NonNegativeFinite
    calmar_ratio: FiniteFloat | None
    win_rate: float | None = Field(ge=0, le=1)
    total_trades: NonNegativeInt
    total_cost_jpy: NonNegativeFinite
    cost_pct_of_capital: NonNegativeFinite
    avg_daily_cost_bps: NonNegativeFinite


def measure_performance(
    values_jpy: npt.ArrayLike, *, initial_capital_jpy: float, total_trades: int, total_cost_jpy: float
) -> Performance:
    """Figures over the logged states of a portfolio, in the conventions of v0.1.0.

    With values ``v[0] .. v[n-1]``, capital ``c`` and daily returns ``r[t] = v[t] / v[t-1] - 1`` for t of 1 and
    above (the return of the first state, from the capital to ``v[0]``, enters no statistic of the returns)::

        total return   T = v[n-1] / c - 1
        annualized     A = (1 + T) ** (252 / n) - 1
        drawdown       D = max over t of 1 - v[t] / max(c, v[0] .. v[t])
        Calmar         A / D

    Parameters
    ----------
    values_jpy : (n_states,)
        Cash and positions after each session in JPY, oldest first.
    initial_capital_jpy
        Capital before the first trade.
    total_trades, total_cost_jpy
        Number and cost of all trades, those of the first build included.

    Raises
    ------
    Refusal
        There is no state, or a value or the capital is not a positive number.
    ValueError
        The number of trades or their cost is below 0 or no number.
    """
    values = _checked(values_jpy, "portfolio values")
    capital = float(_checked([initial_capital_jpy], "initial capital")[0])
    returns = daily_returns_pct(values)[1:]
    peak = np.maximum(np.maximum.accumulate(values), capital)
    drawdown = float(np.max(1 - values / peak)) * 100
    annualized = _annualized_pct(float(values[-1]) / capital, len(values))
    return Performance(
        total_return=(float(values[-1]) / capital - 1) * 100,
        annualized_return=annualized,
        sharpe_ratio=_or_none(annualized_sharpe(returns)),
        sortino_ratio=_or_none(annualized_sortino(returns)),
        max_drawdown=drawdown,
        calmar_ratio=annualized / drawdown if annualized is not None and drawdown > 0 else None,
        win_rate=float(np.mean(returns > 0)) if len(returns) else None,
        total_trades=total_trades,
        total_cost_jpy=total_cost_jpy,
        cost_pct_of_capital=total_cost_jpy / capital * 100,
        avg_daily_cost_bps=total_cost_jpy / len(values) / capital * 1e4,
    )


def daily_returns_pct(values_jpy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return of each state over the one before, in percent.

    Parameters
    ----------
    values_jpy : (n_states,)
        Portfolio values in JPY, oldest first.

    Returns
    -------
    (n_states,) float64
        The first is 0.0: it has no state before it, and no statistic counts it.

    Raises
    ------
    Refusal
        There is no state, or a value is not a positive number.
    """
    values = _checked(values_jpy, "portfolio values")
    returns = np.zeros(len(values))
    returns[1:] = (values[1:] / values[:-1] - 1) * 100
    return returns


def annualized_sharpe(returns_pct: npt.ArrayLike) -> float:
    """Sharpe ratio of daily returns at a risk-free rate of 0: ``mean / std * sqrt(252)``, ddof 0.

    Parameters
    ----------
    returns_pct : (n_returns,)
        Daily returns in percent, without the first state's.

    Returns
    -------
    float
        NaN where there is no return or no spread (a standard deviation up to `NO_SPREAD_PCT`).
    """
    returns = np.asarray(returns_pct, dtype=np.float64)
    return _ratio(returns, returns)


def annualized_sortino(returns_pct: npt.ArrayLike) -> float:
    """Sortino ratio as v0.1.0 has it: the mean over the spread of the negative returns, times ``sqrt(252)``.

    The denominator is the standard deviation (ddof 0) of the negative returns about their own mean, where the
    usual downside deviation takes the root mean square of ``min(r, 0)`` over all returns. The figures of the two
    cannot be compared.

    Parameters
    ----------
    returns_pct : (n_returns,)
        Daily returns in percent, without the first state's.

    Returns
    -------
    float
        NaN without a negative return, or where the negative returns have no spread, as one alone has none.
    """
    returns = np.asarray(returns_pct, dtype=np.float64)
    return _ratio(returns, returns[returns < 0])


def _ratio(returns: npt.NDArray[np.float64], risk: npt.NDArray[np.float64]) -> float:
    spread = float(risk.std()) if len(risk) else 0.0
    if spread <= NO_SPREAD_PCT:
        return math.nan
    return float(returns.mean()) / spread * math.sqrt(SESSIONS_PER_YEAR)


def _annualized_pct(growth: float, states: int) -> float | None:
    try:
        return float(growth ** (SESSIONS_PER_YEAR / states) - 1) * 100
    except OverflowError:
        return None


def _or_none(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


def _checked(values_jpy: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    values = np.asarray(values_jpy, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{what}: expected=one dimension, received={values.ndim}")
    broken = ~(np.isfinite(values) & (values > 0))
    if not len(values) or broken.any():
        raise Refusal(
            f"{what} cannot be measured",
            expected="at least one value, each a positive number of JPY",
            received=f"{values[broken][0]} at position {int(np.argmax(broken))}" if len(values) else "none",
            where=what,
            remedy="Check cash, positions and prices of the state that came first to be wrong.",
        )
    return values
