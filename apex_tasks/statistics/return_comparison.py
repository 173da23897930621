"""Do two stretches of returns differ by more than chance, with the noise of both and the dependence of days counted.

All take many series at once, one per row, so that the rates of false alarms can be simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from apex_tasks.statistics.long_run_variance import MIN_COSINES, long_run_variance
from apex_tasks.statistics.performance import SESSIONS_PER_YEAR

Array = npt.NDArray[np.float64]

YEAR = np.sqrt(SESSIONS_PER_YEAR)
LARGEST_LOG_CHANGE = 3.0
"""Bound on a drawn change of log volatility: 20 times as much or as little. Student's tails have no end."""


@dataclass(frozen=True)
class MeanFigure:
    """A figure of daily returns that is a function of a mean.

    Attributes
    ----------
    linearized
        Returns in percent ``(..., n)`` -> mean ``(...)``, and each day's influence on it ``(..., n)``.
    in_its_unit
        The mean -> the figure. It rises with the mean.
    """

    linearized: Callable[[Array], tuple[Array, Array]]
    in_its_unit: Callable[[Array], Array]

    def interval(
        self, returns_pct: Array, other_sessions: int, false_alarm_rate: float
    ) -> tuple[Array, Array]:
        """Where the figure of another stretch of the same returns is expected.

        ``mean -+ t * sqrt(V * (1 / n + 1 / m))``: the other stretch of m sessions has noise of its own, and the
        same returns would give it the same long-run variance V. t is Student's quantile for V's degrees of freedom.

        Parameters
        ----------
        returns_pct : (..., n)
            Daily returns in percent that differ from each other, `long_run_variance.MIN_OBSERVATIONS` or more.
        other_sessions
            m.
        false_alarm_rate
            Share of such stretches whose figure is outside, half on either side.
        """
        mean, influence = self.linearized(returns_pct)
        variance = long_run_variance(influence)
        error = np.sqrt(variance.value * (1 / returns_pct.shape[-1] + 1 / other_sessions))
        reach = stats.t.ppf(1 - false_alarm_rate / 2, variance.degrees) * error
        return self.in_its_unit(mean - reach), self.in_its_unit(mean + reach)


def _sharpe(returns_pct: Array) -> tuple[Array, Array]:
    """The ratio per session, and its influence ``u - s / 2 * (u ** 2 - 1)`` (Lo 2002; Mertens 2002)."""
    mean, spread = returns_pct.mean(axis=-1, keepdims=True), returns_pct.std(axis=-1, keepdims=True)
    ratio, standardized = mean / spread, (returns_pct - mean) / spread
    return ratio[..., 0], standardized - ratio / 2 * (standardized**2 - 1)


def _growth(returns_pct: Array) -> tuple[Array, Array]:
    logs = np.log1p(returns_pct / 100)
    mean = logs.mean(axis=-1)
    return mean, logs - mean[..., None]


def _wins(returns_pct: Array) -> tuple[Array, Array]:
    won = (returns_pct > 0).astype(np.float64)
    share = won.mean(axis=-1)
    return share, won - share[..., None]


SHARPE_RATIO = MeanFigure(_sharpe, lambda ratio: ratio * YEAR)
YEARLY_RETURN_PCT = MeanFigure(_growth, lambda log: np.expm1(log * SESSIONS_PER_YEAR) * 100)
WIN_RATE_PCT = MeanFigure(_wins, lambda share: share * 100)


def mean_difference_p_value(now: Array, before: Array) -> Array:
    """Two-sided p-value of the difference of two means, each with the long-run variance of its own stretch.

    Welch's test with the degrees of freedom of Satterthwaite (1946).

    Parameters
    ----------
    now : (..., n), before : (..., m)
        Daily returns that follow each other.
    """
    one, two = (
        long_run_variance(now - now.mean(axis=-1, keepdims=True)),
        long_run_variance(before - before.mean(axis=-1, keepdims=True)),
    )
    first, second = one.value / now.shape[-1], two.value / before.shape[-1]
    degrees = (first + second) ** 2 / (first**2 / one.degrees + second**2 / two.degrees)
    errors = (now.mean(axis=-1) - before.mean(axis=-1)) / np.sqrt(first + second)
    return np.asarray(2 * stats.t.sf(np.abs(errors), degrees))


def volatility_change_p_value(now: Array, before: Array) -> Array:
    """Two-sided p-value of the log ratio of two standard deviations; see `_volatility_error`.

    Parameters
    ----------
    now : (..., n), before : (..., m)
        Daily returns that follow each other; those before differ.
    """
    change = np.log(now.std(axis=-1) / before.std(axis=-1))
    return np.asarray(2 * stats.t.sf(np.abs(change) / _volatility_error(before, now.shape[-1]), MIN_COSINES))


def _volatility_error(returns: Array, other_sessions: int) -> Array:
    """Standard error of the log ratio of the volatilities of two stretches, the other of m sessions.

    By ``(u ** 2 - 1) / 2`` of the standardized returns u. Calm and wild weeks follow each other for months, and only
    the longest waves, the least number of cosines, count that dependence.
    """
    standardized = (returns - returns.mean(axis=-1, keepdims=True)) / returns.std(axis=-1, keepdims=True)
    variance = long_run_variance((standardized**2 - 1) / 2, MIN_COSINES).value
    return np.asarray(np.sqrt(variance * (1 / returns.shape[-1] + 1 / other_sessions)))


def predicted_drawdowns(returns: Array, other_sessions: int, *, seed: int, draws: int = 4_000) -> Array:
    """Largest drawdowns that another stretch of the same returns may have.

    Each draw is a random walk of log returns. Its mean differs from that of `returns` by what their n sessions leave
    unknown, and its volatility by how much that of two such stretches differs: Student's t, with the degrees of
    freedom of either. So it is known less well than the walk alone would say.

    Parameters
    ----------
    returns : (n,)
        Daily returns as fractions that differ from each other.
    other_sessions
        Length of the other stretch.

    Returns
    -------
    (draws,) float64
        As fractions of the highest value so far, ascending.
    """
    random = np.random.default_rng(seed)
    logs = np.log1p(returns)
    mean = logs.mean()
    variance = long_run_variance(logs - mean)
    spread = np.sqrt(variance.value * variance.degrees / random.chisquare(variance.degrees, draws))
    drift = mean + spread * random.standard_normal(draws) / np.sqrt(len(returns))
    change = random.standard_t(MIN_COSINES, draws) * _volatility_error(returns, other_sessions)
    spread = spread * np.exp(np.clip(change, -LARGEST_LOG_CHANGE, LARGEST_LOG_CHANGE))
    value, highest, deepest = np.zeros(draws), np.zeros(draws), np.zeros(draws)
    for _ in range(other_sessions):
        value = value + drift + spread * random.standard_normal(draws)
        highest = np.maximum(highest, value)
        deepest = np.maximum(deepest, highest - value)
    return np.sort(-np.expm1(-deepest))
