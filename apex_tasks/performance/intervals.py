"""How sure the live figures are: what so short a history can say by chance alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from apex_tasks.performance.benchmarks import Metric
from apex_tasks.refusal import Refusal
from apex_tasks.statistics.bootstrap import Statistic, bootstrap_interval
from apex_tasks.statistics.performance import SESSIONS_PER_YEAR, annualized_sharpe

SEED, REPETITIONS = 20240101, 1_000


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


def _yearly_pace(returns_pct: npt.NDArray[np.float64]) -> float:
    return float(np.expm1(np.log1p(returns_pct / 100).mean() * SESSIONS_PER_YEAR)) * 100


_STATISTICS: dict[Metric, Statistic] = {
    Metric.SHARPE: annualized_sharpe,
    Metric.RETURN: _yearly_pace,
    Metric.WIN_RATE: lambda returns_pct: float(np.mean(returns_pct > 0)) * 100,
}
