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

MAX_MOVE = 0.5
"""A close that moves further from one row to the next is a split or a wrong price, not a return."""


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
        Returns of single stocks beyond `MAX_MOVE`, which no mean counts.
    adjusted
        Whether `AdjustmentClose` was used; else closes, and dividends are missing.
    """

    days: list[dt.date]
    returns: npt.NDArray[np.float64]
    left_out: int
    adjusted: bool


def read_market_returns(dataset: DatasetFile, last: dt.date) -> MarketReturns:
    """Read the closes of all days up to `last` and average the stocks' returns."""
    price = ADJUSTMENT_CLOSE if dataset.has(ADJUSTMENT_CLOSE) else CLOSE
    days, codes, closes = _read(dataset, price, last)
    return _average(days, codes, closes, adjusted=price == ADJUSTMENT_CLOSE)


def market_returns_of(history: PriceHistory) -> MarketReturns:
    """The same of prices in memory, whose first day has no return.

    A stock whose previous row is older than these prices has no return on the day that it comes back.
    """
    adjustment = history.frame[ADJUSTMENT].to_numpy(dtype=np.float64)
    closes = history.frame[CLOSE].to_numpy(dtype=np.float64)
    adjusted = bool(np.isfinite(adjustment).any())
    if adjusted:
        closes = closes * adjustment
    keep = np.isfinite(closes)
    codes, _ = pd.factorize(history.frame[CODE])
    days = history.frame[DATE].to_numpy().astype("datetime64[D]").astype(np.int32)
    return _average(days[keep], codes[keep], closes[keep], adjusted=adjusted)


def _average(
    days: npt.NDArray[np.int32],
    codes: npt.NDArray[np.integer],
    closes: npt.NDArray[np.float64],
    *,
    adjusted: bool,
) -> MarketReturns:
    """Mean by day of every stock's return from its row before; the rows come in any order."""
    order = np.lexsort((days, codes))
    days, codes, closes = days[order], codes[order], closes[order]
    same_stock = codes[1:] == codes[:-1]
    moves = (closes[1:] / closes[:-1] - 1)[same_stock]
    days = days[1:][same_stock]
    usual = np.abs(moves) <= MAX_MOVE
    sessions, number = np.unique(days[usual], return_inverse=True)
    sums = np.bincount(number, weights=moves[usual], minlength=len(sessions))
    return MarketReturns(
        [day_from_epoch(day) for day in sessions],
        sums / np.bincount(number, minlength=len(sessions)),
        int((~usual).sum()),
        adjusted,
    )


def _read(
    dataset: DatasetFile, price: str, last: dt.date
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Day, number of the stock, and close of every row with a positive close up to `last`."""
    days, codes, closes = [], [], []
    with dataset.open() as file:
        for group in dataset.row_groups:
            if group.may_hold(None, last):
                table = file.read_row_group(group.index, columns=[DATE, CODE, price])
                values = table[price].cast(pa.float64(), safe=False).to_numpy()
                day = dates_as_days(table[DATE])
                keep = (values > 0) & (values < np.inf) & (day <= days_since_epoch(last))
                days.append(day[keep])
                codes += table[CODE].filter(pa.array(keep)).chunks
                closes.append(values[keep])
    if not days:
        return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0)
    numbers = pa.chunked_array(codes).unify_dictionaries().combine_chunks().indices.to_numpy()
    return np.concatenate(days), numbers, np.concatenate(closes)
