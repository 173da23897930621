"""Row groups of a parquet file, decoded or refused: a damaged page is never read as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from apex_tasks.dataset.file_identity import FileIdentity, require_same_file
from apex_tasks.refusal import Refusal

DECODE_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError)
"""What Arrow raises on bytes that are no parquet, wherever it meets them."""
LONGEST_TEXT_BYTES = 256
"""A text is repeated for every row of its stock and padded to the longest one: a huge one would fill the memory."""
_ARROWS_OWN_WRITER = "parquet-cpp-arrow"


class ParquetReader:
    """An open parquet file whose row groups are decoded with all checks that Arrow has.

    Page checksums are compared where the file has them. Text comes as `string` or as a dictionary of it, whatever
    layout (large, view) the writer chose.

    Parameters
    ----------
    path
        The file.
    patterns
        Text columns, each with the regular expression (RE2) that every text of a row must match. They come as
        dictionaries, ten times smaller than text.
    identity
        Of the file that it has to be; None: the one that is there now.
    what
        The file's name in messages.

    Raises
    ------
    Refusal
        The file is missing, is or becomes another one, or has no readable footer; a row group that is read is
        damaged, or has a text that its column must not have.
    """

    def __init__(
        self,
        path: Path,
        patterns: Mapping[str, str] | None = None,
        identity: FileIdentity | None = None,
        what: str = "dataset",
    ) -> None:
        self._path, self._patterns, self._what = path, patterns or {}, what
        _require_file(path, what)
        self.identity = identity or FileIdentity.of(path)
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            self._schema = self._file.metadata.schema.to_arrow_schema()
            created_by = self._file.metadata.created_by or ""
            # Other writers pad dictionary pages (DuckDB's ENUM does); read as dictionaries, their values shift.
            dictionaries = [name for name in self._patterns if name in self._schema.names]
            if dictionaries and created_by.startswith(_ARROWS_OWN_WRITER):
                self._file.close()
                self._file = pq.ParquetFile(
                    path, page_checksum_verification=True, read_dictionary=dictionaries
                )
        except DECODE_ERRORS as error:
            raise Refusal(
                f"{what} is not a readable parquet file",
                expected="a complete parquet file",
                received=f"{path.stat().st_size} bytes: {_first_line(error)}",
                where=path,
                remedy="The copy was probably cut short: deliver it again, under a new name, then rename it.",
            ) from None
        require_same_file(path, self.identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def metadata(self) -> pq.FileMetaData:
        """The footer."""
        return self._file.metadata

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns, as Arrow's plain reading gives them."""
        return self._schema

    def read_row_group(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Decode some columns of one row group."""
        return self._decode(
            f"row group {index}", lambda: self._file.read_row_group(index, columns=list(columns))
        )

    def read_row_groups(self, indices: Iterable[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Decode some columns of some row groups, in their order; None: all columns."""
        groups, names = list(indices), None if columns is None else list(columns)
        return self._decode(
            f"{len(groups)} row groups", lambda: self._file.read_row_groups(groups, columns=names)
        )

    def _decode(self, what: str, read: Callable[[], pa.Table]) -> pa.Table:
        try:
            table = read()
            for number, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
                if is_text(column.type):
                    table = table.set_column(number, name, self._checked_text(name, column))
        except DECODE_ERRORS as error:
            raise Refusal(
                f"{self._what} is damaged",
                expected="a parquet file whose pages decode and match their checksums",
                received=f"{what}: {_first_line(error)}",
                where=self._path,
                remedy="Deliver the file again, under a new name, then rename it; check the disk that it was on.",
            ) from None
        finally:
            require_same_file(self._path, self.identity)
        return table

    def _checked_text(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        column.validate(full=True)  # UTF-8, and indices within their dictionary
        if _has_view_layout(column.type):  # many of Arrow's kernels take no views
            column = column.cast(pa.string())
        self._refuse_long_text(name, column)
        if name in self._patterns:
            if not pa.types.is_dictionary(column.type):
                column = column.dictionary_encode()
            for chunk in column.chunks:
                self._refuse_unsafe(name, chunk)
        return column

    def _refuse_unsafe(self, name: str, chunk: pa.DictionaryArray) -> None:
        safe = pc.fill_null(pc.match_substring_regex(chunk.dictionary, self._patterns[name]), False)
        unsafe = np.flatnonzero(~safe.to_numpy(zero_copy_only=False))
        # A dictionary may list values that no row has.
        used = np.intersect1d(unsafe, chunk.indices.drop_null().to_numpy())
        if len(used):
            raise Refusal(
                f"{self._what}: column {name} has {len(used)} texts that it must not have",
                expected=self._patterns[name],
                received=", ".join(repr(chunk.dictionary[int(at)].as_py()) for at in used[:3])[:300],
                where=f"{self._path}, column {name}",
                remedy="Repair them where the dataset is made; such texts would reach tables that others open.",
            )

    def _refuse_long_text(self, name: str, column: pa.ChunkedArray) -> None:
        dictionary = pa.types.is_dictionary(column.type)
        parts = [chunk.dictionary if dictionary else chunk for chunk in column.chunks]
        longest = max((pc.max(pc.binary_length(part)).as_py() or 0 for part in parts), default=0)
        if longest > LONGEST_TEXT_BYTES:
            raise Refusal(
                f"{self._what}: column {name} has a text of {longest} bytes",
                expected=f"at most {LONGEST_TEXT_BYTES} bytes",
                received=longest,
                where=f"{self._path}, column {name}",
                remedy="Repair the column where the dataset is made.",
            )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, plain or as a dictionary, in any of Arrow's layouts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _has_view_layout(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind.value_type if pa.types.is_dictionary(kind) else kind))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _require_file(path: Path, what: str) -> None:
    if path.is_file():
        return
    received = "no such file"
    if path.is_dir():
        parts = sum(1 for _ in path.rglob("*.parquet"))
        received = f"a folder of {parts} parquet files: partitions have to be joined" if parts else "a folder"
    elif path.exists():
        received = "not a file"
    raise Refusal(
        f"{what} is missing",
        expected="one parquet file",
        received=received,
        where=path,
        remedy="Deliver it as one file, or correct the path (APEX_DATASET, or the run's parameter).",
    )
