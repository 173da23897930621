"""The last prices before a long suspension, against a walk along each stock's rows."""

from __future__ import annotations

import datetime as dt
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.prices.daily_prices import read_prices
from apex_tasks.dataset.prices.earlier_prices import earlier_prices_of, new_histories_of, read_earlier_prices
from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import open_dataset
from tests.support.random_dataset import as_table, weekdays, write

DAYS = weekdays(260)
LAST, FIRST = DAYS[-1], DAYS[-50]
CODES = [f"{1300 + 10 * number}0" for number in range(40)]


def market(seed: int) -> pd.DataFrame:
    """Stocks that are absent, or have no price, for long spells up to the newest sessions."""
    random = np.random.default_rng(seed)
    rows = []
    for number, code in enumerate(CODES):
        back = 210 + int(random.integers(0, 50))
        gone = back - int(random.integers(1, 150))
        unpriced = 5 < number < 20
        for at, day in enumerate(DAYS):
            away = number > 0 and gone <= at < back
            if away and not unpriced:
                continue
            close = (
                math.nan if away or random.random() < 0.1 * (number > 0) else float(random.uniform(100, 900))
            )
            rows.append((day, code, close, close / random.choice([1.0, 2.0]), 100.0, 1e6))
    columns = ["Date", "Code", "Close", "AdjustmentClose", "Volume", "TurnoverValue"]
    return pd.DataFrame(rows, columns=columns)


def by_hand(frame: pd.DataFrame, code: str, after: int) -> tuple[dt.date, float, float] | None:
    """Last priced row before `FIRST` of the history that the stock's first row since belongs to."""
    sessions = sorted(set(frame["Date"]))
    own: list[Any] = [row for row in frame.itertuples() if row.Code == code]
    later = min((row.Date for row in own if row.Date >= FIRST), default=None)
    for row in sorted(own, key=lambda row: row.Date, reverse=True):
        if later is None or row.Date >= later:
            continue
        if sum(row.Date < day < later for day in sessions) >= after:
            return None
        if row.Close > 0:
            return row.Date, row.Close, row.AdjustmentClose / row.Close
        later = row.Date
    return None


@pytest.mark.parametrize("by", ["Date", "Code"])
@pytest.mark.parametrize("seed", [1, 2])
def test_they_are_those_of_a_walk_back(tmp_path: Path, seed: int, by: str) -> None:
    frame = market(seed)
    ordered = frame.sort_values([by, "Date"], kind="stable")
    dataset = open_dataset(write(as_table(ordered), tmp_path / "d.parquet", row_group_size=700))
    prices = read_prices(dataset, FIRST, LAST)
    keys = scan_keys(dataset, LAST, new_history_after=60)
    found = read_earlier_prices(dataset, keys, prices, FIRST)
    priced = prices.dropna(subset=["adjustment"])
    expected = {}
    for code in CODES:
        since = priced[priced["Code"] == code]["Date"]
        row = by_hand(frame, code, 60)
        if len(since) and since.min() > FIRST + dt.timedelta(days=14) and row is not None:
            expected[code] = row
    assert len(expected) > 8
    assert found["Code"].tolist() == list(expected)
    rows = list(zip(found["Date"], found["Close"], found["adjustment"], strict=True))
    assert rows == list(expected.values())

    history = PriceHistory(read_prices(dataset, dt.date.min, LAST))
    in_memory = earlier_prices_of(history, CODES, FIRST, LAST)
    assert in_memory["Code"].tolist() == [code for code in CODES if by_hand(frame, code, 60)]
    both = in_memory[in_memory["Code"].isin(found["Code"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(both, found)


@pytest.mark.parametrize("seed", [1, 2])
def test_new_histories_begin_where_a_walk_finds_them(tmp_path: Path, seed: int) -> None:
    frame = market(seed)
    dataset = open_dataset(write(as_table(frame), tmp_path / "d.parquet"))
    expected = {}
    for code in CODES:
        own = sorted(frame[frame["Code"] == code]["Date"])
        for before, day in pairwise(own):
            if DAYS.index(day) - DAYS.index(before) > 60:
                expected[code] = day
    assert len(expected) > 5
    assert scan_keys(dataset, LAST, new_history_after=60).new_histories() == expected
    assert scan_keys(dataset, LAST).new_histories() == {}
    history = PriceHistory(read_prices(dataset, dt.date.min, LAST))
    assert new_histories_of(history, CODES, DAYS[0], LAST) == expected
    assert new_histories_of(history, CODES[:1], DAYS[0], LAST) == {}
    assert new_histories_of(history, CODES, DAYS[-5], LAST) == {}


def test_a_code_of_another_company_has_none(tmp_path: Path) -> None:
    frame = market(3)
    for missing, count in ((60, 0), (59, 1)):
        gone = DAYS[215 - missing : 215]
        rows = frame[(frame["Code"] == CODES[0]) & ~frame["Date"].isin(gone)]
        others = frame[frame["Code"] == CODES[6]].assign(Close=1.0, AdjustmentClose=1.0)
        dataset = open_dataset(write(as_table(pd.concat([rows, others])), tmp_path / f"{missing}.parquet"))
        first = DAYS[190]
        keys = scan_keys(dataset, LAST, new_history_after=60)
        assert len(read_earlier_prices(dataset, keys, read_prices(dataset, first, LAST), first)) == count
        history = PriceHistory(read_prices(dataset, dt.date.min, LAST))
        assert len(earlier_prices_of(history, [CODES[0]], first, LAST)) == count


def test_a_dataset_without_adjusted_closes_has_none(tmp_path: Path) -> None:
    table = as_table(market(1)).drop_columns(["AdjustmentClose"])
    dataset = open_dataset(write(table, tmp_path / "d.parquet"))
    prices = read_prices(dataset, FIRST, LAST)
    assert read_earlier_prices(dataset, scan_keys(dataset, LAST), prices, FIRST).empty
