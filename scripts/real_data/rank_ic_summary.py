"""What the scores were worth: rank information coefficients of many months, and how sure their mean is."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from apex_tasks.backtesting.compare import SEED
from apex_tasks.refusal import Refusal
from apex_tasks.statistics.bootstrap import Interval, bootstrap_interval
from real_data.rank_ics import AS_OF, AT_LAST_PRICE, HORIZON, STOCKS


def rank_ic_summary(table: pd.DataFrame, shortest_month: int) -> pd.DataFrame:
    """Per column of `rank_ics.rank_ic_table`: months, mean, 95 % interval of the mean, spread and t.

    Parameters
    ----------
    shortest_month
        Least number of sessions from one as-of date to the next.
    """
    rows = []
    for name in table.columns.drop([AS_OF, STOCKS, AT_LAST_PRICE]):
        summary = summarize_coefficients(
            table[name], horizon_sessions=HORIZON, spacing_sessions=shortest_month, seed=SEED
        )
        interval = summary.interval
        rows.append(
            {
                "scores": name,
                "months": summary.dates,
                "mean": summary.mean,
                "mean_low": interval and interval.low,
                "mean_high": interval and interval.high,
                "std": summary.std,
                "t": summary.t_statistic,
                "t_overlap": summary.t_statistic_overlap,
                "positive": summary.share_positive,
                "block_months": interval and interval.block_sessions,
            }
        )
    return pd.DataFrame(rows)


def shortest_spacing(days: Sequence[dt.date], as_of_dates: Sequence[dt.date]) -> int:
    """Least number of sessions between neighboring as-of dates."""
    places = [days.index(day) for day in as_of_dates]
    return min(later - earlier for earlier, later in pairwise(places))


@dataclass(frozen=True)
class CoefficientSummary:
    """Rank information coefficients of many dates.

    Attributes
    ----------
    dates
        Dates with a coefficient; all other figures are of these. A date has none with fewer than two stocks with a
        return, or where all scores or returns are equal.
    mean, std
        Mean and standard deviation (ddof 1) of the coefficients; None for no date, and under two.
    share_positive
        Share of the coefficients above 0, as a fraction.
    t_statistic
        ``mean / std * sqrt(dates)``; None without spread. It takes dates to be independent:
        far too large where horizons overlap.
    t_statistic_overlap
        The same with the standard error of Newey and West (1987) over ``overlap_dates - 1`` lags; equal to
        `t_statistic` where nothing overlaps, None where it cannot be computed.
    overlap_dates
        Consecutive dates whose horizons share sessions: ``ceil(horizon / spacing)``.
    interval
        Of the mean, by the block bootstrap, with blocks of `overlap_dates` at least; None where the dates are too few
        or too equal.
    """

    dates: int
    mean: float | None
    std: float | None
    share_positive: float | None
    t_statistic: float | None
    t_statistic_overlap: float | None
    overlap_dates: int
    interval: Interval | None


def summarize_coefficients(
    coefficients: npt.ArrayLike,
    *,
    horizon_sessions: int,
    spacing_sessions: int,
    seed: int,
    level: float = 0.95,
    repetitions: int = 2_000,
) -> CoefficientSummary:
    """Mean, spread and certainty of rank information coefficients.

    The dates around an undefined one become neighbors in the blocks of the bootstrap.

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

    try:
        interval = bootstrap_interval(
            known,
            lambda series: float(series.mean()),
            seed=seed,
            level=level,
            repetitions=repetitions,
            least_block_sessions=overlap,
        )
    except Refusal:
        interval = None
    return CoefficientSummary(
        dates=dates,
        mean=mean,
        std=std,
        share_positive=float((known > 0).mean()) if dates else None,
        t_statistic=ratio * math.sqrt(dates) if ratio is not None else None,
        t_statistic_overlap=_newey_west(known, overlap - 1) if ratio is not None else None,
        overlap_dates=overlap,
        interval=interval,
    )


def _newey_west(series: npt.NDArray[np.float64], lags: int) -> float | None:
    """Mean over its standard error with Bartlett weights; the factor n / (n - 1) makes no lags the usual t."""
    n = len(series)
    if lags >= n:
        return None
    centered = series - series.mean()
    long_run = float(centered @ centered)
    for lag in range(1, lags + 1):
        long_run += 2 * (1 - lag / (lags + 1)) * float(centered[lag:] @ centered[:-lag])
    variance = long_run / n / (n - 1)
    return float(series.mean()) / math.sqrt(variance) if variance > 0 else None
