"""A book adds up, is marked with what prices there are, and survives splits and JSON."""

from __future__ import annotations

import datetime as dt
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from apex_tasks.portfolio.book import Book, Position
from apex_tasks.refusal import Refusal

FRIDAY, TUESDAY = dt.date(2025, 10, 31), dt.date(2025, 11, 4)


def _book(cash: float = 1_000.0, **shares_at_price: tuple[float, float]) -> Book:
    return Book.of(
        rebalance_date=None,
        as_of=FRIDAY,
        cash_jpy=cash,
        positions={
            code[1:]: Position(shares=shares, last_price_jpy=price, price_date=FRIDAY)
            for code, (shares, price) in shares_at_price.items()
        },
    )


def test_a_cold_book_is_cash():
    book = Book.cold(1e7, FRIDAY)
    assert (book.portfolio_value_jpy, book.weights(), book.stale_codes) == (1e7, {}, ())


def test_weights_are_fractions_of_cash_and_positions():
    book = _book(1_000, c72030=(10, 200), c13010=(2, 500))
    assert book.portfolio_value_jpy == 4_000
    assert list(book.weights().items()) == [("13010", 0.25), ("72030", 0.5)]


@pytest.mark.parametrize("gap", [None, math.nan, math.inf, 0.0, -3.0])
def test_a_missing_price_keeps_the_last_and_is_listed(gap):
    closes = {"72030": 300.0} if gap is None else {"72030": 300.0, "13010": gap}
    book = _book(0, c72030=(10, 200), c13010=(2, 500)).mark(closes, TUESDAY)
    assert book.portfolio_value_jpy == 4_000
    assert book.stale_codes == ("13010",)
    assert (book.positions["13010"].price_date, book.positions["72030"].price_date) == (FRIDAY, TUESDAY)


def test_the_past_is_refused():
    with pytest.raises(Refusal, match="2025-10-30"):
        _book().mark({}, dt.date(2025, 10, 30))


def test_a_worthless_book_has_no_weights():
    with pytest.raises(Refusal, match="worth nothing"):
        _book(-2_000, c72030=(10, 200)).weights()


def test_a_split_changes_shares_and_price_but_no_value():
    book = _book(5, c72030=(10, 200), c13010=(2, 500)).mark({}, TUESDAY).roll({"72030": 2.0, "99990": 3.0})
    assert (book.positions["72030"].shares, book.positions["72030"].last_price_jpy) == (20, 100)
    assert book.positions["72030"].price_date == FRIDAY
    assert book.positions["13010"] == _book(c13010=(2, 500)).positions["13010"]
    assert book.portfolio_value_jpy == 3_005


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_a_split_factor_is_a_positive_number(factor):
    with pytest.raises(Refusal, match="72030"):
        _book(c72030=(10, 200)).roll({"72030": factor})


def test_a_book_that_does_not_add_up_cannot_be_read():
    published = json.loads(_book(c72030=(10, 200)).model_dump_json())
    assert Book.model_validate(published) == _book(c72030=(10, 200))
    with pytest.raises(ValidationError, match="expected=3000"):
        Book.model_validate(published | {"cash_jpy": 1_000.0, "portfolio_value_jpy": 3_000.1})


@given(
    st.floats(-1e4, 1e8), st.dictionaries(st.text("0123456789", min_size=5, max_size=5), st.floats(1, 1e6))
)
def test_json_keeps_every_bit_and_the_order_of_codes(cash, shares):
    positions = {c: Position(shares=s, last_price_jpy=s / 3, price_date=FRIDAY) for c, s in shares.items()}
    book = Book.of(rebalance_date=TUESDAY, as_of=FRIDAY, cash_jpy=cash, positions=positions)
    again = Book.model_validate_json(book.model_dump_json())
    assert again == book
    assert list(again.positions) == sorted(shares)
    backwards = Book.of(
        rebalance_date=TUESDAY, as_of=FRIDAY, cash_jpy=cash, positions=dict(reversed(positions.items()))
    )
    assert backwards.model_dump_json() == book.model_dump_json()
