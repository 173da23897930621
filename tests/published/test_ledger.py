"""The chain of published months that a ledger is made of, and what it leaves out."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.dataset.schema import open_dataset
from apex_tasks.market.costs import CostModel
from apex_tasks.portfolio.book import Book, Position
from apex_tasks.portfolio.orders import estimate_orders
from apex_tasks.published.ledger import published_chain, read_published_ledger
from apex_tasks.published.portfolio import BOOK_FILE, PORTFOLIOS, BookDocument, PortfolioDetails
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store, canonical_json

DAYS = [dt.date(2025, month, 1) for month in (7, 8, 9, 10)]


def publish(store: Store, day: dt.date, *, cold: bool, version: int = 1) -> None:
    as_of = day - dt.timedelta(days=1)
    positions = {"1301": Position(shares=10.0, last_price_jpy=100.0, price_date=as_of)}
    before = Book.of(rebalance_date=None, as_of=as_of, cash_jpy=1e6, positions={} if cold else positions)
    orders = estimate_orders(
        before, {"1301": 1.0}, {"1301": 100.0}, {"1301": 1e9}, rebalance_date=day, costs=CostModel()
    )
    store.write(
        PORTFOLIOS,
        str(day),
        f"v{version}",
        files={BOOK_FILE: canonical_json(BookDocument(before=before, orders=orders).model_dump(mode="json"))},
        details=PortfolioDetails(rebalance_date=day, as_of=as_of).model_dump(mode="json"),
    )


def test_a_chain_goes_back_to_its_cold_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number, day in enumerate(DAYS):
        publish(store, day, cold=number == 0)
    chain, left_out = published_chain(store, None)
    assert [month.rebalance_date for month in chain] == DAYS
    assert left_out == []
    chain, _ = published_chain(store, DAYS[2])
    assert [month.rebalance_date for month in chain] == DAYS[:3]


def test_months_before_another_cold_start_are_left_out_and_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number, day in enumerate(DAYS):
        publish(store, day, cold=number in (0, 2))
    chain, left_out = published_chain(store, None)
    assert [month.rebalance_date for month in chain] == DAYS[2:]
    assert left_out == ["2 months before the cold start of 2025-09-01 are left out: 2025-07-01 to 2025-08-01"]


def test_a_chain_whose_cold_start_is_not_known_begins_with_the_oldest_month(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for day in DAYS[1:]:
        publish(store, day, cold=False)
    chain, left_out = published_chain(store, None)
    assert [month.rebalance_date for month in chain] == DAYS[1:]
    assert left_out == []


def test_a_republished_month_counts_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, DAYS[0], cold=True)
    publish(store, DAYS[0], cold=True, version=2)
    assert [month.name for month in published_chain(store, None)[0]] == ["2025-07-01/v2"]


def test_nothing_published_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(Refusal, match=r"nothing is published.*received=none,"):
        published_chain(store, None)
    publish(store, DAYS[1], cold=True)
    with pytest.raises(Refusal, match="received=none up to 2025-07-01"):
        published_chain(store, DAYS[0])


@pytest.mark.parametrize(("cold", "capital"), [(True, 1e6), (False, 1e6 + 10 * 100)])
def test_the_capital_is_the_value_that_the_chain_starts_from(
    tmp_path: Path, cold: bool, capital: float
) -> None:
    store = Store(tmp_path)
    publish(store, DAYS[0], cold=cold)
    days = [DAYS[0] - dt.timedelta(days=1), DAYS[0], DAYS[0] + dt.timedelta(days=1)]
    columns = {
        "Date": pa.array(days, pa.date32()),
        "Code": ["1301"] * 3,
        "Close": [100.0, 100.0, 200.0],
        "Volume": [1e6] * 3,
        "TurnoverValue": [1e8] * 3,
    }
    pq.write_table(pa.table(columns), tmp_path / "dataset.parquet")
    ledger = read_published_ledger(store, open_dataset(tmp_path / "dataset.parquet"))
    assert ledger.capital_jpy == capital
    # Everything is in the one stock, whose price doubles.
    assert ledger.performance().total_return == pytest.approx(100.0, abs=1.0)
    assert ledger.performance().cost_pct_of_capital < 1.0
