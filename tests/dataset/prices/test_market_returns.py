"""The market's mean return and the readers of single sessions, against plain loops over the same rows."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.dataset.features.feature_plan import FeaturePlan, FeatureSource, SourceKind
from apex_tasks.dataset.features.session_features import read_session_features
from apex_tasks.dataset.prices.daily_prices import read_prices
from apex_tasks.dataset.prices.market_returns import MarketReturns, market_returns_of, read_market_returns
from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.dataset.session_days import last_session
from tests.support.price_limit_oracle import Stock
from tests.support.small_market import FEATURE_COLUMNS, LAST_SESSION, SmallMarket, replaced, write_table


def loop_over(
    path: Path, price: str, last: dt.date, *, daily_limits: bool = True
) -> tuple[dict[dt.date, float], int, int]:
    """Mean return of each session, one row after the other, and the returns left out: forbidden, after gaps."""
    rows = pq.read_table(path, columns=sorted({"Date", "Code", "Close", price})).to_pylist()
    rows = [row for row in rows if row["Date"] <= last]
    rows = [row for row in rows if all(row[name] and 0 < row[name] < math.inf for name in ("Close", price))]
    sessions = sorted({row["Date"] for row in rows})
    rows.sort(key=lambda row: (row["Code"], row["Date"]))
    stocks: dict[str, Stock] = {}
    moves: dict[dt.date, list[float]] = {}
    forbidden = after_gap = 0
    for row in rows:
        stock = stocks.setdefault(row["Code"], Stock())
        before = stock.adjusted
        verdict = stock.verdict(sessions.index(row["Date"]), row["Close"], row[price])
        if verdict == "first":
            continue
        move = row[price] / before - 1
        if not daily_limits and verdict != "gap":
            verdict = "allowed" if abs(move) <= 0.5 else "forbidden"
        if verdict == "allowed":
            moves.setdefault(row["Date"], []).append(move)
        forbidden += verdict == "forbidden"
        after_gap += verdict == "gap"
    return {day: sum(found) / len(found) for day, found in sorted(moves.items())}, forbidden, after_gap


@pytest.mark.parametrize("daily_limits", [True, False])
@pytest.mark.parametrize("by", ["Date", "Code"])
@pytest.mark.parametrize("price", ["AdjustmentClose", "Close"])
def test_the_mean_return_is_that_of_a_loop(
    market: SmallMarket, tmp_path: Path, price: str, by: str, daily_limits: bool
) -> None:
    random = np.random.default_rng(9)
    closes, adjusted = market.values("Close"), market.values("AdjustmentClose")
    gaps = random.integers(0, len(closes), 700)
    for prices in (closes, adjusted):
        prices[gaps[:100]], prices[gaps[100:200]], prices[gaps[200:300]] = math.nan, 0.0, math.inf
        prices[gaps[300:400]] *= 2.5  # a split that nobody adjusted for
        prices[gaps[400:]] *= np.repeat([1.17, 0.8, 1.7], 100)  # about the limits
    closes[gaps[:50]] = 1000.0  # only the adjusted close is wrong
    table = replaced(market.table, Close=closes, AdjustmentClose=adjusted)
    table = table.drop_columns(["AdjustmentClose"]) if price == "Close" else table
    codes = np.asarray(table["Code"])
    absent = np.isin(codes, np.unique(codes)[:5]) & (market.dates > dt.date(2025, 3, 3))
    table = table.filter(pa.array(~(absent & (market.dates < dt.date(2025, 3, 25)))))
    table = table.take(random.permutation(table.num_rows)) if by == "Code" else table
    path = write_table(table.sort_by([(by, "ascending")]), tmp_path / "d.parquet")
    last = dt.date(2025, 9, 30)
    found = read_market_returns(open_dataset(path), last, daily_limits=daily_limits)
    expected, left_out, after_gap = loop_over(path, price, last, daily_limits=daily_limits)
    assert left_out > 100
    assert after_gap >= 5
    assert (found.days, found.left_out, found.adjusted, found.left_out_after_gap) == (
        list(expected),
        left_out,
        price == "AdjustmentClose",
        after_gap,
    )
    assert found.returns.tolist() == pytest.approx(list(expected.values()), rel=1e-12, abs=1e-15)


DAYS = [dt.date(2025, 1, 6) + dt.timedelta(days=number) for number in range(30)]


def returns_of(
    tmp_path: Path, closes: list[float | None], adjusted: list[float | None] | None = None
) -> MarketReturns:
    """Market returns of one stock, beside one that stands still, so that every day is a session."""
    prices = [
        (day, "13010", close, adjusted[at] if adjusted else close)
        for at, (day, close) in enumerate(zip(DAYS, closes, strict=False))
        if close is not None
    ]
    rows = [*prices, *((day, "99990", 100.0, 100.0) for day in DAYS[: len(closes)])]
    day, code, close, adjustment = (list(column) for column in zip(*rows, strict=True))
    table = pa.table(
        {
            "Date": day,
            "Code": code,
            "Close": close,
            "AdjustmentClose": adjustment,
            "Volume": [1.0] * len(rows),
            "TurnoverValue": [1.0] * len(rows),
        }
    )
    return read_market_returns(
        open_dataset(write_table(table.sort_by("Date"), tmp_path / "d.parquet")), DAYS[-1]
    )


@pytest.mark.parametrize(
    ("closes", "adjusted", "left_out"),
    [
        ([1000, 1300], None, 0),  # the limit from 1,000 JPY is 300
        ([1000, 1311], None, 1),
        ([1000, 700], None, 0),
        ([1000, 689], None, 1),
        ([100_000, 150_000], None, 1),  # + 50 %, of 30 % allowed
        ([20, 50], None, 0),  # + 150 %: 30 JPY
        ([900, 750, 400], None, 0),  # after a fall by the limit of 150 the next may be 4 times 150
        ([900, 750, 1100], None, 1),  # the other way it may not
        ([900, 760, 400], None, 1),  # not at the limit
        ([1000, 500], None, 1),  # a split that nobody adjusted for
        ([1000, 500], [500, 500], 0),
        ([1000, 604], [500, 604], 0),  # base 500, limit 100, and 5 JPY for rounding
        ([1000, 604], [250, 302], 0),  # the same on another basis: tiers are those of prices as traded
        ([1000, 606], [500, 606], 1),
        ([600, None, 770], None, 0),  # 100 and 100 in two sessions
        ([600, 770], None, 1),
        ([600, None, None, None, None, None, None, None, None, None, 4000], None, 0),
        ([600, None, None, None, None, None, None, None, None, None, None, 610], None, 0),
    ],
)
def test_what_the_limit_allows(
    tmp_path: Path, closes: list[float | None], adjusted: list[float | None] | None, left_out: int
) -> None:
    found = returns_of(tmp_path, closes, adjusted)
    assert found.left_out == left_out
    assert found.left_out_after_gap == (len(closes) == 12)


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
