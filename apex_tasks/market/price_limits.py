"""How far a price may move in one session on the Tokyo Stock Exchange: the daily price limit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

TIERS = (
    (100, 30),
    (200, 50),
    (500, 80),
    (700, 100),
    (1_000, 150),
    (1_500, 300),
    (2_000, 400),
    (3_000, 500),
    (5_000, 700),
    (7_000, 1_000),
    (10_000, 1_500),
    (15_000, 3_000),
    (20_000, 4_000),
    (30_000, 5_000),
    (50_000, 7_000),
    (70_000, 10_000),
    (100_000, 15_000),
    (150_000, 30_000),
    (200_000, 40_000),
    (300_000, 50_000),
    (500_000, 70_000),
    (700_000, 100_000),
    (1_000_000, 150_000),
    (1_500_000, 300_000),
    (2_000_000, 400_000),
    (3_000_000, 500_000),
    (5_000_000, 700_000),
    (7_000_000, 1_000_000),
    (10_000_000, 1_500_000),
    (15_000_000, 3_000_000),
    (20_000_000, 4_000_000),
    (30_000_000, 5_000_000),
    (50_000_000, 7_000_000),
    (math.inf, 10_000_000),
)
"""Base prices below the first number may move by the second, up or down, JPY."""

BROADENED = 4
"""Multiple of the limit, on that side, after two consecutive sessions that ended at it (since 2020-08-03; before: 2,
after three)."""

TIGHTEST_LIMIT = min(limit / below for below, limit in TIERS[:-1])
"""Limit as a share of the base price, at its smallest: just below 5,000 JPY; above 50,000,000 JPY it has no bound."""

_BELOW_JPY = np.array([below for below, _ in TIERS[:-1]], dtype=np.float64)
_LIMIT_JPY = np.array([limit for _, limit in TIERS], dtype=np.float64)


def daily_limit_jpy(base_jpy: ArrayLike) -> NDArray[np.float64]:
    """How far prices may move from their base prices in one session, up or down.

    Valid since 2010-01-04; earlier tables differ. A stock has no limit until its first price after listing, and the
    exchange may broaden a limit, see `BROADENED`. Source: JPX, daily price limits, table of 34 tiers
    (jpx.co.jp/english/equities/trading/domestic/06.html); upper tiers as listed by rakuten-sec.co.jp rule/price.html.

    Parameters
    ----------
    base_jpy
        Base prices (the closes of the session before, or their last special quotes) of any shape, JPY, as the
        shares trade: on an ex-date adjusted by the exchange.

    Returns
    -------
    ndarray
        The shape of `base_jpy`, JPY; NaN where the base is no positive, finite price.

    Examples
    --------
    >>> daily_limit_jpy([99, 100, 1064, 27160]).tolist()
    [30.0, 50.0, 300.0, 5000.0]
    """
    base = np.asarray(base_jpy, dtype=np.float64)
    limit = _LIMIT_JPY[np.searchsorted(_BELOW_JPY, base, side="right")]
    return np.where((base > 0) & np.isfinite(base), limit, np.nan)
