"""What a dataset file must look like, checked on the parquet footer before any row is read."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from apex_tasks.dataset.file_identity import FileIdentity, require_same_file
from apex_tasks.dataset.parquet_reader import DECODE_ERRORS, ParquetReader, is_text
from apex_tasks.refusal import Refusal
from apex_tasks.store import file_sha256

DATE, CODE = "Date", "Code"
CLOSE, VOLUME, TURNOVER_VALUE = "Close", "Volume", "TurnoverValue"
ADJUSTMENT_CLOSE, ADJUSTMENT_FACTOR, SECTOR = "AdjustmentClose", "AdjustmentFactor", "sector33_code"
MARKET_COLUMNS = (CLOSE, VOLUME, TURNOVER_VALUE)
TEXT_PATTERNS = {
    CODE: r"\A[0-9A-Za-z][0-9A-Za-z._-]{0,31}\z",
    SECTOR: r"\A([\pL\pN][\pL\pN ・.,&/()_-]*|-?)\z",
}
"""Codes and sectors that are safe in a table, a page and a file name: no formula, markup or control character."""
SYNTHETIC_KEY = b"apex.synthetic"
EPOCH = dt.date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = (dt.date.min - EPOCH).days, (dt.date.max - EPOCH).days
_PER_DAY = {"s": 86_400, "ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}


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
    identity
        Of the file whose footer was read: every later look is at this one, or refused.
    """

    path: Path
    schema: pa.Schema
    n_rows: int
    row_groups: tuple[RowGroup, ...]
    identity: FileIdentity

    def has(self, column: str) -> bool:
        """Whether the file has the column."""
        return column in self.schema.names

    def require_columns(self, names: Sequence[str]) -> None:
        """Refuse a file in which one of these columns is missing or not numeric.

        Raises
        ------
        Refusal
            The features were looked up in another file than this one, or a column holds no numbers.
        """
        missing = [name for name in names if not self.has(name)]
        if missing:
            raise Refusal(
                f"dataset lacks {len(missing)} columns that the features were looked up in",
                expected=", ".join(missing[:5]),
                received="no such columns",
                where=self.path,
                remedy="The file was probably replaced between two steps: run again from validate-bundle.",
            )
        _check_numeric(self.path, self.schema, names)

    @property
    def synthetic(self) -> bool:
        """Whether the file declares itself made up, as `apex demo-data` does."""
        return (self.schema.metadata or {}).get(SYNTHETIC_KEY) == b"true"

    def open(self) -> ParquetReader:
        """Open for reading; Code and sector come as dictionaries of safe texts."""
        return ParquetReader(self.path, TEXT_PATTERNS, self.identity)

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the file's content, in hex; computed once.

        Raises
        ------
        Refusal
            The file is another one than that whose footer was read.
        """
        found = file_sha256(self.path)
        self.require_unchanged()
        return found

    def require_unchanged(self) -> None:
        """Refuse when another file stands under the name by now; every reading does this by itself."""
        require_same_file(self.path, self.identity)


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
    with ParquetReader(path) as reader:
        metadata, schema, identity = reader.metadata, reader.schema, reader.identity
    _check_types(path, schema, numeric)
    return DatasetFile(path, schema, metadata.num_rows, _row_groups(metadata), identity)


def days_since_epoch(day: dt.date) -> int:
    """Days since 1970-01-01: parquet's own representation of a date."""
    return (day - EPOCH).days


def day_from_epoch(days: int) -> dt.date:
    """Date of a number of days since 1970-01-01."""
    return EPOCH + dt.timedelta(days=int(days))


def require_no_nulls(column: pa.ChunkedArray, name: str) -> None:
    """Refuse rows without a key.

    Raises
    ------
    Refusal
        The column has nulls.
    """
    if column.null_count:
        raise Refusal(
            f"dataset has rows without a {name}",
            expected=f"no nulls in {name}",
            received=f"{column.null_count} nulls",
            where=name,
            remedy="Drop or repair these rows where the dataset is made.",
        )


def dates_as_days(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """Date column (date32 or timestamp) as days since 1970-01-01.

    Raises
    ------
    Refusal
        A date is null, has a time of day, or is beyond the years that a calendar has.
    """
    require_no_nulls(column, DATE)
    days = column.cast(pa.int32()).to_numpy() if pa.types.is_date32(column.type) else _whole_days(column)
    outside = (days < _FIRST_DAY) | (days > _LAST_DAY)
    if outside.any():
        raise Refusal(
            f"dataset has {int(outside.sum())} dates that no calendar has",
            expected=f"trading dates, years {dt.MINYEAR} to {dt.MAXYEAR}",
            received=f"the first is {days[outside][0]} days after {EPOCH}",
            where=DATE,
            remedy="Drop or repair these rows where the dataset is made; a database writes its infinity this way.",
        )
    return np.asarray(days, dtype=np.int32)


def _whole_days(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Days of timestamps, none of which has a time of day."""
    unit = "ms" if pa.types.is_date64(column.type) else column.type.unit
    per_day = _PER_DAY[unit]
    days, rest = np.divmod(column.cast(pa.int64()).to_numpy(), per_day)
    if rest.any():
        first = int(np.flatnonzero(rest)[0])
        seconds = int(rest[first]) * 86_400 // per_day
        raise Refusal(
            f"dataset has {np.count_nonzero(rest)} dates with a time of day",
            expected="trading dates of Tokyo, 00:00 where they are timestamps",
            received=f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d} in row {first}, probably a shifted time zone",
            where=DATE,
            remedy="Convert to the trading date in Tokyo where the dataset is made (date32 leaves no doubt).",
        )
    return np.asarray(days)


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
    if not is_text(types[CODE]):
        _refuse_type(path, CODE, "string, such as 69370", types[CODE])
    _check_numeric(path, schema, (*MARKET_COLUMNS, ADJUSTMENT_CLOSE, *numeric))


def _check_numeric(path: Path, schema: pa.Schema, names: Iterable[str]) -> None:
    types = dict(zip(schema.names, schema.types, strict=True))
    for name in dict.fromkeys(names):
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
        groups.append(RowGroup(index, group.num_rows, *_date_range(group.column(date_index))))
    return tuple(groups)


def _date_range(chunk: pq.ColumnChunkMetaData) -> tuple[dt.date | None, dt.date | None]:
    """First and last date by the writer's statistics; those that Python cannot hold count as absent."""
    try:
        statistics = chunk.statistics
        if statistics is None or not statistics.has_min_max:
            return None, None
        return _as_date(statistics.min), _as_date(statistics.max)
    except DECODE_ERRORS:
        return None, None


def _as_date(value: dt.date | dt.datetime) -> dt.date:
    return value.date() if isinstance(value, dt.datetime) else value
