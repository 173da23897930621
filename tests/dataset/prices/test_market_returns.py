"""The market's mean return and the readers of single sessions, against plain loops over the same rows."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.dataset.features.feature_plan import FeaturePlan, FeatureSource, SourceKind
from apex_tasks.dataset.features.session_features import read_session_features
from apex_tasks.dataset.prices.daily_prices import read_prices
from apex_tasks.dataset.prices.market_returns import market_returns_of, read_market_returns
from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.dataset.session_days import last_session
from tests.support.small_market import FEATURE_COLUMNS, LAST_SESSION, SmallMarket, replaced, write_table


def loop_over(path: Path, price: str, last: dt.date) -> tuple[dict[dt.date, float], int]:
    """Mean return of each session, one row after the other."""
    rows = pq.read_table(path, columns=["Date", "Code", price]).to_pylist()
    rows.sort(key=lambda row: (row["Code"], row["Date"]))
    before: dict[str, float] = {}
    moves: dict[dt.date, list[float]] = {}
    left_out = 0
    for row in rows:
        close = row[price]
        if row["Date"] > last or close is None or not 0 < close < math.inf:
            continue
        if row["Code"] in before:
            move = close / before[row["Code"]] - 1
            if abs(move) > 0.5:
                left_out += 1
            else:
                moves.setdefault(row["Date"], []).append(move)
        before[row["Code"]] = close
    return {day: sum(found) / len(found) for day, found in sorted(moves.items())}, left_out


@pytest.mark.parametrize("by", ["Date", "Code"])
@pytest.mark.parametrize("price", ["AdjustmentClose", "Close"])
def test_the_mean_return_is_that_of_a_loop(market: SmallMarket, tmp_path: Path, price: str, by: str) -> None:
    random = np.random.default_rng(9)
    closes = market.values(price)
    gaps = random.integers(0, len(closes), 400)
    closes[gaps[:100]], closes[gaps[100:200]], closes[gaps[200:300]] = math.nan, 0.0, math.inf
    closes[gaps[300:]] *= 2.5  # a split that nobody adjusted for
    table = replaced(market.table, **{price: closes})
    table = table.drop_columns(["AdjustmentClose"]) if price == "Close" else table
    table = table.take(random.permutation(table.num_rows)) if by == "Code" else table
    path = write_table(table.sort_by([(by, "ascending")]), tmp_path / "d.parquet")
    last = dt.date(2025, 9, 30)
    found = read_market_returns(open_dataset(path), last)
    expected, left_out = loop_over(path, price, last)
    assert left_out > 100
    assert (found.days, found.left_out, found.adjusted) == (
        list(expected),
        left_out,
        price == "AdjustmentClose",
    )
    assert found.returns.tolist() == pytest.approx(list(expected.values()), rel=1e-12, abs=1e-15)


def test_a_dataset_that_begins_later_has_no_returns(market: SmallMarket) -> None:
    found = read_market_returns(open_dataset(market.dataset), dt.date(2020, 1, 6))
    assert (found.days, found.returns.tolist()) == ([], [])


@given(shift=st.integers(-400, 30), by=st.sampled_from(["Date", "Code"]))
def test_the_last_session_is_the_newest_day_with_a_close(market: SmallMarket, shift: int, by: str) -> None:
    path = market.dataset.with_name(f"by {by}.parquet")
    if not path.exists():
        closes = market.values("Close")
        closes[market.dates == LAST_SESSION] = math.nan
        write_table(replaced(market.table, Close=closes).sort_by([(by, "ascending")]), path)
    until = LAST_SESSION + dt.timedelta(days=shift)
    days = [day for day in set(market.dates) if day <= until and day != LAST_SESSION]
    assert last_session(open_dataset(path), until) == max(days, default=None)


def test_features_of_single_sessions_are_the_columns_of_those_rows(market: SmallMarket) -> None:
    days = [dt.date(2025, 7, 31), dt.date(2025, 10, 10), dt.date(2025, 10, 12)]
    names = FEATURE_COLUMNS[:3]
    sources = [FeatureSource(feature=name, kind=SourceKind.COLUMN, left=name) for name in names]
    difference = FeatureSource(feature="d", kind=SourceKind.ALIAS, left=names[0], op="-", right=names[1])
    plan = FeaturePlan(sources=(*sources, difference))
    found = read_session_features(open_dataset(market.dataset), plan, days)
    assert list(found) == days[:2]  # the third is a Sunday
    for day, values in found.items():
        rows = market.dates == day
        columns = [market.values(name)[rows] for name in names]
        np.testing.assert_allclose(values, np.column_stack([*columns, columns[0] - columns[1]]), atol=1e-6)


@pytest.mark.parametrize("price", ["AdjustmentClose", "Close"])
def test_prices_in_memory_have_the_same_returns(market: SmallMarket, tmp_path: Path, price: str) -> None:
    random = np.random.default_rng(11)
    closes = market.values("Close")
    gaps = random.integers(0, len(closes), 200)
    closes[gaps[:100]], closes[gaps[100:]] = math.nan, closes[gaps[100:]] * 2.5
    table = replaced(market.table, Close=closes, AdjustmentClose=closes / 4)
    table = table.drop_columns(["AdjustmentClose"]) if price == "Close" else table
    dataset = open_dataset(write_table(table, tmp_path / "d.parquet"))
    last = dt.date(2025, 9, 30)
    expected, found = (
        read_market_returns(dataset, last),
        market_returns_of(PriceHistory(read_prices(dataset, dt.date.min, last))),
    )
    assert (found.days, found.left_out, found.adjusted) == (
        expected.days,
        expected.left_out,
        price == "AdjustmentClose",
    )
    assert found.left_out > 50
    assert found.returns.tolist() == pytest.approx(expected.returns.tolist(), rel=1e-9, abs=1e-15)

    # Rows before the first one that is known: no return on the first day, and the same ones after it.
    start = dt.date(2025, 8, 1)
    later = market_returns_of(PriceHistory(read_prices(dataset, start, last)))
    assert later.days == [day for day in expected.days if day > start]
