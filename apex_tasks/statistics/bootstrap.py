"""How sure a statistic of a dependent series is: intervals by the circular block bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from arch.bootstrap import CircularBlockBootstrap, optimal_block_length

from apex_tasks.refusal import Refusal

Statistic = Callable[[npt.NDArray[np.float64]], float]
"""A figure of one series, such as its mean; not a number where it is undefined."""

MIN_OBSERVATIONS = 12
"""A year of months. The choice of a block length looks at lags that shorter series do not have."""

MIN_REPETITIONS = 200
"""Below this many, the ends of a 95 % interval rest on fewer than five resampled figures."""


@dataclass(frozen=True)
class Interval:
    """A figure and the interval that covers it.

    Parameters
    ----------
    estimate
        The statistic of the series itself.
    low, high
        Ends of the interval, in the statistic's unit.
    level
        Share of such intervals that should cover the true figure, such as 0.95.
    block_sessions
        Length of the resampled blocks in observations: sessions of a daily series, months of a monthly one.
    repetitions
        Number of resampled series.
    seed
        Seed of the resampling: the same seed and series give the same numbers.
    """

    estimate: float
    low: float
    high: float
    level: float
    block_sessions: int
    repetitions: int
    seed: int


def bootstrap_interval(
    series: npt.ArrayLike,
    statistic: Statistic,
    *,
    seed: int,
    level: float = 0.95,
    repetitions: int = 2_000,
    block_sessions: int | None = None,
    least_block_sessions: int = 1,
) -> Interval:
    """Percentile interval of a statistic of one series.

    Returns are dependent: volatility comes in clusters, and overlapping horizons share their days. Blocks of
    neighboring observations keep that dependence, where drawing single days would break it and give intervals
    that are too narrow. The series is bent into a circle, blocks of a fixed length are drawn from it until the
    length is reached (Politis and Romano 1992), and the interval is between the ``(1 - level) / 2`` and
    ``(1 + level) / 2`` linear quantiles of the resampled figures (Efron 1979).

    Parameters
    ----------
    series : (n,)
        Observations at equal distances, oldest first.
    statistic
        What to measure. It gets a float64 array of length ``n``.
    seed
        Seed of the resampling.
    level
        Level of the interval.
    repetitions
        Number of resampled series.
    block_sessions
        Length of a block; None chooses by the data (Politis and White 2004, corrected by Patton, Politis and
        White 2009), rounded up.
    least_block_sessions
        Least length that the data may choose: the overlap of the observations, where they overlap.

    Raises
    ------
    Refusal
        The series is too short for two blocks or for `MIN_OBSERVATIONS`, holds what is no number, or has no
        spread; or the statistic is undefined for the series or for a resampled one.
    ValueError
        Level, repetitions or a block length is out of its range.
    """
    return _interval(
        (_checked(series),),
        statistic,
        seed=seed,
        level=level,
        repetitions=repetitions,
        block_sessions=block_sessions,
        least_block_sessions=least_block_sessions,
    )


def bootstrap_difference(
    series: npt.ArrayLike,
    other: npt.ArrayLike,
    statistic: Statistic,
    *,
    seed: int,
    level: float = 0.95,
    repetitions: int = 2_000,
    block_sessions: int | None = None,
    least_block_sessions: int = 1,
) -> Interval:
    """Percentile interval of ``statistic(series) - statistic(other)`` of two series of the same days.

    Both series are resampled at the same places, so that what moves both does not widen the interval. An interval
    that does not hold 0 says that the two differ.

    Parameters
    ----------
    series, other : (n,)
        Observations of the same days.
    block_sessions
        None chooses the longest that the data ask for: of either series, or of their difference where it varies.
    statistic, seed, level, repetitions, least_block_sessions
        See `bootstrap_interval`.

    Raises
    ------
    Refusal, ValueError
        See `bootstrap_interval`; the lengths differ (ValueError).
    """
    both = _checked(series), _checked(other)
    if len(both[0]) != len(both[1]):
        raise ValueError(f"paired series: expected=equal lengths, received={len(both[0])} and {len(both[1])}")
    return _interval(
        both,
        lambda one, two: statistic(one) - statistic(two),
        seed=seed,
        level=level,
        repetitions=repetitions,
        block_sessions=block_sessions,
        least_block_sessions=least_block_sessions,
    )


def _interval(
    series: tuple[npt.NDArray[np.float64], ...],
    figure: Callable[..., float],
    *,
    seed: int,
    level: float,
    repetitions: int,
    block_sessions: int | None,
    least_block_sessions: int,
) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level: expected=between 0 and 1, received={level}")
    if repetitions < MIN_REPETITIONS:
        raise ValueError(f"repetitions: expected=at least {MIN_REPETITIONS}, received={repetitions}")
    length = len(series[0])
    block = _block_length(series, block_sessions, least_block_sessions)
    if 2 * block > length:
        raise Refusal(
            "a series is too short for its blocks",
            expected=f"at least {2 * block} observations (two blocks of {block})",
            received=length,
            where="bootstrap",
            remedy="Use a longer period, or observations that overlap less.",
        )
    estimate = float(figure(*series))
    bootstrap = CircularBlockBootstrap(block, *series, seed=seed)
    resampled = bootstrap.apply(lambda *drawn: np.array([figure(*drawn)]), reps=repetitions)[:, 0]
    undefined = int((~np.isfinite(resampled)).sum())
    if undefined or not math.isfinite(estimate):
        raise Refusal(
            "a statistic is undefined where it should be measured",
            expected="a finite number for the series and for all resampled ones",
            received=f"{estimate} for the series, no number for {undefined} of {repetitions} resampled ones",
            where="bootstrap",
            remedy="Use a longer period: resampled series of this one lose what the statistic needs.",
        )
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), level, block, repetitions, seed)


def _block_length(series: tuple[npt.NDArray[np.float64], ...], wanted: int | None, least: int) -> int:
    if least < 1 or (wanted is not None and wanted < least):
        raise ValueError(
            f"block length: expected=1 or more and at least the least, received={wanted}, least {least}"
        )
    if wanted is not None:
        return wanted
    asked = list(series)
    if len(series) == 2 and _spread(series[0] - series[1]):
        asked.append(series[0] - series[1])
    # A lag beyond which a series stands still has no correlation; arch then passes over the lag.
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = [float(optimal_block_length(one)["circular"].iloc[0]) for one in asked]
    return max(least, *(math.ceil(length) for length in lengths))


def _spread(series: npt.NDArray[np.float64]) -> bool:
    return bool(series.std() > 1e-12 * np.abs(series).max())


def _checked(series: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"series: expected=one dimension, received={values.ndim}")
    if len(values) < MIN_OBSERVATIONS:
        raise _degenerate(f"at least {MIN_OBSERVATIONS} observations", len(values))
    broken = ~np.isfinite(values)
    if broken.any():
        raise _degenerate("finite numbers", f"{broken.sum()} of {len(values)} not finite")
    if not _spread(values):
        raise _degenerate("values that differ", f"{len(values)} times {values[0]}")
    return values


def _degenerate(expected: object, received: object) -> Refusal:
    return Refusal(
        "a series cannot be resampled",
        expected=expected,
        received=received,
        where="bootstrap",
        remedy="Use a longer period, and check the values that the series is made of.",
    )
