"""Lookups by day, against a walk over the rows."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from apex_tasks.dataset.prices.price_history import PriceHistory

DAYS = [dt.date(2025, 1, 6) + dt.timedelta(days=number) for number in range(12)]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    random = np.random.default_rng(3)
    kept = [(day, f"{code}0") for day in DAYS for code in range(1301, 1316) if random.random() < 0.7]
    close = np.where(random.random(len(kept)) < 0.3, np.nan, random.uniform(1, 9, len(kept)))
    return pd.DataFrame({"Date": [d for d, _ in kept], "Code": [c for _, c in kept], "Close": close})


def test_every_lookup_is_what_a_walk_finds(rows: pd.DataFrame) -> None:
    history = PriceHistory(rows)
    records = rows.to_dict("records")
    for day in DAYS:
        on = {r["Code"]: r["Close"] for r in records if r["Date"] == day and r["Close"] == r["Close"]}
        assert history.on(day, "Close") == on
        latest = {r["Code"]: r["Close"] for r in records if r["Date"] <= day and r["Close"] == r["Close"]}
        assert history.latest(day, "Close") == latest
    first, last = DAYS[3], DAYS[8]
    inside = [r for r in records if first <= r["Date"] <= last]
    window = history.between(first, last)
    assert window.frame["Code"].tolist() == [r["Code"] for r in inside]
    assert window.latest(DAYS[2], "Close") == {}
    assert history.sessions() == sorted({r["Date"] for r in records if r["Close"] == r["Close"]})
    some = {"13010", "13090", "99990"}
    assert history.of(some).frame["Code"].tolist() == [r["Code"] for r in records if r["Code"] in some]


def test_an_empty_history_knows_nothing(rows: pd.DataFrame) -> None:
    empty = PriceHistory(rows.iloc[:0])
    assert (empty.sessions(), empty.on(DAYS[0], "Close"), empty.latest(DAYS[0], "Close")) == ([], {}, {})
