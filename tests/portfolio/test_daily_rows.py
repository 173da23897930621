"""The sessions of a ledger as rows, by hand."""

from __future__ import annotations

import datetime as dt

import pytest

from apex_tasks.portfolio.book import Book, Position
from apex_tasks.portfolio.daily_rows import daily_rows
from apex_tasks.portfolio.ledger import LedgerDay

DAYS = [dt.date(2025, 7, 1), dt.date(2025, 7, 2), dt.date(2025, 7, 3)]


def day(
    number: int, price: float, *, delisted: tuple[str, ...] = (), dividends_jpy: float = 0.0
) -> LedgerDay:
    held = {
        code: Position(shares=10.0, last_price_jpy=price, price_date=DAYS[number])
        for code in ("1301", "1302")
    }
    book = Book.of(rebalance_date=DAYS[0], as_of=DAYS[number], cash_jpy=1_000.0, positions=held)
    return LedgerDay(DAYS[number], book, None, dividends_jpy=dividends_jpy, delisted=delisted)


def test_a_delisted_name_counts_as_cash_and_no_longer_as_a_position() -> None:
    first, second, third = daily_rows(
        [day(0, 50.0), day(1, 60.0, dividends_jpy=7.0), day(2, 60.0, delisted=("1302",))]
    )
    assert [row.portfolio_value for row in (first, second, third)] == [2_000.0, 2_200.0, 2_200.0]
    assert [row.daily_return for row in (first, second, third)] == pytest.approx([0.0, 10.0, 0.0])
    assert [row.cash for row in (first, second, third)] == [1_000.0, 1_000.0, 1_600.0]
    assert [row.positions for row in (first, second, third)] == [2, 2, 1]
    assert [row.dividends_jpy for row in (first, second, third)] == [0.0, 7.0, 0.0]
    assert {row.cost_jpy for row in (first, second, third)} == {0.0}
    assert [row.date for row in (first, second, third)] == DAYS
