"""Reading row groups: damage is refused, text is text whatever layout its writer chose."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.parquet_reader import ParquetReader
from apex_tasks.dataset.schema import TEXT_PATTERNS, open_dataset
from apex_tasks.refusal import Refusal
from tests.support.random_dataset import as_table, random_frame, write

FRAME = random_frame(3, []).astype({"Close": float})
DUCKDB_ENUM = Path(__file__).parent / "files" / "duckdb_enum.parquet"
"""Written by DuckDB 2.0.1: its second row group uses 20 of an ENUM's 60 codes, and pads the dictionary page."""


def spoil(path: Path, column: str, first: float, last: float) -> None:
    """Zero a part of a column's bytes in the last row group; the footer stays whole."""
    metadata = pq.read_metadata(path)
    chunk = metadata.row_group(metadata.num_row_groups - 1).column(metadata.schema.names.index(column))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    begin, end = (start + int(chunk.total_compressed_size * share) for share in (first, last))
    data = bytearray(path.read_bytes())
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)


def read_all(path: Path) -> pa.Table:
    with ParquetReader(path, TEXT_PATTERNS) as reader:
        return reader.read_row_groups(range(reader.metadata.num_row_groups))


def test_a_damaged_page_is_refused_with_its_row_group(tmp_path: Path) -> None:
    path = write(FRAME, tmp_path / "d.parquet")
    last = pq.read_metadata(path).num_row_groups - 1
    spoil(path, "Close", 0.2, 0.9)
    with ParquetReader(path, TEXT_PATTERNS) as reader:
        reader.read_row_group(0, ["Close"])
        with pytest.raises(Refusal, match="dataset is damaged") as caught:
            reader.read_row_group(last, ["Close"])
    assert caught.value.received.startswith(f"row group {last}: ")
    assert "\n" not in str(caught.value)


def test_a_page_that_differs_from_its_checksum_is_refused(tmp_path: Path) -> None:
    how = {"compression": "none", "use_dictionary": False}
    plain = write(FRAME, tmp_path / "plain.parquet", **how)
    spoil(plain, "Close", 0.6, 0.7)
    read_all(plain)  # nothing can tell: that is what checksums are for
    guarded = write(FRAME, tmp_path / "guarded.parquet", write_page_checksum=True, **how)
    spoil(guarded, "Close", 0.6, 0.7)
    with pytest.raises(Refusal, match=r"dataset is damaged.*CRC"):
        read_all(guarded)


@pytest.mark.parametrize("seed", range(60))
def test_random_damage_is_refused_or_harmless(tmp_path: Path, seed: int) -> None:
    path = write(FRAME, tmp_path / "d.parquet", write_page_checksum=True)
    random, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    for at in random.integers(4, len(data), size=int(random.integers(1, 40))):
        data[at] = random.integers(256)
    path.write_bytes(data)
    try:
        table = read_all(path)
    except Refusal:
        return
    table.validate(full=True)


def test_an_enum_of_duckdb_gives_the_codes_that_a_plain_reader_gives() -> None:
    plain = pq.read_table(DUCKDB_ENUM)
    by_code = plain.to_pandas().sort_values(["Code", "Date"])
    keys = scan_keys(open_dataset(DUCKDB_ENUM), dt.date.max)
    assert keys.codes[keys.code_index].tolist() == by_code["Code"].tolist()
    with pytest.raises(
        pa.ArrowIndexError
    ):  # why the reader does not read it so: other rows get others' codes
        pq.read_table(DUCKDB_ENUM, read_dictionary=["Code"])["Code"].cast(pa.string())


@pytest.mark.parametrize(
    "kind", [pa.string_view(), pa.large_string(), pa.dictionary(pa.int16(), pa.string())]
)
def test_every_layout_of_text_reads_the_same(tmp_path: Path, kind: pa.DataType) -> None:
    frame = FRAME.assign(sector33_code=[f"{number % 3 + 1}050" for number in range(len(FRAME))])
    want = read_all(write(frame, tmp_path / "plain.parquet"))
    table = as_table(frame)
    for name in ("Code", "sector33_code"):
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.chunked_array([table[name].combine_chunks().cast(kind)]))
    got = read_all(write(table, tmp_path / "typed.parquet"))
    for name in want.column_names:
        assert got[name].to_pylist() == want[name].to_pylist()


EVIL = [
    "<script>alert(1)</script>", "=cmd|'/c calc'!A0", "+1", "@SUM(A1)", "-1", "13010\r\n99990", "1301\x000",
    "\u202e01031", "1301 0", "", ".", "../../etc", "13010,99990", "１３０１０", "13010" * 10,
]  # fmt: skip


@pytest.mark.parametrize("code", EVIL)
@pytest.mark.parametrize("dictionary", [True, False])
def test_a_text_that_is_no_code_is_refused(tmp_path: Path, code: str, dictionary: bool) -> None:
    codes = FRAME["Code"].tolist()
    codes[-1] = code
    path = write(FRAME.assign(Code=codes), tmp_path / "d.parquet", use_dictionary=dictionary)
    with pytest.raises(Refusal, match="column Code has 1 texts that it must not have") as caught:
        read_all(path)
    assert str(caught.value).isprintable()


def test_codes_of_other_markets_are_safe_too(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"Date": dt.date(2025, 10, 31), "Code": ["BRK.B", "aapl", "7203", "AB-C_D"], "Close": 1.0}
    )
    assert read_all(write(frame, tmp_path / "d.parquet"))["Code"].to_pylist() == frame["Code"].tolist()


def test_a_value_that_no_row_has_is_no_code(tmp_path: Path) -> None:
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int8()), pa.array(["13010", "<b>"]))
    table = pa.table({"Date": pa.array([dt.date(2025, 10, 30), dt.date(2025, 10, 31)]), "Code": codes})
    assert read_all(write(table, tmp_path / "d.parquet"))["Code"].to_pylist() == ["13010", "13010"]


def test_a_text_of_megabytes_is_refused_before_it_is_repeated(tmp_path: Path) -> None:
    for column in ("Code", "sector33_code"):
        frame = FRAME.assign(sector33_code="3050")
        frame.loc[len(frame) - 1, column] = "9" * 12_000_000
        path = write(frame, tmp_path / f"{column}.parquet")
        with pytest.raises(Refusal, match=f"column {column} has a text of 12000000 bytes"):
            read_all(path)
