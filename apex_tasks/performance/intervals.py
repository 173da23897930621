"""How sure the live figures are: what so short a history says, and where the benchmarks are expected."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from apex_tasks.performance.benchmarks import Benchmarks, Metric
from apex_tasks.refusal import Refusal
from apex_tasks.statistics.bootstrap import Statistic, bootstrap_interval
from apex_tasks.statistics.long_run_variance import MIN_OBSERVATIONS
from apex_tasks.statistics.performance import SESSIONS_PER_YEAR, annualized_sharpe
from apex_tasks.statistics.return_comparison import (
    SHARPE_RATIO,
    WIN_RATE_PCT,
    YEARLY_RETURN_PCT,
    MeanFigure,
    predicted_drawdowns,
)

SEED, REPETITIONS = 20240101, 1_000

JUDGED = (Metric.SHARPE, Metric.RETURN, Metric.DRAWDOWN, Metric.WIN_RATE)
"""Costs are not: a few rebalances, the first build among them, do not say how much costs vary."""
_MEAN_FIGURES: dict[Metric, MeanFigure] = {
    Metric.SHARPE: SHARPE_RATIO,
    Metric.RETURN: YEARLY_RETURN_PCT,
    Metric.WIN_RATE: WIN_RATE_PCT,
}


def live_intervals(returns_pct: npt.NDArray[np.float64]) -> dict[Metric, tuple[float, float]]:
    """95 % block-bootstrap intervals of the live figures, in the units of their comparisons.

    Parameters
    ----------
    returns_pct : (n_returns,)
        Daily returns in percent, without the first session's.

    Returns
    -------
    dict
        Only the metrics of daily returns, and only where the history is long enough for one.
    """
    found = {}
    for metric, statistic in _STATISTICS.items():
        try:
            interval = bootstrap_interval(returns_pct, statistic, seed=SEED, repetitions=REPETITIONS)
        except Refusal:
            continue
        found[metric] = (interval.low, interval.high)
    return found


def expected_intervals(
    returns_pct: npt.NDArray[np.float64], benchmarks: Benchmarks, false_alarm_rate: float
) -> dict[Metric, tuple[float, float]]:
    """Where the benchmarks are expected if the benchmark's period had the same returns as the live one.

    The noise of either period counts. `false_alarm_rate` is shared equally between the figures that have a benchmark
    (Bonferroni), so that it bounds the chance that any of them is outside though nothing differs.

    Parameters
    ----------
    returns_pct : (n_returns,)
        Daily returns in percent, without the first session's.

    Returns
    -------
    dict
        Ends in the units of the comparisons. Nothing where the length of the benchmark's period is unknown or the
        history is too short; no figure that does not vary.
    """
    judged = [metric for metric in JUDGED if metric in benchmarks.values]
    if benchmarks.sessions is None or len(returns_pct) < MIN_OBSERVATIONS or not judged:
        return {}
    rate = false_alarm_rate / len(judged)
    found = {}
    for metric in judged:
        observed = returns_pct > 0 if metric is Metric.WIN_RATE else returns_pct
        if np.all(observed == observed[0]):
            continue
        if metric is Metric.DRAWDOWN:
            drawdowns = predicted_drawdowns(returns_pct / 100, benchmarks.sessions, seed=SEED) * 100
            low, high = np.quantile(drawdowns, [rate / 2, 1 - rate / 2])
        else:
            low, high = _MEAN_FIGURES[metric].interval(returns_pct, benchmarks.sessions, rate)
        found[metric] = (float(low), float(high))
    return found


def _yearly_pace(returns_pct: npt.NDArray[np.float64]) -> float:
    return float(np.expm1(np.log1p(returns_pct / 100).mean() * SESSIONS_PER_YEAR)) * 100


_STATISTICS: dict[Metric, Statistic] = {
    Metric.SHARPE: annualized_sharpe,
    Metric.RETURN: _yearly_pace,
    Metric.WIN_RATE: lambda returns_pct: float(np.mean(returns_pct > 0)) * 100,
}
