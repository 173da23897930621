"""The market as a whole: the mean return of all its stocks, session by session."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from apex_tasks.dataset.prices.daily_prices import ADJUSTMENT
from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import (
    ADJUSTMENT_CLOSE,
    CLOSE,
    CODE,
    DATE,
    DatasetFile,
    dates_as_days,
    day_from_epoch,
    days_since_epoch,
)
from apex_tasks.market.price_limits import BROADENED, daily_limit_jpy

MAX_MOVE = 0.5
"""Where no daily price limit holds, a close that moves further from one row to the next is a wrong price."""
MAX_GAP_SESSIONS = 10
"""Most sessions from a stock's price to its next one: over more, its return says nothing of one session."""
ROUNDING = 0.01
"""Error of a base price that was computed from rounded adjusted closes, as a fraction."""
AT_LIMIT = 0.99
"""Share of the limit from which a close counts as at the limit; for the same rounding."""


@dataclass(frozen=True)
class MarketReturns:
    """Equal-weight returns of the market.

    Attributes
    ----------
    days : (n_sessions,)
        Sessions, ascending; the first of the dataset has no return.
    returns : (n_sessions,) float64
        Mean over the stocks of each one's return from its row before, as a fraction.
    left_out
        Returns of single stocks that no mean counts, because the daily price limit (or `MAX_MOVE`) forbids them.
    adjusted
        Whether `AdjustmentClose` was used; else closes, and dividends are missing.
    left_out_after_gap
        Returns of single stocks over more than `MAX_GAP_SESSIONS` sessions, which no mean counts either.
    daily_limits
        Whether Tokyo's daily price limits were the bound; else `MAX_MOVE`.
    """

    days: list[dt.date]
    returns: npt.NDArray[np.float64]
    left_out: int
    adjusted: bool
    left_out_after_gap: int = 0
    daily_limits: bool = True

    @property
    def bound(self) -> str:
        """What a single return was held against, in words."""
        return "the daily price limit" if self.daily_limits else f"{100 * MAX_MOVE:g} %"


def read_market_returns(dataset: DatasetFile, last: dt.date, *, daily_limits: bool = True) -> MarketReturns:
    """Read the closes of all days up to `last` and average the stocks' returns.

    A return is left out, and counted, where the daily price limit of Tokyo does not allow the move: it is a split
    that nobody adjusted for, or a wrong price. The base price is the close before on the basis of the later row,
    ``Close * AdjustmentClose before / AdjustmentClose``. The limit

    - compounds once for every session of the dataset between the two closes, `MAX_GAP_SESSIONS` at most;
    - is `BROADENED` where the row before had moved the same way by its own limit. The exchange asks for two such
      sessions, of which closes alone show too little; a return is rather kept than left out;
    - is taken of, and widened by, `ROUNDING` of the base.

    A return over more sessions is left out and counted apart: a code that comes back may be another company.

    Parameters
    ----------
    daily_limits
        False for data of a market without Tokyo's limits: then `MAX_MOVE` is the bound of every return.
    """
    days, codes, closes, adjusted = _read(dataset, last)
    return _average(
        days, codes, closes, adjusted, has_adjusted=dataset.has(ADJUSTMENT_CLOSE), daily_limits=daily_limits
    )


def market_returns_of(history: PriceHistory, *, daily_limits: bool = True) -> MarketReturns:
    """The same of prices in memory, whose first day has no return.

    A stock whose previous row is older than these prices has no return on the day that it comes back, and on the
    second day nobody knows whether the first one ended at the limit.
    """
    adjustment = history.frame[ADJUSTMENT].to_numpy(dtype=np.float64)
    closes = history.frame[CLOSE].to_numpy(dtype=np.float64)
    has_adjusted = bool(np.isfinite(adjustment).any())
    adjusted = closes * adjustment if has_adjusted else closes
    keep = np.isfinite(adjusted)
    codes, _ = pd.factorize(history.frame[CODE])
    days = history.frame[DATE].to_numpy().astype("datetime64[D]").astype(np.int32)
    return _average(
        days[keep],
        codes[keep],
        closes[keep],
        adjusted[keep],
        has_adjusted=has_adjusted,
        daily_limits=daily_limits,
    )


