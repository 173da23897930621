"""Prices and volumes of the sessions that a judgement looks at, and nothing else of the file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from apex_tasks.dataset.keys import order_by_code_then_day
from apex_tasks.dataset.schema import (
    ADJUSTMENT_CLOSE,
    ADJUSTMENT_FACTOR,
    CLOSE,
    CODE,
    DATE,
    TURNOVER_VALUE,
    VOLUME,
    DatasetFile,
    dates_as_days,
    days_since_epoch,
    require_no_nulls,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MarketRows:
    """Rows of a range of days, sorted by stock, then day.

    Attributes
    ----------
    codes : (n_codes,) str
        Distinct codes.
    stock : (n_rows,) int32
        Position of each row's code in `codes`.
    days : (n_rows,) int32
        Days since 1970-01-01.
    close, volume, turnover, adjusted_close, factor : (n_rows,) float64
        JPY, shares, JPY, JPY, and AdjustmentFactor; NaN where missing, not positive or not finite. The last two are
        None where the file has no such column.
    """

    codes: npt.NDArray[np.str_]
    stock: npt.NDArray[np.int32]
    days: npt.NDArray[np.int32]
    close: Floats
    volume: Floats
    turnover: Floats
    adjusted_close: Floats | None
    factor: Floats | None

    def positions(self, sessions: Sequence[dt.date]) -> npt.NDArray[np.int16]:
        """Number of each row's day among ascending sessions, ``(n_rows,)``; -1 on a day that is none of them."""
        days = np.array([days_since_epoch(day) for day in sessions], dtype=np.int32)
        first, last = min(days[0], self.days.min(initial=days[0])), max(days[-1], self.days.max(initial=0))
        number = np.full(last - first + 1, -1, dtype=np.int16)  # far faster than a search for every row
        number[days - first] = np.arange(len(days), dtype=np.int16)
        return number[self.days - first]

    def names(self, rows: npt.NDArray[np.integer]) -> tuple[str, ...]:
        """Distinct codes of some rows, ascending."""
        return tuple(np.unique(self.codes[self.stock[rows]]).tolist())


def read_market_rows(dataset: DatasetFile, first: dt.date, last: dt.date) -> MarketRows:
    """Read the market columns of the days `first..last`; only row groups that can hold one are decoded."""
    optional = [name for name in (ADJUSTMENT_CLOSE, ADJUSTMENT_FACTOR) if dataset.has(name)]
    columns = [DATE, CODE, CLOSE, VOLUME, TURNOVER_VALUE, *optional]
    tables, all_days = [], []
    with dataset.open() as file:
        tables.append(file.read_row_groups([], columns))  # the types, when no day is there
        for group in dataset.row_groups:
            if group.may_hold(first, last):
                table = file.read_row_group(group.index, columns)
                days = dates_as_days(table[DATE])
                keep = (days >= days_since_epoch(first)) & (days <= days_since_epoch(last))
                tables.append(table if keep.all() else table.filter(keep))
                all_days.append(days[keep])
    table = pa.concat_tables(tables)
    require_no_nulls(table[CODE], CODE)
    codes = table[CODE].unify_dictionaries().combine_chunks()
    stock = codes.indices.to_numpy().astype(np.int32)
    days = np.concatenate([np.empty(0, np.int32), *all_days])
    order = order_by_code_then_day(stock, days)
    values = {
        name: _positive(table[name].cast(pa.float64(), safe=False).to_numpy()[order]) for name in columns[2:]
    }
    return MarketRows(
        codes=np.asarray(codes.dictionary.cast(pa.string()).to_pylist(), dtype=np.str_),
        stock=stock[order],
        days=days[order],
        close=values[CLOSE],
        volume=values[VOLUME],
        turnover=values[TURNOVER_VALUE],
        adjusted_close=values.get(ADJUSTMENT_CLOSE),
        factor=values.get(ADJUSTMENT_FACTOR),
    )


def _positive(values: Floats) -> Floats:
    missing = ~((values > 0) & (values < np.inf))
    if missing.any():
        values[missing] = np.nan
    return values
