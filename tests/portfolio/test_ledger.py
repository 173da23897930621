"""A book brought forward session by session, against amounts worked out by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pandas as pd
import pytest

from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.market.costs import CostModel
from apex_tasks.portfolio.book import Book, Position
from apex_tasks.portfolio.delisting import DELISTED_AFTER_SESSIONS
from apex_tasks.portfolio.ledger import carry_forward
from apex_tasks.portfolio.orders import Orders, estimate_orders
from apex_tasks.refusal import Refusal
from tests.support import oracle_portfolio

DAYS = [day.date() for day in pd.bdate_range("2025-06-30", periods=30)]
AS_OF, FILL = DAYS[0], DAYS[1]
ADV_JPY = 1e9


def history(
    closes: Mapping[str, Mapping[int, float]], adjusted: Mapping[str, Mapping[int, float]] | None = None
) -> PriceHistory:
    """Rows by code and number of the day; `adjusted` gives other adjusted closes than the close."""
    rows = []
    for number, day in enumerate(DAYS):
        for code in sorted(closes):
            if number not in closes[code]:
                continue
            close = closes[code][number]
            other = (adjusted or {}).get(code, {}).get(number, close)
            rows.append(
                {
                    "Date": day,
                    "Code": code,
                    "Close": close if close > 0 else float("nan"),
                    "adv_jpy": ADV_JPY,
                    "adjustment": other / close if close > 0 else float("nan"),
                }
            )
    return PriceHistory(pd.DataFrame(rows))


def always(price: float) -> dict[int, float]:
    return dict.fromkeys(range(len(DAYS)), price)


def book(cash: float, **shares: tuple[float, float]) -> Book:
    """Cash, and code -> (shares, price); codes are written A13010."""
    return Book.of(
        rebalance_date=None,
        as_of=AS_OF,
        cash_jpy=cash,
        positions={
            code[1:]: Position(shares=number, last_price_jpy=price, price_date=AS_OF)
            for code, (number, price) in shares.items()
        },
    )


def ordered(before: Book, weights: Mapping[str, float], closes: Mapping[str, float]) -> Orders:
    return estimate_orders(before, weights, closes, dict.fromkeys(closes, ADV_JPY), CostModel(), FILL)


NOTHING = {"13010": 1.0}


def held() -> tuple[Book, Orders]:
    """100 shares at 1,000 JPY and nothing to trade."""
    before = book(0.0, A13010=(100.0, 1000.0))
    orders = ordered(before, NOTHING, {"13010": 1000.0})
    assert orders.rows == ()
    return before, orders


def test_orders_fill_at_the_fill_days_close_and_are_marked_after_it() -> None:
    before = book(1_000_000.0)
    orders = ordered(before, {"13010": 0.5, "13020": 0.5}, {"13010": 1000.0, "13020": 500.0})
    prices = history({"13010": {**always(1000.0), 1: 1100.0, 2: 1200.0}, "13020": always(500.0)})
    carried = carry_forward(before, orders, FILL, prices, DAYS[2])

    cost = oracle_portfolio.cost(550_000.0, ADV_JPY) + oracle_portfolio.cost(500_000.0, ADV_JPY)
    assert carried.fills is not None
    assert carried.fills.total_cost_jpy == pytest.approx(cost, rel=1e-12)
    cash = 1_000_000.0 - 550_000.0 - 500_000.0 - cost
    values = [day.book.portfolio_value_jpy for day in carried.days]
    assert values == pytest.approx([cash + 550_000 + 500_000, cash + 600_000 + 500_000], rel=1e-12)
    assert [day.session for day in carried.days] == [FILL, DAYS[2]]
    assert [day.fills is None for day in carried.days] == [False, True]
    assert carried.book.as_of == DAYS[2]


def test_a_split_on_any_day_changes_shares_and_not_value() -> None:
    for day in (1, 2, 5):
        before, orders = held()
        close = {**always(1000.0), **dict.fromkeys(range(day, 30), 500.0)}
        adjusted = always(500.0)
        carried = carry_forward(before, orders, FILL, history({"13010": close}, {"13010": adjusted}), DAYS[9])
        assert {value.book.portfolio_value_jpy for value in carried.days} == {100_000.0}, day
        assert carried.book.positions["13010"].shares == 200.0
        assert [entry.session for entry in carried.days if entry.split_codes] == [DAYS[day]]


def test_a_stock_that_splits_while_it_is_suspended_keeps_its_value() -> None:
    before, orders = held()
    close = {0: 1000.0, 1: 1000.0, 2: 1000.0, 8: 480.0, 9: 490.0}
    prices = history({"13010": close, "99990": always(1.0)}, {"13010": {0: 500.0, 1: 500.0, 2: 500.0}})
    carried = carry_forward(before, orders, FILL, prices, DAYS[9])
    values = [day.book.portfolio_value_jpy for day in carried.days]
    assert values == [100_000.0] * 7 + [96_000.0, 98_000.0]


def test_shares_of_a_company_whose_code_another_one_has_keep_their_last_price() -> None:
    before, orders = held()
    prices = history(
        {"13010": {0: 1000.0, 1: 1000.0, **dict.fromkeys(range(25, 30), 7000.0)}, "99990": always(1.0)}
    )
    known = {"13010": DAYS[25], "99990": DAYS[3]}
    carried = carry_forward(before, orders, FILL, prices, DAYS[29], new_histories=known)
    assert {day.book.portfolio_value_jpy for day in carried.days} == {100_000.0}
    assert carried.days[-1].delisted == carried.replaced == ("13010",)
    # Shares that were bought of the new company are its own.
    carried = carry_forward(before, orders, FILL, prices, DAYS[29], new_histories={"13010": AS_OF})
    assert carried.book.portfolio_value_jpy == 700_000.0
    assert carried.replaced == ()


@pytest.mark.parametrize("unit", [100.0, 0.01])
def test_an_adjusted_close_that_changes_its_unit_is_refused(unit: float) -> None:
    # Taken for a split, it would make a hundred times the money, or a hundredth.
    before, orders = held()
    adjusted = dict.fromkeys(range(5), 1000.0) | dict.fromkeys(range(5, 30), 1000.0 * unit)
    prices = history({"13010": always(1000.0)}, {"13010": adjusted})
    assert carry_forward(before, orders, FILL, prices, DAYS[4]).book.portfolio_value_jpy == 100_000.0
    with pytest.raises(Refusal, match="a split does not fit the closes") as refused:
        carry_forward(before, orders, FILL, prices, DAYS[9])
    assert "13010" in refused.value.where
    assert str(DAYS[5]) in refused.value.where


def test_a_large_split_with_a_large_move_is_none_of_that() -> None:
    before, orders = held()
    close = {**always(1000.0), **dict.fromkeys(range(5, 30), 4.0)}
    prices = history({"13010": close}, {"13010": always(10.0) | dict.fromkeys(range(5, 30), 4.0)})
    carried = carry_forward(before, orders, FILL, prices, DAYS[9])
    assert carried.book.positions["13010"].shares == 10_000.0
    assert carried.book.portfolio_value_jpy == pytest.approx(40_000.0)


def test_a_dividend_is_cash_for_those_who_held_over_night() -> None:
    for day in (1, 4):
        before, orders = held()
        close = {**always(1000.0), **dict.fromkeys(range(day, 30), 990.0)}
        adjusted = {**always(990.0)}
        carried = carry_forward(before, orders, FILL, history({"13010": close}, {"13010": adjusted}), DAYS[6])
        assert carried.book.cash_jpy == pytest.approx(1000.0, rel=1e-9)
        assert carried.book.portfolio_value_jpy == pytest.approx(100_000.0, rel=1e-12)
        (paid,) = [entry for entry in carried.days if entry.dividends_jpy]
        assert (paid.session, paid.dividends_jpy) == (DAYS[day], pytest.approx(1000.0, rel=1e-9))


def test_a_buyer_at_the_close_of_the_ex_date_gets_no_dividend() -> None:
    before = book(1_000_000.0)
    orders = ordered(before, {"13010": 1.0}, {"13010": 1000.0})
    close = {0: 1000.0, **dict.fromkeys(range(1, 30), 990.0)}
    carried = carry_forward(
        before, orders, FILL, history({"13010": close}, {"13010": always(990.0)}), DAYS[4]
    )
    assert [day.dividends_jpy for day in carried.days] == [0.0] * 4


def test_without_closes_of_the_fill_day_the_estimate_counts() -> None:
    before = book(1_000_000.0)
    orders = ordered(before, {"13010": 1.0}, {"13010": 1000.0})
    close = always(1000.0)
    del close[1]
    carried = carry_forward(before, orders, FILL, history({"13010": close}), DAYS[3])
    assert carried.fills is None
    assert [day.session for day in carried.days] == [DAYS[2], DAYS[3]]
    assert carried.book.positions == orders.book.mark({"13010": 1000.0}, DAYS[3]).positions


def test_a_delisted_name_counts_as_cash_at_its_last_price_and_comes_back_if_it_does() -> None:
    before, orders = held()
    close = {number: 1000.0 + number for number in range(6)} | {29: 700.0}
    prices = history({"13010": close, "99990": always(1.0)})
    carried = carry_forward(before, orders, FILL, prices, DAYS[29])
    gone = [day for day in carried.days if day.delisted]
    assert [day.session for day in gone] == DAYS[5 + DELISTED_AFTER_SESSIONS : 29]
    for day in gone:
        assert day.delisted == ("13010",)
        assert (day.book.cash_jpy, day.cash_jpy) == (0.0, 100_500.0)
        assert day.book.portfolio_value_jpy == 100_500.0
    assert carried.days[-1].book.portfolio_value_jpy == 70_000.0


def test_a_listed_stock_that_does_not_trade_is_not_delisted() -> None:
    before, orders = held()
    close = {0: 1000.0} | dict.fromkeys(range(1, 30), -1.0)  # rows without a price
    carried = carry_forward(before, orders, FILL, history({"13010": close, "99990": always(1.0)}), DAYS[29])
    assert {day.delisted for day in carried.days} == {()}
    assert carried.book.stale_codes == ("13010",)


def test_what_comes_after_is_not_looked_at() -> None:
    before, orders = held()
    plain = history({"13010": always(1000.0)})
    wild = history({"13010": {**always(1000.0), **dict.fromkeys(range(11, 30), 5.0)}})
    assert carry_forward(before, orders, FILL, plain, DAYS[10]) == carry_forward(
        before, orders, FILL, wild, DAYS[10]
    )


def test_one_step_or_many_lead_to_the_same_book() -> None:
    before = book(500_000.0, A13010=(100.0, 1000.0))
    orders = ordered(before, {"13010": 0.4, "13020": 0.6}, {"13010": 1000.0, "13020": 500.0})
    prices = history(
        {
            "13010": {number: 1000.0 + 7 * number for number in range(30)},
            "13020": {number: 500.0 - 3 * number for number in range(0, 30, 2)},
        }
    )
    whole = carry_forward(before, orders, FILL, prices, DAYS[20])
    for until in range(1, 20):
        part = carry_forward(before, orders, FILL, prices, DAYS[until])
        assert part.days == whole.days[:until]


def test_the_fill_day_of_today_needs_no_later_price() -> None:
    before, orders = held()
    carried = carry_forward(before, orders, FILL, history({"13010": always(1000.0)}), FILL)
    assert [day.session for day in carried.days] == [FILL]
    assert dt.date.fromisoformat(str(carried.book.as_of)) == FILL
