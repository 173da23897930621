"""Variance of the mean of a dependent series, with the degrees of freedom that it is known to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MIN_OBSERVATIONS = 20
"""Below this, the least number of cosines covers waves of so few observations that dependence is missed."""
MIN_COSINES = 4
"""Fewer leave intervals too wide to say anything; for clustered volatility, more leave them too narrow."""

Array = npt.NDArray[np.float64]


class LongRunVariance(NamedTuple):
    """An estimate.

    Attributes
    ----------
    value
        Variance of the mean times the number of observations, ``(...)``.
    degrees
        Degrees of freedom: the mean over its standard error follows Student's distribution with so many.
    """

    value: Array
    degrees: int


def long_run_variance(series: npt.ArrayLike, cosines: int | None = None) -> LongRunVariance:
    r"""Long-run variance by equally weighted cosines (Lazarus, Lewis, Stock and Watson 2018).

    With n observations z, ``L_j = sqrt(2 / n) * sum_t z_t * cos(pi * j * (t - 1/2) / n)`` for j of 1 to B; the
    estimate is the mean of ``L_j ** 2``. For independent observations it is the plain variance. It counts the
    dependence of neighbors over waves longer than ``2 n / B``, and the mean over its standard error follows
    Student's distribution with B degrees of freedom, where the normal one would promise too much.

    Parameters
    ----------
    series : (..., n)
        Observations at equal distances, in order; every row of the last axis is a series of its own.
    cosines
        B; None takes their recommendation ``0.4 * n ** (2 / 3)``, at least `MIN_COSINES`.

    Raises
    ------
    ValueError
        Fewer than `MIN_OBSERVATIONS`.
    """
    values = np.asarray(series, dtype=np.float64)
    length = values.shape[-1]
    if length < MIN_OBSERVATIONS:
        raise ValueError(f"series: expected=at least {MIN_OBSERVATIONS} observations, received={length}")
    number = cosines or max(MIN_COSINES, int(0.4 * length ** (2 / 3)))
    times = (np.arange(length) + 0.5) / length
    waves = np.sqrt(2 / length) * np.cos(np.pi * np.outer(times, np.arange(1, number + 1)))
    return LongRunVariance(np.mean((values @ waves) ** 2, axis=-1), number)
