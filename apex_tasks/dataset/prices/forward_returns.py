"""Realized returns after a date: targets of training, and what a score is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from apex_tasks.dataset.code_histories import NEW_HISTORY_AFTER_SESSIONS, history_numbers
from apex_tasks.dataset.schema import (
    ADJUSTMENT_CLOSE,
    CLOSE,
    CODE,
    DATE,
    DatasetFile,
    dates_as_days,
    days_since_epoch,
)


@dataclass(frozen=True)
class ForwardReturns:
    """Forward returns of every row up to a last day, sorted by Date, then Code.

    Attributes
    ----------
    horizons
        In a stock's own rows.
    days : (n_rows,) int32
        Days since 1970-01-01.
    codes : (n_rows,) str
        Ascending within a day.
    values : (n_rows, n_horizons) float64
        Simple returns; NaN where the later row does not exist or a price is missing or not positive.
    at_last_price : (n_rows, n_horizons) bool
        The return ends at the last price before the end of the horizon, see `read_held_returns`.
    """

    horizons: tuple[int, ...]
    days: npt.NDArray[np.int32]
    codes: npt.NDArray[np.str_]
    values: npt.NDArray[np.float64]
    at_last_price: npt.NDArray[np.bool_]

    def on(self, day: date, codes: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
        """Returns of the given codes from one day on, `(n_codes, n_horizons)`; NaN without a row on it."""
        known, rows = self._rows_on(day, codes)
        found = np.full((len(codes), len(self.horizons)), np.nan)
        found[known] = self.values[rows]
        return found

    def ended_early(self, day: date, codes: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
        """Which of the returns of `on` end at the last price before the horizon does, `(n_codes, n_horizons)`."""
        known, rows = self._rows_on(day, codes)
        found = np.zeros((len(codes), len(self.horizons)), dtype=np.bool_)
        found[known] = self.at_last_price[rows]
        return found

    def _rows_on(
        self, day: date, codes: npt.NDArray[np.str_]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
        """Which of the codes have a row on a day, and the places of these rows."""
        first, last = np.searchsorted(self.days, [days_since_epoch(day), days_since_epoch(day) + 1])
        listed = self.codes[first:last]
        if not len(listed):
            return np.zeros(len(codes), dtype=np.bool_), np.empty(0, dtype=np.intp)
        at = np.minimum(np.searchsorted(listed, codes), len(listed) - 1)
        known = listed[at] == codes
        return known, first + at[known]


def read_forward_returns(dataset: DatasetFile, horizons: Sequence[int], last: date) -> ForwardReturns:
    """Read prices up to `last` and form the return to each stock's own h-th later row: the targets of training.

    `AdjustmentClose` is the price where the dataset has it, so that a split is no return; else `Close`.
    Rows after `last` are dropped before any return is formed. A stock without a price at the end of the horizon
    has no return: a model is judged by `read_held_returns` instead. A code that begins a new history, see
    `dataset.code_histories`, has no return across.
    """
    rows = _read_rows(dataset, last)
    values = np.full((len(rows.days), len(horizons)), np.nan)
    for column, horizon in enumerate(horizons):
        same = rows.stock[:-horizon] == rows.stock[horizon:]
        now, later = rows.price[:-horizon][same], rows.price[horizon:][same]
        values[np.flatnonzero(same), column] = later / now - 1
    return rows.returns(horizons, values, np.zeros(values.shape, dtype=np.bool_))


def read_held_returns(dataset: DatasetFile, horizons: Sequence[int], last: date) -> ForwardReturns:
    """Read prices up to `last` and form the returns that a holder gets: what scores are judged by.

    As `read_forward_returns`, but a stock that leaves within the horizon stays in, or the figures would be those of
    the survivors: where the h-th later row has no price, or does not exist although h later sessions of the dataset
    do, the return ends at the stock's last price before it. Of a stock that never has another price it is 0. These
    are marked in `at_last_price`, to be counted and published with whatever is made of them.

    A session is a day on which at least one stock has a price. A stock whose code begins a new history has left.
    """
    rows = _read_rows(dataset, last)
    sessions = np.unique(rows.days[np.isfinite(rows.price)])
    sessions_after = len(sessions) - np.searchsorted(sessions, rows.days, side="right")
    here = np.arange(len(rows.days))
    own_last = np.searchsorted(rows.stock, rows.stock, side="right") - 1
    # Place of the newest price up to each row; from a row with a price on it never reaches back into another stock.
    priced = np.maximum.accumulate(np.where(np.isfinite(rows.price), here, 0))
    values = np.full((len(here), len(horizons)), np.nan)
    early = np.zeros(values.shape, dtype=np.bool_)
    for column, horizon in enumerate(horizons):
        due = here + horizon
        over = (due <= own_last) | (sessions_after >= horizon)
        end = priced[np.minimum(due, own_last)]
        kept = np.flatnonzero(over & np.isfinite(rows.price))
        values[kept, column] = rows.price[end[kept]] / rows.price[kept] - 1
        early[kept, column] = end[kept] < due[kept]
    return rows.returns(horizons, values, early)


@dataclass(frozen=True)
class _PriceRows:
    """Rows up to a last day by Code, then Date; a price that is missing or not positive is NaN."""

    days: npt.NDArray[np.int32]
    codes: npt.NDArray[np.str_]
    price: npt.NDArray[np.float64]
    stock: npt.NDArray[np.int64]
    """The stocks numbered, ascending by row; each history of a code is another one."""

    def returns(
        self, horizons: Sequence[int], values: npt.NDArray[np.float64], early: npt.NDArray[np.bool_]
    ) -> ForwardReturns:
        """These values by Date, then Code."""
        order = np.lexsort((self.codes, self.days))
        return ForwardReturns(
            tuple(horizons), self.days[order], self.codes[order], values[order], early[order]
        )


def _read_rows(dataset: DatasetFile, last: date) -> _PriceRows:
    price_column = ADJUSTMENT_CLOSE if dataset.has(ADJUSTMENT_CLOSE) else CLOSE
    with dataset.open() as file:
        table = file.read_row_groups(
            [group.index for group in dataset.row_groups if group.may_hold(None, last)],
            columns=[DATE, CODE, price_column],
        )
    days = dates_as_days(table[DATE])
    keep = days <= days_since_epoch(last)
    days = days[keep]
    codes = np.asarray(pc.cast(table[CODE], "string").to_numpy()[keep], dtype=np.str_)
    price = table[price_column].cast("float64").to_numpy()[keep]
    price = np.where(np.isfinite(price) & (price > 0), price, np.nan)
    order = np.lexsort((days, codes))
    days, codes = days[order], codes[order]
    numbers = np.cumsum(np.r_[False, codes[1:] != codes[:-1]][: len(codes)])
    return _PriceRows(days, codes, price[order], history_numbers(numbers, days, NEW_HISTORY_AFTER_SESSIONS))
