"""Sessions of a dataset, found by row-group statistics: only row groups that can hold one are decoded."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from apex_tasks.dataset.schema import (
    CLOSE,
    DATE,
    DatasetFile,
    RowGroup,
    dates_as_days,
    day_from_epoch,
    days_since_epoch,
)


def tables_of_days(
    dataset: DatasetFile, days: Collection[dt.date], columns: Sequence[str]
) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64], npt.NDArray[np.int32]]]:
    """Decode the row groups that can hold one of some days.

    Yields
    ------
    table
        A row group's `columns`, `Date` among them.
    rows : (n_rows,)
        Positions in it of the rows of these days, ascending.
    row_days : (n_rows,)
        Their days since 1970-01-01.
    """
    wanted = np.array(sorted(days_since_epoch(day) for day in set(days)), dtype=np.int32)
    with dataset.open() as file:
        for group in dataset.row_groups:
            if any(group.may_hold(day, day) for day in days):
                table = file.read_row_group(group.index, columns=list(columns))
                table_days = dates_as_days(table[DATE])
                rows = np.flatnonzero(np.isin(table_days, wanted))
                yield table, rows, table_days[rows]


def last_session(dataset: DatasetFile, until: dt.date) -> dt.date | None:
    """The newest day on or before `until` on which at least one stock has a close, or None.

    Row groups are read newest first, and no further than to the first that can hold nothing newer.
    """
    newest: dt.date | None = None
    groups = [group for group in dataset.row_groups if group.may_hold(None, until)]
    with dataset.open() as file:
        for group in sorted(groups, key=lambda group: _reach(group, until), reverse=True):
            if newest is not None and newest >= _reach(group, until):
                break
            table = file.read_row_group(group.index, columns=[DATE, CLOSE])
            priced = pc.fill_null(pc.greater(table[CLOSE], 0), False).to_numpy()
            days = dates_as_days(table[DATE])[priced]
            days = days[days <= days_since_epoch(until)]
            if len(days):
                found = day_from_epoch(np.max(days))
                newest = found if newest is None else max(newest, found)
    return newest


def _reach(group: RowGroup, until: dt.date) -> dt.date:
    """The newest day up to `until` that a row group can hold."""
    return until if group.last is None else min(group.last, until)
