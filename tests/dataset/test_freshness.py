"""Whether a dataset is complete for an as-of session, seen from its footer and the dates near it."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.dataset.freshness import Freshness, check_freshness
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.refusal import Refusal
from apex_tasks.settings import FreshnessSettings
from tests.support.random_dataset import as_table, weekdays, write

DAYS = weekdays(60)


def dataset(path: Path, rows_per_day: dict[dt.date, int], **how: object) -> Path:
    rows = [(day, f"{code:04d}0") for day, n in rows_per_day.items() for code in range(n)]
    frame = pd.DataFrame(rows, columns=["Date", "Code"])
    table = as_table(frame.assign(Close=1.0, Volume=1.0, TurnoverValue=1.0))
    types = {"Close": pa.float64(), "Volume": pa.float64(), "TurnoverValue": pa.float64()}
    return write(table if rows else as_table(frame.assign(**dict.fromkeys(types, 1.0)), **types), path, **how)


def check(path: Path, as_of: dt.date, **changes: float) -> Freshness:
    return check_freshness(open_dataset(path), as_of, FreshnessSettings(**changes))


def refused(freshness: Freshness) -> Refusal:
    assert not freshness.ready
    return freshness.refusal()


@pytest.mark.parametrize("rows", [94, 95, 96, 100, 150])
@pytest.mark.parametrize("statistics", [True, False])
def test_least_rows(tmp_path: Path, rows: int, statistics: bool) -> None:
    counts = dict.fromkeys(DAYS[:40], 100) | {DAYS[40]: rows}
    freshness = check(dataset(tmp_path / "d.parquet", counts, write_statistics=statistics), DAYS[40])
    assert (freshness.rows, freshness.median_rows, freshness.last_day) == (rows, 100, DAYS[40])
    assert freshness.ready is (rows >= 95)
    if rows < 95:
        refusal = refused(freshness)
        assert refusal.expected == "at least 95% of the trailing median of 100 rows"
        assert refusal.received == "94 rows"
        assert str(tmp_path) in refusal.where


def test_exactly_the_ratio_is_enough_for_any_median() -> None:
    for median in range(20, 6_000, 20):
        rows = median * 19 // 20
        assert Freshness(DAYS[0], DAYS[0], rows, median, 0.95, "d").ready
        assert not Freshness(DAYS[0], DAYS[0], rows - 1, median, 0.95, "d").ready


def test_the_median_is_of_the_sessions_just_before(tmp_path: Path) -> None:
    counts = dict.fromkeys(DAYS[:38], 10) | {DAYS[38]: 20, DAYS[39]: 30, DAYS[40]: 40, DAYS[41]: 39}
    path = dataset(tmp_path / "d.parquet", counts | {DAYS[42]: 1_000})
    assert check(path, DAYS[41], trailing_sessions=3).median_rows == 30
    assert check(path, DAYS[41], trailing_sessions=4).median_rows == 25
    assert check(path, DAYS[41]).median_rows == 10
    assert not check(path, DAYS[41], trailing_sessions=1, min_row_ratio=1).ready
    assert check(path, DAYS[41], trailing_sessions=1, min_row_ratio=0.975).ready


def test_twenty_sessions_are_found_across_the_new_year_holidays(tmp_path: Path) -> None:
    days = [
        day
        for day in weekdays(60, dt.date(2024, 12, 2))
        if not dt.date(2024, 12, 28) < day < dt.date(2025, 1, 6)
    ]
    counts = {day: 100 if number < 19 else 1 for number, day in enumerate(days[:30])}
    assert check(dataset(tmp_path / "d.parquet", counts), days[29], trailing_sessions=29).median_rows == 100


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("group_size", [7, 100_000])
def test_a_missing_session(tmp_path: Path, statistics: bool, group_size: int) -> None:
    counts = dict.fromkeys(DAYS[:40], 30)
    path = dataset(tmp_path / "d.parquet", counts, write_statistics=statistics, row_group_size=group_size)
    refusal = refused(check(path, DAYS[40]))
    assert refusal.what == f"dataset has no rows for the as-of session {DAYS[40]}"
    assert str(DAYS[40]) in refusal.expected
    assert refusal.received == f"last date {DAYS[39]}"


@pytest.mark.parametrize("statistics", [True, False])
def test_a_long_stale_file_tells_its_last_date(tmp_path: Path, statistics: bool) -> None:
    path = dataset(tmp_path / "d.parquet", dict.fromkeys(DAYS[:5], 30), write_statistics=statistics)
    refusal = refused(check(path, dt.date(2026, 1, 30)))
    assert refusal.received == f"last date {DAYS[4]}"


@pytest.mark.parametrize("statistics", [True, False])
def test_a_file_that_reaches_further(tmp_path: Path, statistics: bool) -> None:
    counts = dict.fromkeys(DAYS, 30)
    path = dataset(tmp_path / "d.parquet", counts, write_statistics=statistics, row_group_size=50)
    freshness = check(path, DAYS[40])
    assert freshness.ready
    assert (freshness.rows, freshness.median_rows, freshness.last_day) == (30, 30, DAYS[-1])
    del counts[DAYS[40]]
    path = dataset(tmp_path / "gap.parquet", counts, write_statistics=statistics, row_group_size=50)
    refusal = refused(check(path, DAYS[40]))
    assert refusal.expected == f"rows of {DAYS[40]}"
    assert refusal.received == f"last date {DAYS[-1]}"


@pytest.mark.parametrize("counts", [{}, {DAYS[9]: 5}], ids=["empty", "only later"])
def test_nothing_up_to_the_session(tmp_path: Path, counts: dict[dt.date, int]) -> None:
    freshness = check(dataset(tmp_path / "d.parquet", counts), DAYS[3])
    assert (freshness.rows, freshness.median_rows) == (0, 0)
    assert refused(freshness).received == f"last date {DAYS[9] if counts else None}"


def test_the_first_session_of_a_file_is_complete(tmp_path: Path) -> None:
    freshness = check(dataset(tmp_path / "d.parquet", {DAYS[0]: 3}), DAYS[0])
    assert freshness.ready
    assert freshness.median_rows == 0


def test_only_dates_near_the_session_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = weekdays(300)
    path = dataset(tmp_path / "d.parquet", dict.fromkeys(days, 5), row_group_size=5)
    calls: list[int] = []
    read = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, i: int, columns: list[str]) -> pa.Table:
        assert columns == ["Date"]
        calls.append(i)
        return read(self, i, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    assert check(path, days[200]).ready
    assert max(calls) == 200
    assert 20 < len(calls) < 60


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="dataset is missing"):
        check(tmp_path / "none.parquet", DAYS[0])
