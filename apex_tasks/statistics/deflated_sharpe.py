"""Is a Sharpe ratio more than luck: probabilistic and deflated Sharpe ratios.

All ratios in here are per period (a day of daily returns, a month of monthly ones), never annualized. The functions
take series of returns and compute the ratios themselves; what is passed between them has the type `PerPeriodSharpe`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NewType

import numpy as np
import numpy.typing as npt
from scipy import stats

from apex_tasks.refusal import Refusal

PerPeriodSharpe = NewType("PerPeriodSharpe", float)
"""A Sharpe ratio per period of the returns it was made of; the annualized one is sqrt(252) times a daily one."""

ZERO = PerPeriodSharpe(0.0)

MIN_PERIODS = 3
"""Skewness and kurtosis of two returns say nothing."""


def per_period_sharpe(returns: npt.ArrayLike) -> PerPeriodSharpe:
    """Sharpe ratio per period at a risk-free rate of 0: ``mean / std``, ddof 0.

    Parameters
    ----------
    returns : (n_periods,)
        Returns, or returns in excess of a benchmark, as fractions or in percent.

    Raises
    ------
    Refusal
        Fewer than three returns, one that is not finite, or no spread.
    """
    values = _checked(returns)
    return PerPeriodSharpe(float(values.mean() / values.std()))


def probabilistic_sharpe_ratio(returns: npt.ArrayLike, *, benchmark: PerPeriodSharpe = ZERO) -> float:
    """Probability that the true Sharpe ratio is above a benchmark ratio, by Bailey and Lopez de Prado (2012).

    With the ratio s and benchmark b per period, n periods, skewness g3 and kurtosis g4 (3 for the normal law)::

        PSR(b) = Phi((s - b) * sqrt(n - 1) / sqrt(1 - g3 * s + (g4 - 1) / 4 * s**2))

    The denominator is the standard error of a Sharpe ratio of returns that are not normal (Mertens 2002): losses
    that are rare and large make a ratio less certain than it looks. Returns of different periods are taken to be
    independent; for others see `apex_tasks.statistics.bootstrap`.

    Parameters
    ----------
    returns : (n_periods,)
        Returns of the strategy.
    benchmark
        Ratio per period of the same length, from `per_period_sharpe` or `expected_maximum_sharpe`.

    Returns
    -------
    float
        From 0 to 1. Where the true ratio is the benchmark, all values are about equally likely.

    Raises
    ------
    Refusal
        See `per_period_sharpe`; or the returns take two values only, which at one ratio leaves it no standard error.
    """
    values = _checked(returns)
    sharpe = per_period_sharpe(values)
    skewness, kurtosis = stats.skew(values), stats.kurtosis(values, fisher=False)
    variance = float(1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2)
    if variance <= 1e-12:
        raise _degenerate("returns whose Sharpe ratio has a standard error", f"a variance of {variance}")
    return float(stats.norm.cdf((sharpe - benchmark) * math.sqrt(len(values) - 1) / math.sqrt(variance)))


def expected_maximum_sharpe(
    trials: Sequence[npt.ArrayLike], *, independent_trials: int | None = None
) -> PerPeriodSharpe:
    """Sharpe ratio per period that the best of the trials is expected to have if none has any skill.

    With the variance V (ddof 1) of the trials' ratios, N independent trials and Euler's constant c = 0.5772...
    (Bailey and Lopez de Prado 2014, by the extreme value law of Gumbel)::

        sqrt(V) * ((1 - c) * Phi^-1(1 - 1 / N) + c * Phi^-1(1 - 1 / (N * e)))

    Parameters
    ----------
    trials
        Returns ``(n_periods,)`` of each trial, all of the same kind of period: every variant that was looked at, the
        chosen one included. Leaving out those that failed makes the ratio of the chosen one look better than it is.
    independent_trials
        How many of the trials count as independent; None: all. Variants of one idea move together and count for
        fewer. It never changes the variance.

    Raises
    ------
    Refusal
        See `per_period_sharpe`, for each trial.
    ValueError
        Fewer than two trials, or `independent_trials` below 2 or above their number.
    """
    number = len(trials) if independent_trials is None else independent_trials
    if not 2 <= number <= len(trials):
        raise ValueError(f"trials: expected=2 to {len(trials)} independent ones, received={number}")
    spread = float(np.std([per_period_sharpe(trial) for trial in trials], ddof=1))
    first, second = stats.norm.ppf([1 - 1 / number, 1 - 1 / (number * math.e)])
    return PerPeriodSharpe(spread * float((1 - np.euler_gamma) * first + np.euler_gamma * second))


def deflated_sharpe_ratio(
    returns: npt.ArrayLike, trials: Sequence[npt.ArrayLike], *, independent_trials: int | None = None
) -> float:
    """Probability that the true Sharpe ratio is above what the best of so many trials has by luck.

    The probabilistic Sharpe ratio with `expected_maximum_sharpe` as its benchmark (Bailey and Lopez de Prado 2014).

    Without skill, the best of N lies near 0.5 and far more rarely above 0.95 than one time in twenty: the best of
    many varies less than a single ratio does, so this is a cautious measure and no p-value.

    Parameters
    ----------
    returns : (n_periods,)
        Returns of the trial that was chosen.
    trials, independent_trials
        See `expected_maximum_sharpe`.

    Raises
    ------
    Refusal, ValueError
        See `probabilistic_sharpe_ratio` and `expected_maximum_sharpe`.
    """
    return probabilistic_sharpe_ratio(
        returns, benchmark=expected_maximum_sharpe(trials, independent_trials=independent_trials)
    )


def _checked(returns: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"returns: expected=one dimension, received={values.ndim}")
    if len(values) < MIN_PERIODS:
        raise _degenerate(f"at least {MIN_PERIODS} returns", len(values))
    broken = ~np.isfinite(values)
    if broken.any():
        raise _degenerate("finite returns", f"{broken.sum()} of {len(values)} not finite")
    if values.std() <= 1e-12 * np.abs(values).max():
        raise _degenerate("returns that differ", f"{len(values)} times {values[0]}")
    return values


def _degenerate(expected: object, received: object) -> Refusal:
    return Refusal(
        "a Sharpe ratio cannot be judged",
        expected=expected,
        received=received,
        where="series of returns",
        remedy="Use a longer period, and check the returns.",
    )
