"""The delisting rule, on sessions counted by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.portfolio.book import Book, Position
from apex_tasks.portfolio.delisting import (
    DELISTED_AFTER_SESSIONS,
    DelistedName,
    Listings,
    delisted_names,
    unnoticed_delisted_names,
)
from apex_tasks.portfolio.ledger import LedgerDay

DAYS = [day.date() for day in pd.bdate_range("2025-06-30", periods=30)]


def listings(**rows: list[int]) -> Listings:
    """Code (written A1301) -> numbers of the days on which it has a row."""
    frame = [
        {"Date": DAYS[number], "Code": code[1:], "Close": 100.0} for code, of in rows.items() for number in of
    ]
    return Listings(PriceHistory(pd.DataFrame(frame).sort_values(["Date", "Code"])), DAYS)


def book(*codes: str) -> Book:
    positions = {
        code: Position(shares=1.0, last_price_jpy=100.0, price_date=DAYS[0]) for code in sorted(codes)
    }
    return Book.of(rebalance_date=None, as_of=DAYS[0], cash_jpy=0.0, positions=positions)


@pytest.mark.parametrize(
    ("absent", "gone"), [(DELISTED_AFTER_SESSIONS - 1, ()), (DELISTED_AFTER_SESSIONS, ("1301",))]
)
def test_a_name_is_gone_after_exactly_so_many_sessions(absent: int, gone: tuple[str, ...]) -> None:
    assert listings(A1301=[0, 5]).delisted(book("1301"), DAYS[5 + absent]) == gone


def test_a_name_that_has_a_row_again_is_back() -> None:
    found = listings(A1301=[0, 29], A1302=[0])
    assert found.delisted(book("1301", "1302"), DAYS[28]) == ("1301", "1302")
    assert found.delisted(book("1301", "1302"), DAYS[29]) == ("1302",)


def test_a_name_without_any_row_counts_from_the_first_session() -> None:
    found = listings(A1301=[0])
    assert found.delisted(book("9999"), DAYS[DELISTED_AFTER_SESSIONS - 2]) == ()
    assert found.delisted(book("9999"), DAYS[DELISTED_AFTER_SESSIONS - 1]) == ("9999",)


def test_only_the_first_session_of_each_name_is_told() -> None:
    def day(number: int, *delisted: str) -> LedgerDay:
        return LedgerDay(DAYS[number], book("1301", "1302"), None, delisted=delisted)

    days = [day(1), day(2, "1302"), day(3, "1301", "1302"), day(4), day(5, "1301")]
    assert delisted_names(days) == tuple(
        DelistedName(
            code=code,
            counted_as_cash_on=session,
            last_price_jpy=100.0,
            last_price_date=DAYS[0],
            value_jpy=100.0,
        )
        for code, session in (("1302", DAYS[2]), ("1301", DAYS[3]))
    )


def test_names_that_a_ledger_kept_as_positions_are_found_afterwards() -> None:
    rows = {"A1301": [*range(6), 29], "A1302": range(30), "A1303": [0]}
    marked = [
        LedgerDay(DAYS[number], book("1301", "1302").mark({"1302": 5.0}, DAYS[number]), None)
        for number in range(1, 30)
    ]
    history = PriceHistory(
        pd.DataFrame(
            sorted((DAYS[n], code[1:]) for code, own in rows.items() for n in own), columns=["Date", "Code"]
        )
    )
    (found,) = unnoticed_delisted_names(marked, history, DAYS)
    assert (found.code, found.counted_as_cash_on) == ("1301", DAYS[5 + DELISTED_AFTER_SESSIONS])
    assert (found.last_price_jpy, found.last_price_date, found.value_jpy) == (100.0, DAYS[0], 100.0)
    assert unnoticed_delisted_names(marked[:10], history, DAYS) == ()
