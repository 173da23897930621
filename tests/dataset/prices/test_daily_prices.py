"""Closes, execution volumes and adjustment of single days, and whether the units can be true."""

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from apex_tasks.dataset.prices.daily_prices import ADJUSTMENT, ADV, check_units, read_prices
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.refusal import Refusal
from tests.support.random_dataset import as_table, random_frame, weekdays, write

DAYS = weekdays(30)
NAN, INF = math.nan, math.inf


def read(path: Path, first: int = 0, last: int = 29) -> pd.DataFrame:
    return read_prices(open_dataset(path), DAYS[first], DAYS[last])


@pytest.mark.parametrize("by", ["Code", "Date", "shuffled"])
@pytest.mark.parametrize("statistics", [True, False])
def test_the_days_asked_for_by_date_and_code(tmp_path: Path, by: str, statistics: bool) -> None:
    frame = random_frame(3, [])
    laid_out = frame.sample(frac=1, random_state=1) if by == "shuffled" else frame.sort_values(by)
    path = write(laid_out, tmp_path / "d.parquet", row_group_size=10, write_statistics=statistics)
    prices = read(path, 5, 9)
    expected = frame[(frame["Date"] >= DAYS[5]) & (frame["Date"] <= DAYS[9])].reset_index(drop=True)
    for column in ("Date", "Code", "Close", "Volume", "TurnoverValue"):
        assert prices[column].tolist() == expected[column].tolist()
    assert prices[ADV].tolist() == expected["TurnoverValue"].tolist()
    assert prices[ADJUSTMENT].isna().all()
    assert prices["sector33_code"].isna().all()
    assert all(type(day) is dt.date for day in prices["Date"])


@pytest.mark.parametrize("n_rows", [0, 200])
def test_no_such_day_gives_the_same_columns(tmp_path: Path, n_rows: int) -> None:
    frame = random_frame(3, []).head(200)
    path = write(as_table(frame).slice(0, n_rows), tmp_path / "d.parquet")
    none = read_prices(open_dataset(path), dt.date(2020, 1, 1), dt.date(2020, 1, 2))
    some = read(write(frame, tmp_path / "some.parquet"))
    assert none.columns.tolist() == some.columns.tolist()
    assert len(none) == 0
    assert check_units(none, DAYS[0], "d.parquet") == []


@pytest.mark.parametrize(
    ("close", "volume", "turnover", "adv"),
    [
        (100.0, 50.0, 7_000.0, 7_000.0),
        (100.0, 50.0, 0.0, 5_000.0),
        (100.0, 50.0, -1.0, 5_000.0),
        (100.0, 50.0, None, 5_000.0),
        (100.0, 50.0, NAN, 5_000.0),
        (100.0, 50.0, INF, 5_000.0),
        (100.0, 0.0, 0.0, NAN),
        (100.0, None, None, NAN),
        (100.0, INF, None, NAN),
        (NAN, 50.0, 0.0, NAN),
        (0.0, 50.0, None, NAN),
        (-100.0, -50.0, None, NAN),
        (None, 50.0, 7_000.0, 7_000.0),
    ],
)
def test_execution_volume(
    tmp_path: Path, close: float | None, volume: float | None, turnover: float | None, adv: float
) -> None:
    frame = random_frame(3, []).head(1).astype({"Close": object, "Volume": object, "TurnoverValue": object})
    frame.loc[0, ["Close", "Volume", "TurnoverValue"]] = [close, volume, turnover]
    table = as_table(frame, Close=pa.float64(), Volume=pa.float64(), TurnoverValue=pa.float64())
    prices = read(write(table, tmp_path / "d.parquet"))
    assert prices.loc[0, ADV] == pytest.approx(adv, nan_ok=True)
    traded = close is not None and close > 0
    assert prices.loc[0, "Close"] == pytest.approx(close if traded else NAN, nan_ok=True)


@pytest.mark.parametrize(
    ("close", "adjusted", "expected"),
    [(200.0, 100.0, 0.5), (200.0, NAN, NAN), (200.0, INF, NAN), (200.0, 0.0, NAN), (0.0, 100.0, NAN)],
)
def test_adjustment(tmp_path: Path, close: float, adjusted: float, expected: float) -> None:
    frame = random_frame(3, []).head(1).assign(Close=close, AdjustmentClose=adjusted, sector33_code="3050")
    prices = read(write(frame, tmp_path / "d.parquet"))
    assert prices.loc[0, ADJUSTMENT] == pytest.approx(expected, nan_ok=True)
    assert prices.loc[0, "sector33_code"] == "3050"


def test_types_of_real_files(tmp_path: Path) -> None:
    frame = random_frame(3, []).assign(sector33_code=3050)
    plain = read(write(frame.assign(sector33_code="3050"), tmp_path / "plain.parquet"))
    midnight = pa.array([dt.datetime.combine(day, dt.time()) for day in frame["Date"]], pa.timestamp("us"))
    table = as_table(frame).set_column(0, "Date", midnight)
    table = table.set_column(1, "Code", table["Code"].cast(pa.large_string()))
    table = table.set_column(3, "Volume", table["Volume"].cast(pa.int64()))
    typed = read(write(table, tmp_path / "typed.parquet", row_group_size=10))
    pd.testing.assert_frame_equal(typed, plain, check_dtype=False)


def test_a_number_too_large_for_a_float_is_no_crash(tmp_path: Path) -> None:
    frame = random_frame(3, []).head(2).assign(Volume=2**60 + 1)
    assert read(write(frame, tmp_path / "d.parquet"))["Volume"].tolist() == [2.0**60] * 2


def day_of(n: int, **columns: object) -> pd.DataFrame:
    volume = np.arange(1, n + 1) * 100.0
    frame = pd.DataFrame({"Date": DAYS[0], "Close": 500.0, "Volume": volume, "TurnoverValue": volume * 500})
    return frame.assign(**columns)


@pytest.mark.parametrize("column", ["TurnoverValue", "Volume"])
def test_ranks_are_refused(column: str) -> None:
    ranks = day_of(40, **{column: np.linspace(0, 1, 40)})
    with pytest.raises(Refusal, match=f"{column} holds ranks") as caught:
        check_units(ranks, DAYS[0], "d.parquet")
    assert caught.value.received == "40 values from 0 to 1"
    assert str(DAYS[0]) in caught.value.where
    check_units(ranks, DAYS[1], "another day")
    check_units(ranks.head(19), DAYS[0], "too few to judge")


def test_nothing_traded_and_one_real_amount_are_no_ranks() -> None:
    check_units(day_of(40, TurnoverValue=0.0, Volume=0.0), DAYS[0], "d")
    check_units(day_of(40, TurnoverValue=np.r_[np.zeros(39), 2.0]), DAYS[0], "d")


@pytest.mark.parametrize(
    ("factor", "warned"), [(1, False), (9.9, False), (0.11, False), (11, True), (0.001, True)]
)
def test_thousands_of_yen_are_warned_of(factor: float, warned: bool) -> None:
    day = day_of(40)
    warnings = check_units(day.assign(TurnoverValue=day["TurnoverValue"] * factor), DAYS[0], "d")
    assert len(warnings) == warned
    if warned:
        assert f"{factor:.3g} times" in warnings[0]
        assert "40 stocks" in warnings[0]
