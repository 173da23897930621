"""Faults of rows, columns and files: what is there, in which order, and how it is written."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.support.fault_table.attempt import Attempt, Change
from tests.support.fault_table.places import Place


def without_rows(where: Place) -> Change:
    """Rows that are not delivered."""

    def change(attempt: Attempt) -> None:
        mask = where.mask(attempt)
        assert mask.any(), "a fault that is nowhere"
        attempt.table = attempt.table.filter(pa.array(~mask))

    return change


def repeated_rows(where: Place) -> Change:
    """Rows that are delivered twice."""

    def change(attempt: Attempt) -> None:
        attempt.table = pa.concat_tables([attempt.table, attempt.table.filter(pa.array(where.mask(attempt)))])

    return change


def copied_rows(where: Place, to: dt.date | str) -> Change:
    """Rows that are delivered again, under another date or another code."""

    def change(attempt: Attempt) -> None:
        copies = attempt.table.filter(pa.array(where.mask(attempt)))
        name, kind = ("Code", pa.string()) if isinstance(to, str) else ("Date", pa.date32())
        at = copies.schema.get_field_index(name)
        copies = copies.set_column(at, name, pa.array([to] * copies.num_rows, kind))
        attempt.table = pa.concat_tables([attempt.table, copies])

    return change


def ordered(how: str) -> Change:
    """Rows in another order: by stock, newest first, or at random."""

    def change(attempt: Attempt) -> None:
        if how == "random":
            order: Any = np.random.default_rng(2).permutation(attempt.table.num_rows)
        else:
            keys = {
                "stock": [("Code", "ascending"), ("Date", "ascending")],
                "newest": [("Date", "descending")],
            }
            order = pc.sort_indices(attempt.table, sort_keys=keys[how])
        attempt.table = attempt.table.take(pa.array(order))

    return change


def without_columns(*names: str) -> Change:
    """Columns that are not delivered."""

    def change(attempt: Attempt) -> None:
        attempt.table = attempt.table.drop_columns(list(names))

    return change


def renamed(old: str, new: str) -> Change:
    """A column under another name."""

    def change(attempt: Attempt) -> None:
        names = [new if name == old else name for name in attempt.table.column_names]
        attempt.table = attempt.table.rename_columns(names)

    return change


def written(**how: Any) -> Change:
    """The same rows, written another way."""
    return lambda attempt: attempt.write(**how) and None


def file(damage: Callable[[bytes], bytes], **how: Any) -> Change:
    """Bytes of the file that are others."""

    def change(attempt: Attempt) -> None:
        path = attempt.write(**how)
        path.write_bytes(damage(path.read_bytes()))

    return change


def zeroed(column: str, first: float, last: float, back: int = 1, **how: Any) -> Change:
    """Zeros in a part of a column's bytes, in one of the last row groups; the footer stays whole."""

    def change(attempt: Attempt) -> None:
        path = attempt.write(**how)
        metadata = pq.read_metadata(path)
        group = metadata.row_group(metadata.num_row_groups - back)
        chunk = group.column(metadata.schema.names.index(column))
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        begin, end = (start + int(chunk.total_compressed_size * share) for share in (first, last))
        data = bytearray(path.read_bytes())
        data[begin:end] = bytes(end - begin)
        path.write_bytes(data)

    return change


def elsewhere(make: Callable[[Path, Path], Path]) -> Change:
    """Another path than that of one file; `make` gets the file and a free path."""

    def change(attempt: Attempt) -> None:
        attempt.dataset = make(attempt.write(), attempt.folder / "delivered")

    return change


def partitions(file: Path, out: Path) -> Path:
    """A folder of a file per part."""
    out.mkdir()
    table = pq.read_table(file)
    for number in range(3):
        pq.write_table(table.slice(number * 4_000, 4_000), out / f"part-{number}.parquet")
    return out


def empty_folder(_: Path, out: Path) -> Path:
    """A folder with nothing in it."""
    out.mkdir()
    return out


def link(file: Path, out: Path) -> Path:
    """A link to the file."""
    out.symlink_to(file)
    return out


def broken_link(_: Path, out: Path) -> Path:
    """A link to nothing."""
    out.symlink_to(out.with_name("nowhere"))
    return out


def odd_name(file: Path, out: Path) -> Path:
    """The file under a name that a shell, a page or a log might take for more."""
    return Path(shutil.copy(file, out.with_name("d $(x) [b]お&<i>'.parquet")))