def _average(
    days: npt.NDArray[np.int32],
    codes: npt.NDArray[np.integer],
    closes: npt.NDArray[np.float64],
    adjusted: npt.NDArray[np.float64],
    *,
    has_adjusted: bool,
    daily_limits: bool,
) -> MarketReturns:
    """Mean by day of every stock's return from its row before; the rows come in any order."""
    order = np.lexsort((days, codes))
    days, codes, closes, adjusted = days[order], codes[order], closes[order], adjusted[order]
    sessions = np.unique(days)
    session = np.searchsorted(sessions, days)
    gaps = np.diff(session)
    same_stock = codes[1:] == codes[:-1]
    known = same_stock & (gaps <= MAX_GAP_SESSIONS)
    moves = adjusted[1:] / adjusted[:-1] - 1
    if daily_limits:
        # A base beyond float64 is one of a wrong price; no limit allows the move to it.
        with np.errstate(over="ignore", invalid="ignore"):
            allowed = _within_limits(closes[1:], closes[1:] * (adjusted[:-1] / adjusted[1:]), gaps, known)
    else:
        allowed = np.abs(moves) <= MAX_MOVE
    counted = known & allowed
    number = session[1:][counted]
    sums = np.bincount(number, weights=moves[counted], minlength=len(sessions))
    stocks = np.bincount(number, minlength=len(sessions))
    return MarketReturns(
        [day_from_epoch(day) for day in sessions[stocks > 0]],
        sums[stocks > 0] / stocks[stocks > 0],
        int((known & ~allowed).sum()),
        has_adjusted,
        int((same_stock & ~known).sum()),
        daily_limits,
    )


def _within_limits(
    closes_jpy: npt.NDArray[np.float64],
    bases_jpy: npt.NDArray[np.float64],
    gaps: npt.NDArray[np.integer],
    known: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Which moves from base to close the daily limit allows; rows `(n_rows - 1,)` by stock, then day."""
    moved = closes_jpy - bases_jpy
    at_limit = known & (np.abs(moved) >= AT_LIMIT * daily_limit_jpy(bases_jpy))
    broadened = np.zeros(len(moved), dtype=np.bool_)
    # The row before is the same stock's wherever the move is one of a single stock: others are not looked at.
    broadened[1:] = at_limit[:-1] & (np.sign(moved[1:]) == np.sign(moved[:-1]))
    factor = np.where(moved < 0, -1.0, 1.0) * np.where(broadened, BROADENED, 1)
    start = bases_jpy * (1 + ROUNDING)
    reached = start.copy()
    for step in range(MAX_GAP_SESSIONS):
        moving = np.flatnonzero(known & (gaps > step))
        limit = np.nan_to_num(daily_limit_jpy(reached[moving]))
        reached[moving] = np.maximum(reached[moving] + factor[moving] * limit, 0.0)
    return np.abs(moved) <= np.abs(reached - start) + ROUNDING * bases_jpy


def _read(
    dataset: DatasetFile, last: dt.date
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Day, number of the stock, close and adjusted close of every row with positive ones up to `last`."""
    columns = [CLOSE, ADJUSTMENT_CLOSE] if dataset.has(ADJUSTMENT_CLOSE) else [CLOSE]
    days, codes, prices = [], [], []
    with dataset.open() as file:
        for group in dataset.row_groups:
            if group.may_hold(None, last):
                table = file.read_row_group(group.index, columns=[DATE, CODE, *columns])
                values = np.stack([table[name].cast(pa.float64(), safe=False).to_numpy() for name in columns])
                day = dates_as_days(table[DATE])
                keep = ((values > 0) & (values < np.inf)).all(axis=0) & (day <= days_since_epoch(last))
                days.append(day[keep])
                codes += table[CODE].filter(pa.array(keep)).chunks
                prices.append(values[:, keep])
    if not days:
        return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0), np.empty(0)
    numbers = pa.chunked_array(codes).unify_dictionaries().combine_chunks().indices.to_numpy()
    found = np.concatenate(prices, axis=1)
    return np.concatenate(days), numbers, found[0], found[-1]
