"""Do scores keep ordering the returns that follow: rank information coefficients over many dates."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.forward_returns import ForwardReturns
from apex_tasks.refusal import Refusal
from apex_tasks.statistics.bootstrap import Interval, bootstrap_interval
from apex_tasks.statistics.rank_ic import rank_ic


@dataclass(frozen=True, eq=False)
class DatedScores:
    """Scores of one date.

    Parameters
    ----------
    day
        Session after whose close the scores were made; returns run from its close.
    codes : (n_stocks,) str
        Distinct codes.
    scores : (n_stocks,) float32
        Higher is better.
    """

    day: dt.date
    codes: npt.NDArray[np.str_]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class CoefficientSummary:
    """Rank information coefficients of many dates.

    Parameters
    ----------
    dates
        Dates with a coefficient; all other figures are of these.
    undefined_dates
        Dates without one: fewer than two stocks with a return, or all scores or returns equal.
    mean, std
        Mean and standard deviation (ddof 1) of the coefficients; None for no date, and under two.
    information_ratio
        ``mean / std``, per date and not annualised; None without spread.
    share_positive
        Share of the coefficients above 0, as a fraction.
    t_statistic
        ``mean / std * sqrt(dates)``, which takes dates to be independent: far too large where horizons overlap.
    t_statistic_overlap
        The same with the standard error of Newey and West (1987) over ``overlap_dates - 1`` lags; equal to
        `t_statistic` where nothing overlaps, None where it cannot be reckoned.
    overlap_dates
        Consecutive dates whose horizons share sessions: ``ceil(horizon / spacing)``.
    interval
        Of the mean, by the block bootstrap, with blocks of `overlap_dates` at least; None where the dates are too few
        or too equal.
    no_interval_because
        The refusal of the bootstrap; None with an interval.
    """

    dates: int
    undefined_dates: int
    mean: float | None
    std: float | None
    information_ratio: float | None
    share_positive: float | None
    t_statistic: float | None
    t_statistic_overlap: float | None
    overlap_dates: int
    interval: Interval | None
    no_interval_because: str | None


def information_coefficients(
    dated: Sequence[DatedScores], returns: ForwardReturns, horizon: int
) -> npt.NDArray[np.float64]:
    """Rank information coefficient of each date's scores with the returns that followed.

    Parameters
    ----------
    dated
        Scores by date, oldest first.
    returns
        Realised returns; see `apex_tasks.dataset.forward_returns.read_forward_returns`.
    horizon
        One of the horizons of the returns, in a stock's own rows.

    Returns
    -------
    (n_dates,) float64
        See `apex_tasks.statistics.rank_ic.rank_ic`; NaN where it is undefined.

    Raises
    ------
    Refusal
        A score is not finite.
    ValueError
        The returns lack the horizon, or the dates do not ascend.
    """
    if horizon not in returns.horizons:
        raise ValueError(f"horizon: expected=one of {returns.horizons}, received={horizon}")
    if any(one.day >= other.day for one, other in pairwise(dated)):
        raise ValueError("dated scores: expected=distinct dates, oldest first")
    column = returns.horizons.index(horizon)
    coefficients = np.full(len(dated), np.nan)
    for place, one in enumerate(dated):
        broken = ~np.isfinite(one.scores)
        if broken.any():
            raise Refusal(
                "a score is not a finite number",
                expected="finite scores for all stocks",
                received=f"{broken.sum()} of {len(broken)} not finite",
                where=f"scores of {one.day}",
                remedy="Check the dataset's features of that date, then the checkpoint.",
            )
        coefficients[place] = rank_ic(one.scores, returns.on(one.day, one.codes)[:, column])
    return coefficients


def summarise_coefficients(
    coefficients: npt.ArrayLike,
    *,
    horizon_sessions: int,
    spacing_sessions: int,
    seed: int,
    level: float = 0.95,
    repetitions: int = 2_000,
) -> CoefficientSummary:
    """Mean, spread and certainty of rank information coefficients.

    Undefined dates are counted and the dates around them become neighbours in the blocks of the bootstrap.

    Parameters
    ----------
    coefficients : (n_dates,)
        By date, oldest first; NaN where undefined.
    horizon_sessions
        Sessions that each return spans.
    spacing_sessions
        Sessions from one date to the next: 1 for daily scores; the shortest month, not the mean, for monthly ones.
    seed, level, repetitions
        See `apex_tasks.statistics.bootstrap.bootstrap_interval`.

    Raises
    ------
    ValueError
        A coefficient lies outside -1 to 1, the horizon or spacing is below 1, or level or repetitions are wrong.
    """
    if min(horizon_sessions, spacing_sessions) < 1:
        raise ValueError(f"sessions: expected=1 or more, received={horizon_sessions} and {spacing_sessions}")
    every = np.asarray(coefficients, dtype=np.float64)
    if (np.abs(every) > 1 + 1e-9).any():
        raise ValueError("coefficients: expected=from -1 to 1 or NaN")
    known = every[~np.isnan(every)]
    overlap = math.ceil(horizon_sessions / spacing_sessions)
    dates = len(known)
    mean = float(known.mean()) if dates else None
    std = float(known.std(ddof=1)) if dates > 1 else None
    ratio = mean / std if mean is not None and std is not None and std > 1e-12 else None

    interval, no_interval_because = None, None
    try:
        interval = bootstrap_interval(
            known,
            lambda series: float(series.mean()),
            seed=seed,
            level=level,
            repetitions=repetitions,
            least_block_sessions=overlap,
        )
    except Refusal as refusal:
        no_interval_because = str(refusal)
    return CoefficientSummary(
        dates=dates,
        undefined_dates=len(every) - dates,
        mean=mean,
        std=std,
        information_ratio=ratio,
        share_positive=float((known > 0).mean()) if dates else None,
        t_statistic=ratio * math.sqrt(dates) if ratio is not None else None,
        t_statistic_overlap=_newey_west(known, overlap - 1) if ratio is not None else None,
        overlap_dates=overlap,
        interval=interval,
        no_interval_because=no_interval_because,
    )


def _newey_west(series: npt.NDArray[np.float64], lags: int) -> float | None:
    """Mean over its standard error with Bartlett weights; the factor n / (n - 1) makes no lags the usual t."""
    n = len(series)
    if lags >= n:
        return None
    centred = series - series.mean()
    long_run = float(centred @ centred)
    for lag in range(1, lags + 1):
        long_run += 2 * (1 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag])
    variance = long_run / n / (n - 1)
    return float(series.mean()) / math.sqrt(variance) if variance > 0 else None
