"""Panels against plain loops: any file layout, any type, gaps, listings, and nothing from the future."""

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.refusal import Refusal
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
    check,
    holed,
    laid_out,
    market,
    panel_of,
    windows,
)
from tests.support.random_dataset import as_table, random_frame, weekdays, write


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    by=st.sampled_from(["Date", "Code", "shuffled"]),
    group_size=st.sampled_from([1, 11, 10_000]),
    statistics=st.booleans(),
    normalization=st.sampled_from([CSZ, RAW]),
    holes=st.booleans(),
    sessions=st.lists(st.integers(5, 29), min_size=1, max_size=4, unique=True),
    lookback=st.integers(1, 12),
)
def test_any_layout_like_plain_loops(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    by: str,
    group_size: int,
    statistics: bool,
    normalization: Normalization,
    holes: bool,
    sessions: list[int],
    lookback: int,
) -> None:
    frame = random_frame(seed, NAMES, n_stocks=7)
    frame = holed(frame, seed) if holes else frame
    path = tmp_path_factory.getbasetemp() / "panel.parquet"
    table = as_table(laid_out(frame, by, seed), **FEATURE_TYPES)
    write(table, path, row_group_size=group_size, write_statistics=statistics)
    check(path, [DAYS[session] for session in sessions], normalization, lookback=lookback)


@pytest.mark.parametrize("by", ["Date", "Code", "shuffled"])
@pytest.mark.parametrize("group_size", [1, 13, 10_000])
@pytest.mark.parametrize("statistics", [True, False])
def test_the_layout_changes_no_bit(tmp_path: Path, by: str, group_size: int, statistics: bool) -> None:
    frame = random_frame(5, NAMES)
    # The last stock of a day is average but for rounding: its z-score shows in which order a sum was taken.
    last = frame["Code"] == frame.groupby("Date")["Code"].transform("max")
    frame.loc[last, "h"] = frame[~last].groupby("Date")["h"].mean().reindex(frame["Date"][last]).to_numpy()
    frame = holed(frame, 5)
    plain = write(as_table(frame, **FEATURE_TYPES), tmp_path / "plain.parquet", row_group_size=10_000)
    table = as_table(laid_out(frame, by, 3), **FEATURE_TYPES)
    other = write(table, tmp_path / "other.parquet", row_group_size=group_size, write_statistics=statistics)
    dates = [DAYS[20], DAYS[25]]
    one, two = panel_of(plain, dates), panel_of(other, dates)
    assert_identical(one, two)
    assert len(one.windows[DAYS[25]].codes) > 3


