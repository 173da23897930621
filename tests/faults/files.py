"""Faults of the dataset's file: what it is, where it is, how it is written."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.feather as feather

from tests.support.fault_table.attempt import asked, sound
from tests.support.fault_table.case import Case
from tests.support.fault_table.cells import column, column_as, columns_as
from tests.support.fault_table.rows import (
    broken_link,
    elsewhere,
    empty_folder,
    file,
    link,
    odd_name,
    partitions,
    renamed,
    without_columns,
    written,
    zeroed,
)
from tests.support.fault_table.verdicts import refused, same

UNREADABLE, DAMAGED = refused("not a readable parquet file"), refused("dataset is damaged")
PRICES = ("Open", "Close", "AdjustmentClose", "TurnoverValue")


def hole(data: bytes) -> bytes:
    """Zeros in the middle quarter, as a copy that was not finished leaves them."""
    at, length = len(data) // 2, len(data) // 4
    return data[:at] + bytes(length) + data[at + length :]


def twice(attempt):
    attempt.table = pa.Table.from_arrays(
        [*attempt.table.columns, attempt.table["Close"]], names=[*attempt.table.column_names, "Close"]
    )


CASES = (
    Case("nothing is wrong", sound, same(), quick=True),
    Case("no file", asked("--dataset", "nowhere.parquet"), refused("dataset is missing", "no such file"), quick=True),
    Case("an empty file", file(lambda _: b""), refused("0 bytes"), quick=True),
    Case("a file cut at the end", file(lambda data: data[:-1000]), UNREADABLE, quick=True),
    Case("a file cut in half", file(lambda data: data[: len(data) // 2]), UNREADABLE),
    Case("a file without its first bytes", file(lambda data: data[1000:]), DAMAGED),
    Case("a file with more bytes after its end", file(lambda data: data + b"more"), UNREADABLE),
    Case("a footer of zeros", file(lambda data: data[:-2000] + bytes(1992) + data[-8:]), UNREADABLE),
    Case("a footer length beyond the file", file(lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1"), UNREADABLE),
    Case("CSV under the name of a parquet file", file(lambda _: b"Date,Code,Close\n2025-09-30,13010,1\n"), UNREADABLE),
    Case("HTML of an error page", file(lambda _: b"<!doctype html><title>503</title>"), UNREADABLE),
    Case("a parquet file in gzip", file(gzip.compress), UNREADABLE),
    Case("a feather file", elsewhere(lambda path, out: feather.write_feather(pa.table({"Date": [1]}), out) or out), UNREADABLE),
    Case("a hole of zeros", file(hole), DAMAGED, quick=True),
    Case("a page of closes is zeros", zeroed("Close", 0.0, 0.66), DAMAGED),
    Case("a page of codes is zeros", zeroed("Code", 0.0, 0.66), DAMAGED),
    Case("a page of dates is zeros", zeroed("Date", 0.0, 0.66, 2), DAMAGED),
    Case("a page that differs from its checksum", zeroed("rsi_14", 0.50, 0.52, 2, write_page_checksum=True, use_dictionary=False), refused("dataset is damaged", "CRC")),
    Case("a folder of partitions", elsewhere(partitions), refused("a folder of 3 parquet files"), quick=True),
    Case("an empty folder", elsewhere(empty_folder), refused("dataset is missing", "a folder")),
    Case("a link to nothing", elsewhere(broken_link), refused("dataset is missing")),
    Case("a link to the file", elsewhere(link), same()),
    Case("a name with blanks, brackets and quotes", elsewhere(odd_name), same()),
    Case("two columns of one name", twice, refused("columns of the same name", "Close")),
    Case("no Close", without_columns("Close"), refused("lacks required columns", "no Close")),
    Case("no Volume", without_columns("Volume"), refused("lacks required columns", "no Volume")),
    Case("no TurnoverValue", without_columns("TurnoverValue"), refused("lacks required columns", "no TurnoverValue")),
    Case("no Date and no Code", without_columns("Date", "Code"), refused("no Date, Code")),
    Case("column names in small letters", renamed("Close", "close"), refused("no Close")),
    Case("a byte order mark before a column's name", renamed("Date", "\ufeffDate"), refused("no Date")),
    Case("prices as decimals", columns_as(PRICES, pa.decimal128(18, 4)), refused("column Close has the wrong type", "decimal128")),
    Case("prices as text", columns_as(PRICES, pa.string()), refused("column Close has the wrong type", "string")),
    Case("volumes as whole numbers", column_as("Volume", pa.int64()), same()),
    Case("volumes as unsigned numbers", column_as("Volume", pa.uint32()), same()),
    Case("an index column of pandas", column("__index_level_0__", lambda a: list(range(a.table.num_rows))), same()),
    Case("written with zstd", written(compression="zstd"), same()),
    Case("written with snappy", written(compression="snappy"), same()),
    Case("written with pages of version 2", written(data_page_version="2.0"), same()),
    Case("written without statistics", written(write_statistics=False), same()),
    Case("written with page checksums", written(write_page_checksum=True), same()),
    Case("written in one row group", written(row_group_size=10**6), same()),
    Case("written in many row groups", written(row_group_size=997), same()),
    Case("written without dictionaries", written(use_dictionary=False), same()),
    Case("written without Arrow's schema", written(store_schema=False), same()),
    Case("written as format 1.0", written(version="1.0"), same()),
)  # fmt: skip
