"""Realized returns after a date: targets of training, and what a score is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

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
    """

    horizons: tuple[int, ...]
    days: npt.NDArray[np.int32]
    codes: npt.NDArray[np.str_]
    values: npt.NDArray[np.float64]

    def on(self, day: date, codes: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
        """Returns of the given codes from one day on, `(n_codes, n_horizons)`; NaN without a row on it."""
        first, last = np.searchsorted(self.days, [days_since_epoch(day), days_since_epoch(day) + 1])
        found = np.full((len(codes), len(self.horizons)), np.nan)
        listed = self.codes[first:last]
        if len(listed):
            at = np.minimum(np.searchsorted(listed, codes), len(listed) - 1)
            known = listed[at] == codes
            found[known] = self.values[first:last][at[known]]
        return found


def read_forward_returns(dataset: DatasetFile, horizons: Sequence[int], last: date) -> ForwardReturns:
    """Read prices up to `last` and form the return to each stock's own h-th later row.

    `AdjustmentClose` is the price where the dataset has it, so that a split is no return; else `Close`.
    Rows after `last` are dropped before any return is formed.
    """
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
    values = np.full((len(days), len(horizons)), np.nan)
    for column, horizon in enumerate(horizons):
        now, later = order[:-horizon], order[horizon:]
        same = codes[now] == codes[later]
        values[now[same], column] = price[later[same]] / price[now[same]] - 1
    by_date = np.lexsort((codes, days))
    return ForwardReturns(tuple(horizons), days[by_date], codes[by_date], values[by_date])
