"""The (Date, Code) keys of a dataset: which rows exist, and where, without decoding any feature."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from apex_tasks.dataset.code_histories import history_numbers
from apex_tasks.dataset.schema import (
    CODE,
    DATE,
    DatasetFile,
    dates_as_days,
    day_from_epoch,
    days_since_epoch,
    require_no_nulls,
)
from apex_tasks.refusal import Refusal


@dataclass(frozen=True)
class RowKeys:
    """Keys of all rows dated up to the last day of interest, sorted by Code, then Date.

    Attributes
    ----------
    codes : (n_codes,) str
        Distinct codes, ascending.
    code_index : (n_rows,) int32
        Position of each row's code in `codes`.
    days : (n_rows,) int32
        Days since 1970-01-01.
    group, row_in_group : (n_rows,) int32
        Position of the row in the file.
    age : (n_rows,) int64
        How many rows of its history the same stock has before this one, see `dataset.code_histories`.
    later_history : (n_rows,) bool
        The code has an earlier history, whose rows do not count in `age`.
    """

    codes: npt.NDArray[np.str_]
    code_index: npt.NDArray[np.int32]
    days: npt.NDArray[np.int32]
    group: npt.NDArray[np.int32]
    row_in_group: npt.NDArray[np.int32]
    age: npt.NDArray[np.int64]
    later_history: npt.NDArray[np.bool_]

    def on(self, day: dt.date) -> npt.NDArray[np.int64]:
        """Positions of the rows of one day, by Code."""
        return np.flatnonzero(self.days == days_since_epoch(day))

    def new_histories(self) -> dict[str, dt.date]:
        """First day of the newest history of every code that has an earlier one, by code."""
        is_last = np.ones(len(self.code_index), dtype=np.bool_)
        is_last[:-1] = self.code_index[1:] != self.code_index[:-1]
        rows = np.flatnonzero(is_last & self.later_history)
        days = self.days[rows - self.age[rows]]
        codes = self.codes[self.code_index[rows]]
        return {str(code): day_from_epoch(day) for code, day in zip(codes, days, strict=True)}

    def begun_again(self, day: dt.date, lookback: int) -> list[str]:
        """Codes with a row on a day whose window, because of a new history, is not full, ascending."""
        rows = self.on(day)
        short = self.later_history[rows] & (self.age[rows] < lookback - 1)
        return [str(code) for code in self.codes[self.code_index[rows[short]]]]


def scan_keys(dataset: DatasetFile, last: dt.date, *, new_history_after: int | None = None) -> RowKeys:
    """Read the keys of all rows dated `last` or earlier; later rows are not looked at.

    Parameters
    ----------
    new_history_after
        Sessions of the dataset without a row from which on a code that comes back is another stock; None: never, as
        in v0.1.0.

    Raises
    ------
    Refusal
        A key is null or occurs twice.
    """
    wanted = [group for group in dataset.row_groups if group.may_hold(None, last)]
    days, groups, rows_in_group, code_indices = [], [], [], []
    code_numbers: dict[str, int] = {}
    with dataset.open() as file:
        for group in wanted:
            table = file.read_row_group(group.index, columns=[DATE, CODE])
            group_days = dates_as_days(table[DATE])
            in_time = group_days <= days_since_epoch(last)
            keep = np.flatnonzero(in_time).astype(np.int32)
            codes = table[CODE] if len(keep) == len(group_days) else table[CODE].filter(in_time)
            code_indices.append(_number_codes(codes, code_numbers))
            days.append(group_days[keep])
            groups.append(np.full(len(keep), group.index, dtype=np.int32))
            rows_in_group.append(keep)
    names = np.array(list(code_numbers), dtype=np.str_)
    code_index = _concatenate(code_indices)
    used = np.bincount(code_index, minlength=len(names)) > 0  # a dictionary may list codes of later rows only
    by_name = np.argsort(names)
    by_name = by_name[used[by_name]]
    rank = np.empty(len(names), dtype=np.int32)
    rank[by_name] = np.arange(len(by_name), dtype=np.int32)
    code_index = rank[code_index]
    all_days = _concatenate(days)
    order = order_by_code_then_day(code_index, all_days)
    code_index, all_days = code_index[order], all_days[order]
    _refuse_duplicates(dataset, names[by_name], code_index, all_days)
    history = history_numbers(code_index, all_days, new_history_after)
    return RowKeys(
        names[by_name],
        code_index,
        all_days,
        _concatenate(groups)[order],
        _concatenate(rows_in_group)[order],
        _rows_before(history),
        _first_of(history, code_index) != history,
    )


def _concatenate(parts: list[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)


def _number_codes(column: pa.ChunkedArray, code_numbers: dict[str, int]) -> npt.NDArray[np.int32]:
    """Number a row group's codes in order of first sight, across all row groups."""
    require_no_nulls(column, CODE)
    chunks = []
    for chunk in column.chunks:
        encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        local = [code_numbers.setdefault(code, len(code_numbers)) for code in encoded.dictionary.to_pylist()]
        chunks.append(np.asarray(local, dtype=np.int32)[encoded.indices.to_numpy()])
    return _concatenate(chunks)


def order_by_code_then_day(
    code_index: npt.NDArray[np.int32], days: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """Stable sort of rows by Code, then Date; usual files are sorted by Date already, which saves one sort."""
    if len(days) and bool((np.diff(days) < 0).any()):
        return np.lexsort((days, code_index))
    small = code_index.astype(np.uint16) if len(code_index) and code_index.max() < 2**16 else code_index
    return np.argsort(small, kind="stable")  # radix sort for 16 bits


def _rows_before(history: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many rows of the same history stand before each row."""
    return np.arange(len(history), dtype=np.int64) - _first_of(np.arange(len(history)), history)


def _first_of(values: npt.NDArray[np.int64], runs: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The value at the first row of each row's run of equal numbers; values that ascend."""
    is_first = np.ones(len(runs), dtype=np.bool_)
    is_first[1:] = runs[1:] != runs[:-1]
    return np.maximum.accumulate(np.where(is_first, values, 0))


def _refuse_duplicates(
    dataset: DatasetFile,
    codes: npt.NDArray[np.str_],
    code_index: npt.NDArray[np.int32],
    days: npt.NDArray[np.int32],
) -> None:
    twice = np.flatnonzero((code_index[1:] == code_index[:-1]) & (days[1:] == days[:-1]))
    if len(twice):
        first = twice[0]
        raise Refusal(
            "dataset has duplicate (Date, Code) rows",
            expected="one row per stock and day",
            received=f"{len(twice)} duplicates, the first {day_from_epoch(days[first])} {codes[code_index[first]]}",
            where=dataset.path,
            remedy="Remove the duplicates where the dataset is made.",
        )
