"""Write the dataset file that the other steps read."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from apex_tasks.dataset.parquet_reader import ParquetReader
from apex_tasks.dataset.price_features.definitions import LEFT_OUT_FEATURES, PRICE_FEATURES
from apex_tasks.dataset.price_features.engine import feature_columns, with_features
from apex_tasks.dataset.price_features.origin import ORIGIN_KEY, PRICES_ORIGIN
from apex_tasks.dataset.price_features.rows import PriceRows, read_prices
from apex_tasks.dataset.schema import TEXT_PATTERNS
from apex_tasks.refusal import Refusal
from apex_tasks.store import write_file

ROW_GROUP_ROWS = 131_072
NEWEST_SESSIONS, SPARSE = 180, 0.05
"""The sessions that a month's windows reach back, and the share of nulls in them that is told."""
_READ, _COMPUTED = 0.1, 0.6


@dataclass(frozen=True)
class DatasetSummary:
    """What `write_dataset` wrote.

    Attributes
    ----------
    features_left_out
        Those of the model's features that the file has not: neither computed nor brought by the prices.
    rows_without_price
        Rows whose Close or AdjustmentClose is null, not positive or not finite: they have no price features.
    rows_without_volume
        Rows whose Volume is null, negative or not finite.
    codes_with_new_history
        Codes that came back as another stock, see `dataset.code_histories`: no feature looks across.
    sparse_features
        Features that are null in more than `SPARSE` of the rows of the newest sessions, with their share.
    """

    rows: int
    stocks: int
    sessions: int
    features_computed: tuple[str, ...]
    features_left_out: tuple[str, ...]
    first_date: datetime.date
    last_date: datetime.date
    rows_without_price: int
    rows_without_volume: int
    codes_with_new_history: tuple[str, ...]
    sparse_features: tuple[str, ...]


def write_dataset(
    prices_file: Path, out: Path, progress: Callable[[float], None] | None = None
) -> DatasetSummary:
    """Compute the price features of a parquet file and write the dataset file.

    The file appears under its name only when it is complete: parquet, zstd, sorted by Date, Code, in row
    groups of 131,072 rows with statistics, so that a reader skips the row groups of other dates. Decimal columns
    become float64, which the readers of a dataset take; the metadata `features` name the origin of the features.

    Parameters
    ----------
    prices_file
        Parquet file as `compute_price_features` takes it.
    out
        File to write; an existing one is replaced.
    progress
        Called with the finished fraction, rising from 0 to 1.

    Raises
    ------
    Refusal
        The prices cannot be read, are refused by `compute_price_features`, or `out` is a folder.
    """
    report = progress or (lambda _fraction: None)
    if out.is_dir():
        raise Refusal(
            "dataset cannot be written",
            expected="the name of a file",
            received="a folder",
            where=out,
            remedy="Name a file, e.g. dataset.parquet.",
        )
    rows = read_prices(_read(prices_file))
    report(_READ)
    columns = {}
    for name, column in feature_columns(rows):
        columns[name] = column
        report(_READ + (_COMPUTED - _READ) * len(columns) / len(PRICE_FEATURES))
    dataset = _named(with_features(rows, columns))
    _write(dataset, out, lambda written: report(_COMPUTED + (1 - _COMPUTED) * written))
    return DatasetSummary(
        rows=dataset.num_rows,
        stocks=rows.n_codes,
        sessions=rows.n_sessions,
        features_computed=tuple(feature.name for feature in PRICE_FEATURES),
        features_left_out=tuple(f.name for f in LEFT_OUT_FEATURES if f.name not in dataset.column_names),
        first_date=dataset["Date"][0].as_py(),
        last_date=dataset["Date"][-1].as_py(),
        rows_without_price=rows.rows_without_price,
        rows_without_volume=rows.rows_without_volume,
        codes_with_new_history=rows.codes_with_new_history,
        sparse_features=_sparse_features(dataset, rows),
    )


def _sparse_features(dataset: pa.Table, rows: PriceRows) -> tuple[str, ...]:
    newest = pa.array(rows.session >= rows.n_sessions - NEWEST_SESSIONS)
    shares = {f.name: dataset[f.name].filter(newest) for f in PRICE_FEATURES}
    nulls = {name: column.null_count / max(1, len(column)) for name, column in shares.items()}
    return tuple(f"{name} {share:.1%}" for name, share in nulls.items() if share > SPARSE)


def _read(prices_file: Path) -> pa.Table:
    # One file is read, not a dataset; a folder called Date=... above it must not add a column.
    with ParquetReader(prices_file, TEXT_PATTERNS, what="price file") as source:
        return _without_decimals(source.read_row_groups(range(source.metadata.num_row_groups)))


def _without_decimals(table: pa.Table) -> pa.Table:
    """The table with its decimal columns, such as databases export, as float64: to the nearest number."""
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.float64()))
    return table


def _named(dataset: pa.Table) -> pa.Table:
    return dataset.replace_schema_metadata(
        {**(dataset.schema.metadata or {}), ORIGIN_KEY: PRICES_ORIGIN.encode()}
    )


def _write(dataset: pa.Table, out: Path, report: Callable[[float], None]) -> None:
    """Write beside `out`, then rename: a reader sees the old file or the new one, never a part."""
    order = pq.SortingColumn.from_ordering(dataset.schema, [("Date", "ascending"), ("Code", "ascending")])

    def write(unfinished: Path) -> None:
        with pq.ParquetWriter(
            unfinished, dataset.schema, compression="zstd", sorting_columns=order
        ) as writer:
            for start in range(0, dataset.num_rows, ROW_GROUP_ROWS):
                writer.write_table(dataset.slice(start, ROW_GROUP_ROWS), row_group_size=ROW_GROUP_ROWS)
                report(min(1.0, (start + ROW_GROUP_ROWS) / dataset.num_rows))

    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(UPath(out), write, durable=True)
