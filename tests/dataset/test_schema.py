"""What a dataset file must look like, seen in its footer alone."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.dataset.schema import (
    RowGroup,
    dates_as_days,
    day_from_epoch,
    days_since_epoch,
    open_dataset,
)
from apex_tasks.refusal import Refusal
from tests.support.random_dataset import as_table, random_frame, write

FRAME = random_frame(1, ["f"])
DATE_TYPES = [pa.date32(), pa.date64(), *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns"))]


@pytest.mark.parametrize("date_type", DATE_TYPES, ids=str)
def test_row_groups_know_their_dates(tmp_path: Path, date_type: pa.DataType) -> None:
    table = as_table(FRAME)
    table = table.set_column(0, "Date", table["Date"].cast(date_type))
    dataset = open_dataset(write(table, tmp_path / "d.parquet", row_group_size=50))
    days = FRAME["Date"].tolist()
    expected = [
        RowGroup(number, len(part), part[0], part[-1])
        for number, part in enumerate(days[first : first + 50] for first in range(0, len(days), 50))
    ]
    assert dataset.row_groups == tuple(expected)
    assert dataset.n_rows == len(days)
    assert dataset.has("f")
    assert not dataset.has("F")


@pytest.mark.parametrize("date_type", DATE_TYPES, ids=str)
def test_dates_become_days(date_type: pa.DataType) -> None:
    days = [dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(2025, 10, 31)]
    column = pa.chunked_array([pa.array(days).cast(date_type)])
    assert dates_as_days(column).tolist() == [-1, 0, 20392]
    assert [day_from_epoch(number) for number in dates_as_days(column)] == days
    assert [days_since_epoch(day) for day in days] == [-1, 0, 20392]


MIDNIGHTS = [dt.datetime(2025, 10, 31), dt.datetime(1969, 12, 30)]


@pytest.mark.parametrize("kind", [pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")] + [pa.date64()])
def test_midnights_are_read_as_their_dates(kind: pa.DataType) -> None:
    assert dates_as_days(pa.chunked_array([pa.array(MIDNIGHTS, kind)])).tolist() == [20392, -2]


@pytest.mark.parametrize(
    ("moment", "time"), [((2025, 10, 31, 23, 59, 59, 999_999), "23:59"), ((1969, 12, 30, 15), "15:00")]
)
def test_a_time_of_day_is_a_shifted_date_and_refused(moment: tuple[int, ...], time: str) -> None:
    moments = pa.array([*MIDNIGHTS, dt.datetime(*moment)], pa.timestamp("us"))
    with pytest.raises(Refusal, match="1 dates with a time of day") as caught:
        dates_as_days(pa.chunked_array([moments]))
    assert caught.value.received.startswith(f"{time} in row 2")


@pytest.mark.parametrize("days", [2**31 - 1, -(2**31), -719_163, 2_932_897])
def test_dates_that_no_calendar_has_are_refused(days: int, tmp_path: Path) -> None:
    column = pa.array([20392, days], pa.int32()).cast(pa.date32())
    with pytest.raises(Refusal, match="1 dates that no calendar has"):
        dates_as_days(pa.chunked_array([column]))
    table = pa.table({"Date": column, "Code": ["13010"] * 2, "Close": [1.0] * 2})
    table = table.append_column("Volume", table["Close"]).append_column("TurnoverValue", table["Close"])
    (group,) = open_dataset(write(table, tmp_path / "d.parquet")).row_groups
    assert (group.first, group.last) == (None, None)  # Python has no such date


def test_null_dates_are_refused() -> None:
    with pytest.raises(Refusal, match="without a Date") as caught:
        dates_as_days(pa.chunked_array([pa.array([dt.date(2025, 1, 6), None])]))
    assert caught.value.received == "1 nulls"


def test_without_statistics_any_date_may_be_there(tmp_path: Path) -> None:
    dataset = open_dataset(write(FRAME, tmp_path / "d.parquet", write_statistics=False))
    assert all((group.first, group.last) == (None, None) for group in dataset.row_groups)
    assert all(group.may_hold(dt.date(1999, 1, 1), dt.date(1999, 1, 2)) for group in dataset.row_groups)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(None, 9, False), (None, 10, True), (None, 30, True), (20, 30, True), (21, 30, False), (1, 10, True)],
)
def test_may_hold(start: int | None, end: int, expected: bool) -> None:
    group = RowGroup(0, 5, dt.date(2025, 1, 10), dt.date(2025, 1, 20))
    first = None if start is None else dt.date(2025, 1, start)
    assert group.may_hold(first, dt.date(2025, 1, end)) is expected


def test_only_the_footer_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(FRAME, tmp_path / "d.parquet")
    for name in ("read", "read_row_group", "read_row_groups", "iter_batches"):
        monkeypatch.delattr(pq.ParquetFile, name)
    assert open_dataset(path, numeric=["f"]).n_rows == len(FRAME)


def test_an_empty_file_is_sound(tmp_path: Path) -> None:
    dataset = open_dataset(write(as_table(FRAME).slice(0, 0), tmp_path / "d.parquet"))
    assert dataset.n_rows == 0


@pytest.mark.parametrize("content", [b"", b"PAR1", b"Date,Code\n2025-01-06,13010\n" * 9])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.parquet"
    path.write_bytes(content)
    with pytest.raises(Refusal, match="not a readable parquet") as caught:
        open_dataset(path)
    assert caught.value.received.startswith(f"{len(content)} bytes")
    assert str(path) in caught.value.where


@pytest.mark.parametrize("lost", [1, 8, 1_000])
def test_a_truncated_file_is_refused(tmp_path: Path, lost: int) -> None:
    path = write(FRAME, tmp_path / "d.parquet")
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(Refusal, match="not a readable parquet"):
        open_dataset(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="dataset is missing") as caught:
        open_dataset(tmp_path / "none.parquet")
    assert caught.value.received == "no such file"
    with pytest.raises(Refusal, match="dataset is missing") as caught:
        open_dataset(tmp_path)
    assert caught.value.received == "a folder"
    (tmp_path / "year=2025").mkdir()
    write(FRAME, tmp_path / "year=2025" / "part-0.parquet")
    with pytest.raises(Refusal, match="dataset is missing") as caught:
        open_dataset(tmp_path)
    assert caught.value.received == "a folder of 1 parquet files: partitions have to be joined"


@pytest.mark.parametrize("column", ["Date", "Code", "Close", "Volume", "TurnoverValue"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = write(as_table(FRAME.rename(columns={column: column.lower()})), tmp_path / "d.parquet")
    with pytest.raises(Refusal, match="lacks required columns") as caught:
        open_dataset(path)
    assert caught.value.received == f"no {column}"


@pytest.mark.parametrize("column", ["Close", "TurnoverValue", "f"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, column: str) -> None:
    table = as_table(FRAME)
    path = write(table.append_column(column, table[column]), tmp_path / "d.parquet")
    with pytest.raises(Refusal, match="same name") as caught:
        open_dataset(path, numeric=["f"])
    assert column in caught.value.received


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("Date", pa.array(["2025-01-06"])),
        ("Date", pa.array([20250106])),
        ("Date", pa.array([dt.datetime(2025, 1, 6)], pa.timestamp("us", tz="Asia/Tokyo"))),
        ("Code", pa.array([13010])),
        ("Code", pa.array([13010]).dictionary_encode()),
        ("Close", pa.array(["100"])),
        ("Volume", pa.array([dt.date(2025, 1, 6)])),
        ("f", pa.array(["1.5"])),
        ("f", pa.array([[1.5]])),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.type)[:20],
)
def test_wrong_types_are_refused(tmp_path: Path, column: str, values: pa.Array) -> None:
    table = as_table(FRAME.head(1))
    table = table.set_column(table.column_names.index(column), column, values)
    path = write(table, tmp_path / "d.parquet")
    with pytest.raises(Refusal, match=f"column {column} has the wrong type") as caught:
        open_dataset(path, numeric=["f", "not there"])
    assert str(path) in caught.value.where


@pytest.mark.parametrize("code", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("number", [pa.float32(), pa.float64(), pa.int64(), pa.int8(), pa.bool_()], ids=str)
def test_accepted_types(tmp_path: Path, code: pa.DataType, number: pa.DataType) -> None:
    table = as_table(FRAME.head(1).assign(f=1))
    table = table.set_column(1, "Code", table["Code"].cast(code))
    table = table.set_column(table.column_names.index("f"), "f", table["f"].cast(number))
    assert open_dataset(write(table, tmp_path / "d.parquet"), numeric=["f"]).n_rows == 1


def test_other_columns_may_be_anything(tmp_path: Path) -> None:
    path = write(as_table(FRAME.assign(note="text")), tmp_path / "d.parquet")
    assert open_dataset(path, numeric=["f"]).has("note")
