"""Trailing windows and recursions over grids whose first axis is time and whose columns stand side by side.

A window is built from blocks of 1, 2, 4, ... rows that are merged: it costs O(log window) array operations,
forgets exactly what has left it, and of a constant it has exactly the mean and no spread. The merge of means
and co-moments is the pairwise update of Chan, Golub and LeVeque (1979). A null (NaN) anywhere in a window
makes the result null, and so do too few rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.float64]
_State = tuple[Grid, ...]
_Merge = Callable[[_State, int, _State, int], _State]

# A denominator nearer to zero than this is rounding noise of something that did not move.
_NOTHING = 1e-12


def lag(values: Grid, rows: int) -> Grid:
    """`values` as they stood `rows` rows earlier, null before the first."""
    earlier = np.full_like(values, np.nan)
    earlier[rows:] = values[: len(values) - rows] if rows < len(values) else np.nan
    return earlier


def ratio(numerator: Grid, denominator: Grid) -> Grid:
    """Quotient, null where the denominator is zero up to rounding (|x| < 1e-12) or null."""
    usable = np.abs(denominator) >= _NOTHING
    quotient: Grid = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=quotient, where=usable)
    return quotient


def flag(condition: npt.NDArray[np.bool_], *needs: Grid) -> Grid:
    """1.0 where the condition holds, 0.0 where not, null where any of `needs` is null."""
    known = np.logical_and.reduce([~np.isnan(need) for need in needs])
    return np.where(known, condition.astype(np.float64), np.nan)


def _fold(leaf: _State, window: int, merge: _Merge) -> _State:
    """Merge the last `window` rows from blocks of powers of two, newest block first."""
    block, size = leaf, 1
    while not window & size:
        block, size = merge(block, size, _lagged(block, size), size), 2 * size
    total, covered = block, size
    while covered < window:
        block, size = merge(block, size, _lagged(block, size), size), 2 * size
        if window & size:
            total = merge(total, covered, _lagged(block, covered), size)
            covered += size
    return total


def _lagged(state: _State, rows: int) -> _State:
    return tuple(lag(part, rows) for part in state)


def _merge_mean(newer: _State, n_newer: int, older: _State, n_older: int) -> _State:
    share = n_older / (n_newer + n_older)
    return (newer[0] + (older[0] - newer[0]) * share,)


def _merge_moments(newer: _State, n_newer: int, older: _State, n_older: int) -> _State:
    share = n_older / (n_newer + n_older)
    step_x, step_y = older[0] - newer[0], older[1] - newer[1]
    co_moment = newer[2] + older[2] + step_x * step_y * (n_newer * share)
    return newer[0] + step_x * share, newer[1] + step_y * share, co_moment


def rolling_mean(values: Grid, window: int) -> Grid:
    """Mean of the last `window` rows."""
    return _fold((values,), window, _merge_mean)[0]


def rolling_covariance(x: Grid, y: Grid, window: int) -> Grid:
    """Covariance (ddof 1) of the last `window` rows."""
    return _fold((x, y, np.zeros_like(x)), window, _merge_moments)[2] / (window - 1)


def rolling_std(values: Grid, window: int) -> Grid:
    """Standard deviation (ddof 1) of the last `window` rows."""
    return np.sqrt(rolling_covariance(values, values, window))


def rolling_zscore(values: Grid, window: int) -> Grid:
    """Distance from the mean of the last `window` rows in their standard deviations."""
    return ratio(values - rolling_mean(values, window), rolling_std(values, window))


def rolling_beta(y: Grid, x: Grid, window: int) -> Grid:
    """Slope of `y` on `x` over the last `window` rows: covariance by variance of `x`."""
    return ratio(rolling_covariance(y, x, window), rolling_covariance(x, x, window))


def rolling_max(values: Grid, window: int) -> Grid:
    """Largest of the last `window` rows."""
    return _fold((values,), window, lambda newer, _n, older, _m: (np.maximum(newer[0], older[0]),))[0]


def rolling_min(values: Grid, window: int) -> Grid:
    """Smallest of the last `window` rows."""
    return _fold((values,), window, lambda newer, _n, older, _m: (np.minimum(newer[0], older[0]),))[0]


def smooth(values: Grid, rate: float, min_rows: int) -> Grid:
    """Exponential smoothing s = s + rate * (x - s), started at the first value.

    A null row is null in the result and leaves s as it was; the result is null until `min_rows` values came.
    """
    smoothed = np.empty_like(values)
    state = np.full(values.shape[1:], np.nan)
    for row, value in enumerate(values):
        updated = state + rate * (value - state)
        state = np.where(np.isnan(state), value, np.where(np.isnan(value), state, updated))
        smoothed[row] = state
    present = ~np.isnan(values)
    smoothed[~present | (np.cumsum(present, axis=0) < min_rows)] = np.nan
    return smoothed


def ema(values: Grid, span: int) -> Grid:
    """Exponential moving average with rate 2 / (span + 1), null until `span` values came."""
    return smooth(values, 2 / (span + 1), span)