@pytest.mark.parametrize(
    "date_type", [pa.date32(), pa.date64(), pa.timestamp("us"), pa.timestamp("ns")], ids=str
)
@pytest.mark.parametrize(
    "code_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_key_types_change_nothing(tmp_path: Path, date_type: pa.DataType, code_type: pa.DataType) -> None:
    frame = random_frame(5, NAMES)
    table = as_table(frame)
    path = write(table, tmp_path / "plain.parquet")
    for number, (name, kind) in enumerate({"Date": date_type, "Code": code_type}.items()):
        table = table.set_column(number, name, table[name].cast(kind))
    other = write(table, tmp_path / "other.parquet", row_group_size=50)
    assert_identical(panel_of(path, [DAYS[25]]), panel_of(other, [DAYS[25]]))


@pytest.mark.parametrize("normalization", [CSZ, RAW])
@pytest.mark.parametrize(
    "number", [pa.float32(), pa.float64(), pa.int8(), pa.int64(), pa.uint16(), pa.bool_()], ids=str
)
def test_feature_types(tmp_path: Path, normalization: Normalization, number: pa.DataType) -> None:
    frame = random_frame(5, NAMES)
    table = as_table(frame)
    values = table["g"].to_numpy() > 0 if pa.types.is_boolean(number) else table["g"].to_numpy() * 40
    if not pa.types.is_floating(number):
        values = np.abs(values).astype(np.bool_ if pa.types.is_boolean(number) else np.int64)
    holes = np.arange(len(values)) % 29 == 0
    typed = pa.array(values, mask=holes & (normalization is CSZ)).cast(number)
    table = table.set_column(table.column_names.index("g"), "g", typed)
    panel = check(write(table, tmp_path / "d.parquet"), [DAYS[25]], normalization)
    assert panel.non_finite.tolist() == [0, 0, 0]
    assert np.ptp(panel.rows[:, 1]) > 0


def test_a_whole_number_too_large_for_a_float_is_no_crash(tmp_path: Path) -> None:
    frame = random_frame(5, NAMES).assign(g=2**60)
    panel = panel_of(write(frame, tmp_path / "d.parquet"), [DAYS[25]])
    assert (panel.rows[:, 1] == 0).all()


def test_listings_pauses_and_delistings_in_production_length(tmp_path: Path) -> None:
    last = 249
    sessions = list(range(250))
    frame = market(
        {
            "1001": sessions,
            "1002": sessions[-179:],
            "1003": sessions[-180:],
            "1004": sessions[-181:],
            "1005": sessions[:60] + sessions[-120:],  # suspended for 70 sessions: its window reaches back
            "1006": sessions[:59] + sessions[-120:],  # one row short
            "1007": sessions[:-1],  # no row on the day
            "1008": sessions[:200],  # delisted
            "1009": sessions[:1] + sessions[-179:],
        },
        250,
    )
    path = write(frame, tmp_path / "d.parquet", row_group_size=100)
    day = weekdays(250)[last]
    panel = check(path, [day], lookback=180)
    assert panel.windows[day].codes.tolist() == ["1001", "1003", "1004", "1005", "1009"]


def test_a_day_without_rows_has_no_windows(tmp_path: Path) -> None:
    path = write(random_frame(5, NAMES), tmp_path / "d.parquet")
    saturday, before = dt.date(2025, 2, 1), dt.date(2024, 1, 5)
    panel = panel_of(path, [before, saturday, DAYS[25]])
    assert [len(panel.windows[day].codes) for day in (before, saturday)] == [0, 0]
    assert_same(windows(panel, DAYS[25]), windows(panel_of(path, [DAYS[25]]), DAYS[25]), 0)
    assert panel_of(path, [before]).rows.shape == (0, 3)


def test_an_empty_file_has_no_windows(tmp_path: Path) -> None:
    path = write(as_table(random_frame(5, NAMES)).slice(0, 0), tmp_path / "d.parquet")
    panel = panel_of(path, [DAYS[25]])
    assert (panel.rows.shape, len(panel.windows[DAYS[25]].codes)) == ((0, 3), 0)


def test_the_zscore_sees_stocks_that_are_not_eligible(tmp_path: Path) -> None:
    frame = market({"1001": list(range(10)), "1002": list(range(10)), "1003": [9]}, 10)
    day = weekdays(10)[9]
    path = write(frame, tmp_path / "all.parquet")
    fewer = write(frame[frame["Code"] != "1003"], tmp_path / "fewer.parquet")
    check(path, [day])
    ours, other = windows(panel_of(path, [day]), day), windows(panel_of(fewer, [day]), day)
    assert list(ours) == list(other) == ["1001", "1002"]
    assert not np.allclose(ours["1001"][-1], other["1001"][-1])
    np.testing.assert_array_equal(ours["1001"][:-1], other["1001"][:-1])


def test_duplicates_are_refused(tmp_path: Path) -> None:
    frame = random_frame(5, NAMES)
    path = write(pd.concat([frame, frame.head(1)]), tmp_path / "d.parquet")
    with pytest.raises(Refusal, match="duplicate"):
        panel_of(path, [DAYS[25]])


# --- values


def test_constants_are_exactly_zero(tmp_path: Path) -> None:
    frame = random_frame(5, NAMES)
    frame["g"] = frame["Date"].map({day: 0.1 * 3**number for number, day in enumerate(DAYS)})
    frame["h"] = frame["h"] * 1e-9  # std below 1e-8 divides by 1
    panel = check(write(frame, tmp_path / "d.parquet"), [DAYS[25]])
    assert (panel.rows[:, 1] == 0).all()
    assert 0 < np.abs(panel.rows[:, 2]).max() < 1e-8


@pytest.mark.parametrize("normalization", [CSZ, RAW])
def test_non_finite_values_are_counted_but_nulls_are_not(
    tmp_path: Path, normalization: Normalization
) -> None:
    frame = market({"1001": list(range(10)), "1002": list(range(10)), "1003": list(range(1, 9))}, 10)
    frame = frame.astype(dict.fromkeys(NAMES, object))
    days = weekdays(10)
    for session, code, name, value in (
        (1, "1001", "f", math.nan),  # before the windows begin: not counted
        (2, "1001", "f", math.nan),
        (3, "1002", "f", math.inf),
        (4, "1003", "f", -math.inf),  # its stock is not eligible, but its day is normalized
        (5, "1001", "f", None),
        (5, "1001", "g", None),
        (6, "1001", "h", math.inf),
    ):
        frame.loc[(frame["Date"] == days[session]) & (frame["Code"] == code), name] = value
    path = write(as_table(frame, **FEATURE_TYPES), tmp_path / "d.parquet", row_group_size=5)
    panel = check(path, [days[9]], normalization)
    assert panel.non_finite.tolist() == [3, 0, 1]
    assert panel.windows[days[9]].codes.tolist() == (["1001", "1002"] if normalization is CSZ else [])
    if normalization is CSZ:
        assert np.isfinite(panel.rows).all()


def test_an_alias_counts_what_is_not_finite_unless_an_operand_is_null(tmp_path: Path) -> None:
    frame = market({"1001": [0], "1002": [0], "1003": [0], "1004": [0], "1005": [0]}, 1)
    frame["long"] = pd.Series([1.0, math.inf, math.nan, None, 1.0], dtype=object)
    frame["short"] = pd.Series([2.0, math.inf, 1.0, math.inf, None], dtype=object)
    table = as_table(frame, long=pa.float64(), short=pa.float64())
    path = write(table, tmp_path / "d.parquet")
    panel = panel_of(path, [DAYS[0]], RAW, lookback=1, names=["net"], net="long - short")
    assert panel.non_finite.tolist() == [2]
    assert panel.windows[DAYS[0]].codes.tolist() == ["1001"]


@pytest.mark.parametrize("normalization", [CSZ, RAW])
def test_lookup_aliases_and_zeros(tmp_path: Path, normalization: Normalization) -> None:
    columns = ["EMA_5", "ret_prev_5d", "Returns_1d", "net", "long", "SHORT", "only"]
    frame = random_frame(6, columns)
    path = write(frame, tmp_path / "d.parquet")
    names = ["ema_5", "returns_5d", "ret_prev_1d", "net", "total", "twin", "absent", "half"]
    aliases = {
        "net": "long - short",  # wins over the column of that name
        "total": "long + short",
        "twin": "only",
        "half": "long - nowhere",
    }
    panel = check(path, [DAYS[25]], normalization, names=names, **aliases)
    row = panel.rows[-1]
    assert (panel.rows[:, 6:] == 0).all()
    assert not (panel.rows[:, :6] == 0).any()
    if normalization is RAW:
        code = panel.windows[DAYS[25]].codes[-1]
        source = frame[(frame["Code"] == code) & (frame["Date"] == DAYS[25])].iloc[0]
        net = source["long"] - source["SHORT"]
        expected = [source["EMA_5"], source["ret_prev_5d"], source["Returns_1d"], net]
        np.testing.assert_allclose(row[:4], expected, rtol=1e-6)


def test_all_features_absent(tmp_path: Path) -> None:
    path = write(random_frame(6, []), tmp_path / "d.parquet")
    panel = panel_of(path, [DAYS[25]], names=["none", "at_all"])
    assert panel.rows.shape[1] == 2
    assert len(panel.rows) > 0
    assert (panel.rows == 0).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_missing_value_makes_a_raw_window_ineligible_and_no_other(
    tmp_path: Path, value: float | None
) -> None:
    frame = market({code: list(range(20)) for code in ("1001", "1002", "1003")}, 20)
    frame = frame.astype(dict.fromkeys(NAMES, object))
    days = weekdays(20)
    frame.loc[(frame["Date"] == days[10]) & (frame["Code"] == "1002"), "g"] = value
    path = write(as_table(frame, **FEATURE_TYPES), tmp_path / "d.parquet")
    panel = check(path, days[7:], RAW)
    for session in range(7, 20):
        hit = session - LOOKBACK < 10 <= session
        assert ("1002" in panel.windows[days[session]].codes) is not hit
        assert len(panel.windows[days[session]].codes) == 3 - hit
