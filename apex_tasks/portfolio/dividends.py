"""Dividends, read from small steps of the ratio of adjusted to raw closes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from apex_tasks.portfolio.splits import MIN_SPLIT

MIN_DIVIDEND = 1e-4
"""A yield below this is noise: 1 bp."""
MAX_DECIMALS = 4
EXACT = 1e-9


@dataclass(frozen=True)
class AdjustedClose:
    """The raw and the adjusted close of one stock's row, both in JPY per share."""

    close_jpy: float
    adjusted_jpy: float

    @property
    def ratio(self) -> float:
        """Adjusted over raw close."""
        return self.adjusted_jpy / self.close_jpy


def dividends_per_share(
    before: Mapping[str, AdjustedClose], after: Mapping[str, AdjustedClose]
) -> dict[str, float]:
    """Dividends that became payable between two rows of each stock.

    A supplier that adjusts for dividends scales all closes before the ex-date by ``1 - D / close``, so the ratio
    of adjusted to raw close steps up by ``1 / (1 - D / close)`` on it, and ``D = close * (1 - ratio / next
    ratio)``. A step of 2 % or more is a split to `splits.share_factors`, which keeps the value as well. A step
    that the rounding of the two adjusted closes can explain is none: data that adjust for splits only have
    no dividends, whatever they are rounded to.

    Parameters
    ----------
    before, after
        Code -> the stock's closes on the two rows.

    Returns
    -------
    dict
        Code -> JPY per share held on the earlier row, by Code, only where there is one.

    Examples
    --------
    >>> dividends_per_share({"13010": AdjustedClose(1000.0, 990.0)}, {"13010": AdjustedClose(1005.0, 1005.0)})
    {'13010': 10.000000000000009}
    """
    paid = {}
    for code in sorted(before.keys() & after.keys()):
        old, new = before[code], after[code]
        step = new.ratio / old.ratio - 1
        if max(MIN_DIVIDEND, _rounding(old) + _rounding(new)) < step < MIN_SPLIT:
            paid[code] = old.close_jpy * (1 - old.ratio / new.ratio)
    return paid


def _rounding(row: AdjustedClose) -> float:
    """Largest relative error that the decimals of an adjusted close allow; 0 where it has more than four."""
    for decimals in range(MAX_DECIMALS + 1):
        scaled = row.adjusted_jpy * 10**decimals
        if abs(scaled - round(scaled)) <= EXACT * scaled:
            return 0.5 / scaled
    return 0.0
