"""What a dataset file must look like, checked on the parquet footer before any row is read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from apex_tasks.refusal import Refusal

DATE, CODE = "Date", "Code"
CLOSE, VOLUME, TURNOVER_VALUE = "Close", "Volume", "TurnoverValue"
ADJUSTMENT_CLOSE, SECTOR = "AdjustmentClose", "sector33_code"
MARKET_COLUMNS = (CLOSE, VOLUME, TURNOVER_VALUE)
SYNTHETIC_KEY = b"apex.synthetic"
EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class RowGroup:
    """One parquet row group; `first` and `last` are None where the writer kept no statistics."""

    index: int
    n_rows: int
    first: dt.date | None
    last: dt.date | None

    def may_hold(self, start: dt.date | None, end: dt.date) -> bool:
        """Whether a row dated within `start..end` (start None: no lower bound) can be in this group."""
        if self.first is None or self.last is None:
            return True
        return self.first <= end and (start is None or self.last >= start)


@dataclass(frozen=True)
class DatasetFile:
    """A dataset whose footer and schema are sound.

    Attributes
    ----------
    path
        The parquet file.
    schema
        Arrow schema, for column names and types.
    n_rows
        Rows in the file.
    row_groups
        Date ranges of the row groups, in file order.
    """

    path: Path
    schema: pa.Schema
    n_rows: int
    row_groups: tuple[RowGroup, ...]

    def has(self, column: str) -> bool:
        """Whether the file has the column."""
        return column in self.schema.names

    @property
    def synthetic(self) -> bool:
        """Whether the file declares itself made up, as `apex demo-data` does."""
        return (self.schema.metadata or {}).get(SYNTHETIC_KEY) == b"true"

    def open(self) -> pq.ParquetFile:
        """Open for reading; Code decodes as a dictionary, which is ten times smaller than strings."""
        return pq.ParquetFile(self.path, read_dictionary=[CODE])


def open_dataset(path: str | Path, numeric: Sequence[str] = ()) -> DatasetFile:
    """Read the footer of a dataset and check its columns and types.

    Parameters
    ----------
    path
        One parquet file, one row per (Date, Code).
    numeric
        Further columns that must be numeric where they exist (features and their operands).

    Raises
    ------
    Refusal
        The file is missing, truncated or no parquet; a required column is missing or of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise Refusal(
            "dataset is missing",
            expected="a parquet file",
            received="no such file" if not path.exists() else "not a file",
            where=path,
            remedy="Deliver the dataset, or point APEX_DATASET (or the run's parameter) at it.",
        )
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise Refusal(
            "dataset is not a readable parquet file",
            expected="a complete parquet file",
            received=f"{path.stat().st_size} bytes: {str(error).splitlines()[0]}",
            where=path,
            remedy="The copy was probably cut short: deliver the file again, under a new name, then rename it.",
        ) from None
    _check_types(path, schema, numeric)
    return DatasetFile(path, schema, metadata.num_rows, _row_groups(metadata))


def days_since_epoch(day: dt.date) -> int:
    """Days since 1970-01-01: parquet's own representation of a date."""
    return (day - EPOCH).days


def day_from_epoch(days: int) -> dt.date:
    """Date of a number of days since 1970-01-01."""
    return EPOCH + dt.timedelta(days=int(days))


def dates_as_days(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """Date column (date32 or timestamp) as days since 1970-01-01.

    Raises
    ------
    Refusal
        A date is null.
    """
    if column.null_count:
        raise Refusal(
            "dataset has rows without a Date",
            expected="no nulls in Date",
            received=f"{column.null_count} nulls",
            where=DATE,
            remedy="Drop or repair these rows where the dataset is made.",
        )
    if not pa.types.is_date32(column.type):
        column = column.cast(pa.date32(), safe=False)
    return column.cast(pa.int32()).to_numpy()


def _check_types(path: Path, schema: pa.Schema, numeric: Sequence[str]) -> None:
    types = dict(zip(schema.names, schema.types, strict=True))
    repeated = [name for name in types if schema.names.count(name) > 1]
    if repeated:
        raise Refusal(
            "dataset has columns of the same name",
            expected="every column once",
            received=f"more than once: {', '.join(repeated)}",
            where=path,
            remedy="Drop or rename the copies where the dataset is made.",
        )
    missing = [name for name in (DATE, CODE, *MARKET_COLUMNS) if name not in types]
    if missing:
        raise Refusal(
            "dataset lacks required columns",
            expected=", ".join((DATE, CODE, *MARKET_COLUMNS)),
            received=f"no {', '.join(missing)}",
            where=path,
            remedy="Column names are case-sensitive; rename or add them where the dataset is made.",
        )
    date_type = types[DATE]
    if not (pa.types.is_date(date_type) or (pa.types.is_timestamp(date_type) and date_type.tz is None)):
        _refuse_type(path, DATE, "date32 (a timestamp without time zone is read as its date)", date_type)
    code_type = types[CODE].value_type if pa.types.is_dictionary(types[CODE]) else types[CODE]
    if not (pa.types.is_string(code_type) or pa.types.is_large_string(code_type)):
        _refuse_type(path, CODE, "string, such as 69370", types[CODE])
    for name in dict.fromkeys((*MARKET_COLUMNS, ADJUSTMENT_CLOSE, *numeric)):
        if name in types and not _is_numeric(types[name]):
            _refuse_type(path, name, "a float, integer or boolean column", types[name])


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _refuse_type(path: Path, column: str, expected: str, received: pa.DataType) -> None:
    raise Refusal(
        f"dataset column {column} has the wrong type",
        expected=expected,
        received=received,
        where=f"{path}, column {column}",
        remedy="Cast the column where the dataset is made.",
    )


def _row_groups(metadata: pq.FileMetaData) -> tuple[RowGroup, ...]:
    date_index = metadata.schema.names.index(DATE)
    groups = []
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        statistics = group.column(date_index).statistics
        known = statistics is not None and statistics.has_min_max
        groups.append(
            RowGroup(
                index,
                group.num_rows,
                _as_date(statistics.min) if known else None,
                _as_date(statistics.max) if known else None,
            )
        )
    return tuple(groups)


def _as_date(value: dt.date | dt.datetime) -> dt.date:
    return value.date() if isinstance(value, dt.datetime) else value
