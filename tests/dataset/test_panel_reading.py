"""What a panel reads of its file: no row after its day, no row group and no column that it does not need."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.panel import build_panel
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.settings import Normalization
from tests.support.panel_checks import (
    CSZ,
    DAYS,
    FEATURE_TYPES,
    LOOKBACK,
    NAMES,
    RAW,
    assert_identical,
    assert_same,
    holed,
    laid_out,
    market,
    panel_of,
    windows,
)
from tests.support.random_dataset import as_table, plan_of, random_frame, weekdays, write

# --- nothing from the future


@pytest.mark.parametrize("normalization", [CSZ, RAW])
@pytest.mark.parametrize("group_size", [20, 10_000])
@pytest.mark.parametrize("by", ["Date", "Code"])
def test_rows_after_the_day_change_no_bit(
    tmp_path: Path, normalization: Normalization, group_size: int, by: str
) -> None:
    frame = random_frame(7, NAMES)
    day = DAYS[20]
    until = frame[frame["Date"] <= day]
    later = frame[frame["Date"] > day].reset_index(drop=True).astype(dict.fromkeys(NAMES, object))
    for number, value in enumerate([1e300, -1e300, math.nan, math.inf, None]):
        later.loc[number::5, list(NAMES)] = value
    spoilt = pd.concat([until, later, later.tail(3), later.tail(3).assign(Code="00010")], ignore_index=True)
    clean = write(until, tmp_path / "clean.parquet", row_group_size=10_000)
    other = write(
        as_table(laid_out(spoilt, by, 1), **FEATURE_TYPES), tmp_path / "d.parquet", row_group_size=group_size
    )
    dates = [DAYS[15], day]
    assert_identical(panel_of(clean, dates, normalization), panel_of(other, dates, normalization))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20), normalization=st.sampled_from([CSZ, RAW]))
def test_many_dates_at_once_equal_single_dates(
    tmp_path_factory: pytest.TempPathFactory, seed: int, normalization: Normalization
) -> None:
    frame = holed(random_frame(seed, NAMES), seed, 0.005)
    path = tmp_path_factory.getbasetemp() / "many.parquet"
    write(as_table(frame, **FEATURE_TYPES), path)
    dates = [DAYS[12], DAYS[13], DAYS[29], DAYS[20]]
    together = panel_of(path, [*dates, DAYS[13]], normalization)
    assert list(together.windows) == sorted(dates)
    for day in dates:
        alone = panel_of(path, [day], normalization)
        assert_same(windows(together, day), windows(alone, day), 0)
        assert len(alone.rows) <= len(together.rows)


# --- reading no more than needed


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    calls: list[tuple[int, tuple[str, ...]]] = []
    read = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, i: int, columns: list[str], **options: Any) -> pa.Table:
        calls.append((i, tuple(columns)))
        return read(self, i, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    for name in ("read", "read_row_groups", "iter_batches"):
        monkeypatch.delattr(pq.ParquetFile, name)
    return calls


def test_only_needed_row_groups_and_columns_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = list(range(100))
    frame = market({"1001": sessions, "1002": sessions, "1003": sessions[:40]}, 100)
    frame = frame.assign(unused=1.0)
    path = write(frame, tmp_path / "d.parquet", row_group_size=10)
    dataset, plan = open_dataset(path), plan_of(path, ["h", "f", "h"])
    days = weekdays(100)
    keys = scan_keys(dataset, days[90])
    calls = spied(monkeypatch)
    panel = build_panel(
        dataset, plan, [days[90]], lookback=LOOKBACK, normalization=CSZ, clip_sigma=5.0, keys=keys
    )
    needed = frame.index[frame["Date"].isin(days[83:91])]
    groups = sorted({row // 10 for row in needed})
    assert len(panel.windows[days[90]].codes) == 2
    assert calls == [(group, ("h", "f")) for group in groups]
    assert len(groups) < len(frame) // 10


def test_a_long_delisted_stock_drags_no_old_row_group_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = list(range(100))
    frame = market({"1001": sessions, "1002": sessions[:30], "1003": sessions[:30] + sessions[95:]}, 100)
    path = write(frame, tmp_path / "d.parquet", row_group_size=10)
    calls = spied(monkeypatch)
    days = weekdays(100)
    panel_of(path, [days[94]])
    read = {group for group, columns in calls if "Date" not in columns}
    assert all(frame["Date"][10 * group] > days[70] for group in read)
    calls.clear()
    panel_of(path, [days[99]])  # 1003 is back: five new rows and three old ones
    read = {group for group, columns in calls if "Date" not in columns}
    assert {frame["Date"][10 * group] <= days[30] for group in read} == {True, False}
    assert not any(days[35] < frame["Date"][10 * group] < days[70] for group in read)


def test_progress_counts_row_groups_to_the_end(tmp_path: Path) -> None:
    path = write(random_frame(5, NAMES), tmp_path / "d.parquet", row_group_size=50)
    told: list[tuple[str, float, float]] = []
    build_panel(
        open_dataset(path),
        plan_of(path, NAMES),
        [DAYS[25]],
        lookback=LOOKBACK,
        normalization=CSZ,
        clip_sigma=5.0,
        progress=lambda *step: told.append(step),
    )
    total = told[0][2]
    assert told == [("Building panel", done, total) for done in range(int(total) + 1)]
