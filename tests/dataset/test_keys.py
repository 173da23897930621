"""Which rows exist, and where: compared with a plain listing of the file."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.dataset.keys import RowKeys, scan_keys
from apex_tasks.dataset.schema import day_from_epoch, open_dataset
from apex_tasks.refusal import Refusal
from tests.support.random_dataset import as_table, random_frame, weekdays, write

DAYS = weekdays(30)


def listed(keys: RowKeys) -> list[tuple[object, ...]]:
    return [
        (keys.codes[code], day_from_epoch(day), group, row, age, later)
        for code, day, group, row, age, later in zip(
            keys.code_index,
            keys.days,
            keys.group.tolist(),
            keys.row_in_group.tolist(),
            keys.age.tolist(),
            keys.later_history.tolist(),
            strict=True,
        )
    ]


def expected(
    frame: pd.DataFrame, last: dt.date, group_size: int, new_history_after: int | None = None
) -> list[tuple[object, ...]]:
    rows = [
        (code, day, place // group_size, place % group_size)
        for place, (day, code) in enumerate(zip(frame["Date"], frame["Code"], strict=True))
        if day <= last
    ]
    sessions = sorted({day for _, day, _, _ in rows})
    own: dict[str, list[dt.date]] = {}
    result: list[tuple[object, ...]] = []
    for code, day, group, row in sorted(rows):
        before = own.setdefault(code, [])
        # Walk back from row to row as long as fewer than `new_history_after` sessions are missing between two.
        age, later = 0, day
        for earlier in reversed(before):
            missing = sum(earlier < session < later for session in sessions)
            if new_history_after is not None and missing >= new_history_after:
                break
            age, later = age + 1, earlier
        result.append((code, day, group, row, age, age < len(before)))
        before.append(day)
    return result


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    by=st.sampled_from([["Date", "Code"], ["Code", "Date"], "shuffled"]),
    group_size=st.sampled_from([1, 7, 100, 10_000]),
    statistics=st.booleans(),
    session=st.integers(0, 29),
    code_type=st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int16(), pa.string())]),
    new_history_after=st.sampled_from([None, 1, 2, 60]),
)
def test_keys_of_any_layout(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    by: list[str] | str,
    group_size: int,
    statistics: bool,
    session: int,
    code_type: pa.DataType,
    new_history_after: int | None,
) -> None:
    frame = random_frame(seed, [], n_stocks=6)
    frame = frame.sample(frac=1, random_state=seed) if by == "shuffled" else frame.sort_values(by)
    table = as_table(frame)
    table = table.set_column(1, "Code", table["Code"].cast(code_type))
    path = tmp_path_factory.getbasetemp() / "keys.parquet"
    write(table, path, row_group_size=group_size, write_statistics=statistics)
    keys = scan_keys(open_dataset(path), DAYS[session], new_history_after=new_history_after)
    assert listed(keys) == expected(frame, DAYS[session], group_size, new_history_after)
    assert keys.codes.tolist() == sorted(set(frame["Code"][frame["Date"] <= DAYS[session]]))
    for day in (DAYS[0], DAYS[session], DAYS[29]):
        on_day = [place for place, row in enumerate(listed(keys)) if row[1] == day]
        assert keys.on(day).tolist() == on_day


def test_more_codes_than_sixteen_bits(tmp_path: Path) -> None:
    codes = np.random.default_rng(1).permutation(70_000)
    frame = pd.DataFrame({"Code": [f"{code:05d}" for code in codes]}).assign(Date=DAYS[0], Close=1.0)
    path = write(as_table(frame.assign(Volume=1.0, TurnoverValue=1.0)), tmp_path / "d.parquet")
    keys = scan_keys(open_dataset(path), DAYS[0])
    assert keys.codes.tolist() == sorted(frame["Code"])
    assert keys.code_index.tolist() == list(range(70_000))


def test_an_empty_file_and_a_day_before_the_first(tmp_path: Path) -> None:
    frame = random_frame(1, [])
    empty = write(as_table(frame).slice(0, 0), tmp_path / "empty.parquet")
    full = write(frame, tmp_path / "full.parquet", row_group_size=10_000)
    for path in (empty, full):
        keys = scan_keys(open_dataset(path), dt.date(2024, 12, 31))
        assert (listed(keys), keys.codes.tolist()) == ([], [])


def doubled(frame: pd.DataFrame, row: int) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[row]]], ignore_index=True)


@pytest.mark.parametrize("group_size", [10, 10_000])
def test_duplicates_are_refused_by_name(tmp_path: Path, group_size: int) -> None:
    frame = random_frame(1, [])
    first = frame.iloc[40]
    path = write(doubled(doubled(frame, 40), 41), tmp_path / "d.parquet", row_group_size=group_size)
    with pytest.raises(Refusal, match="duplicate") as caught:
        scan_keys(open_dataset(path), DAYS[-1])
    assert caught.value.received.startswith("2 duplicates, the first")
    two = frame.iloc[[40, 41]].sort_values(["Code", "Date"]).iloc[0]
    assert caught.value.received.endswith(f"{two['Date']} {two['Code']}")
    assert first["Date"] <= DAYS[-1]


@pytest.mark.parametrize("column", ["Date", "Code"])
@pytest.mark.parametrize("code_type", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_null_keys_are_refused(tmp_path: Path, column: str, code_type: pa.DataType) -> None:
    frame = random_frame(1, [])
    frame[column] = frame[column].where(~frame.index.isin([3, 5]), None)
    table = as_table(frame)
    table = table.set_column(1, "Code", table["Code"].cast(code_type))
    with pytest.raises(Refusal, match=f"without a {column}") as caught:
        scan_keys(open_dataset(write(table, tmp_path / "d.parquet")), DAYS[-1])
    assert caught.value.received == "2 nulls"


@pytest.mark.parametrize("group_size", [10, 10_000])
def test_later_rows_are_not_judged(tmp_path: Path, group_size: int) -> None:
    frame = random_frame(1, [])
    last = DAYS[20]
    later = frame.index[frame["Date"] > last]
    spoilt = doubled(frame, later[-1])
    spoilt["Code"] = spoilt["Code"].where(spoilt.index != later[0], None)
    spoilt.loc[later[1], "Code"] = "99990"
    clean = write(frame, tmp_path / "clean.parquet", row_group_size=group_size)
    path = write(spoilt, tmp_path / "spoilt.parquet", row_group_size=group_size)
    ours, other = scan_keys(open_dataset(path), last), scan_keys(open_dataset(clean), last)
    assert listed(ours) == listed(other)
    assert ours.codes.tolist() == other.codes.tolist()
    with pytest.raises(Refusal):
        scan_keys(open_dataset(path), DAYS[-1])


def test_only_keys_of_possible_groups_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = random_frame(1, ["f"])
    dataset = open_dataset(write(frame, tmp_path / "d.parquet", row_group_size=20))
    calls: list[int] = []
    read = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, i: int, columns: list[str]) -> pa.Table:
        assert columns == ["Date", "Code"]
        calls.append(i)
        return read(self, i, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    scan_keys(dataset, DAYS[10])
    assert calls == sorted({place // 20 for place, day in enumerate(frame["Date"]) if day <= DAYS[10]})
