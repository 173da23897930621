"""Orders and their settlement: money is conserved, missing prices are listed, a year like the oracle's."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.support.oracle_portfolio as oracle
from apex_tasks.market.costs import CostModel
from apex_tasks.portfolio.book import Book, Position
from apex_tasks.portfolio.orders import Orders, Side, estimate_orders, settle
from apex_tasks.portfolio.selection import select_candidates
from apex_tasks.portfolio.weights import target_weights
from apex_tasks.refusal import Refusal
from apex_tasks.settings import PortfolioSettings

COSTS = CostModel()
FRIDAY, TUESDAY = dt.date(2025, 10, 31), dt.date(2025, 11, 4)


def _book(cash: float, **shares_at_price: tuple[float, float]) -> Book:
    return Book.of(
        rebalance_date=None,
        as_of=FRIDAY,
        cash_jpy=cash,
        positions={
            code[1:]: Position(shares=shares, last_price_jpy=price, price_date=FRIDAY)
            for code, (shares, price) in shares_at_price.items()
        },
    )


def _orders(book: Book, target, close, adv=None) -> Orders:
    return estimate_orders(book, target, close, adv or {}, COSTS, TUESDAY)


def _settle(book: Book, orders: Orders, close, factor=None, adv=None) -> Orders:
    return settle(book, orders, close, TUESDAY, factor or {}, adv or {}, COSTS)


def test_the_first_build():
    codes = [f"{i:04d}0" for i in range(35)]
    target = dict.fromkeys(codes, 1 / 35)
    orders = _orders(Book.cold(1e7, FRIDAY), target, dict.fromkeys(codes, 1_000.0), dict.fromkeys(codes, 1e9))
    first = orders.rows[0]
    assert (first.code, first.side, first.price_jpy, first.adv_jpy) == ("00000", Side.BUY, 1_000, 1e9)
    assert first.shares == pytest.approx(1e4 / 35)
    assert first.adv_share == pytest.approx(1e7 / 35 / 1e9)
    assert first.cost_bps == pytest.approx(10.528571, abs=1e-6)
    assert (first.weight_before, first.weight_after) == (0.0, pytest.approx(1 / 35))
    assert orders.turnover == pytest.approx(0.5, rel=1e-12)
    assert orders.cost_bps == pytest.approx(10.528571, abs=1e-6)
    assert orders.book.cash_jpy == pytest.approx(-orders.total_cost_jpy)
    assert orders.book.rebalance_date == TUESDAY
    assert orders.book.as_of == FRIDAY


@pytest.mark.parametrize("price", [3.0, 7.0, 33.3, 0.1])
def test_half_of_ten_million_is_in_the_first_commission_tier(price):
    orders = _orders(Book.cold(1e7, FRIDAY), {"1": 0.5}, {"1": price})
    assert (orders.rows[0].value_jpy, orders.rows[0].commission_jpy) == (5e6, 550)


def test_a_position_without_target_is_closed():
    orders = _orders(_book(0, c1=(100, 50), c2=(50, 100)), {"2": 1.0}, {"1": 50.0, "2": 100.0})
    assert [(o.code, o.side, o.shares, o.value_jpy) for o in orders.rows] == [
        ("2", Side.BUY, 50, 5_000),
        ("1", Side.SELL, 100, 5_000),
    ]
    assert list(orders.book.positions) == ["2"]
    assert orders.turnover == 0.5


def test_what_would_be_left_as_dust_is_sold_too():
    book = _book(0, c1=(1.0, 50), c2=(1e4, 100))
    keep = 5e-7 * 50 / book.portfolio_value_jpy
    orders = _orders(book, {"1": keep, "2": 1.0}, {"1": 50.0, "2": 100.0})
    assert (orders.rows[-1].shares, orders.rows[-1].value_jpy) == (1.0, 50.0)
    assert "1" not in orders.book.positions


def test_a_small_buy_of_a_dear_share_is_no_dust():
    orders = _orders(Book.cold(1e7, FRIDAY), {"1": 2e-6}, {"1": 1e8})
    assert [order.value_jpy for order in orders.rows] == [20.0]


def test_orders_are_made_at_the_given_closes():
    orders = _orders(_book(0, c1=(100, 50)), {"1": 0.5}, {"1": 80.0})
    assert (orders.portfolio_value_jpy, orders.rows[0].value_jpy) == (8_000, 4_000)


@pytest.mark.parametrize(("change", "traded"), [(9e-7, 0), (-9e-7, 0), (1.1e-6, 1), (-1.1e-6, 1)])
def test_the_least_weight_changes_are_not_traded(change, traded):
    orders = _orders(_book(5_000, c1=(100, 50)), {"1": 0.5 + change}, {"1": 50.0})
    assert len(orders.rows) == traded


@pytest.mark.parametrize("price", [None, math.nan, 0.0])
def test_a_missing_price_skips_the_buy_and_sells_at_the_last(price):
    close = {"2": 100.0} if price is None else dict.fromkeys("1345", price) | {"2": 100.0}
    book = _book(0, c1=(100, 50), c3=(40, 50), c2=(10, 100)).mark({}, FRIDAY)
    book = book.mark({"2": 100.0}, TUESDAY)
    orders = _orders(book, {"2": 0.2, "3": 0.5, "4": 0.2}, close)
    assert orders.unpriced_buys == ("3", "4")
    assert orders.stale_sells == ("1",)
    sold = next(order for order in orders.rows if order.code == "1")
    assert (sold.price_jpy, sold.value_jpy) == (50, 5_000)
    assert list(orders.book.positions) == ["2", "3"]


def test_a_stale_position_that_is_cut_keeps_its_price_date():
    book = _book(0, c1=(100, 50)).mark({}, TUESDAY)
    left = _orders(book, {"1": 0.5}, {}).book.positions["1"]
    assert (left.shares, left.price_date) == (50, FRIDAY)


@pytest.mark.parametrize("adv", [None, math.nan, 0.0, -1.0])
def test_an_unknown_volume_stays_unknown(adv):
    order = _orders(Book.cold(1e6, FRIDAY), {"1": 1.0}, {"1": 50.0}, {"1": adv}).rows[0]
    assert (order.adv_jpy, order.adv_share) == (None, None)
    assert order.slippage_jpy == pytest.approx(1e6 * 6e-4)


def test_nothing_to_do_costs_nothing():
    orders = _orders(_book(0, c1=(100, 50)), {"1": 1.0}, {"1": 50.0})
    assert (orders.rows, orders.total_cost_jpy, orders.cost_bps, orders.turnover) == ((), 0, 0, 0)


def test_a_worthless_book_is_refused():
    with pytest.raises(Refusal, match="worth nothing"):
        _orders(_book(-5_000, c1=(100, 50)), {"1": 1.0}, {"1": 50.0})


def test_orders_survive_json():
    orders = _orders(_book(0, c1=(100, 50)), {"2": 1.0}, {"1": 50.0, "2": 7.0}, {"2": 1e8})
    assert Orders.model_validate_json(orders.model_dump_json()) == orders


def test_fills_at_the_prices_of_the_orders_are_the_orders():
    book = _book(1e5, c1=(100, 50), c2=(30, 2_000))
    close, adv = {"1": 50.0, "2": 2_000.0, "3": 10.0}, {"1": 1e6, "3": 2e7}
    orders = _orders(book, {"2": 0.5, "3": 0.5}, close, adv)
    filled = settle(book, orders, close, FRIDAY, {}, adv, COSTS)
    for order, fill in zip(orders.rows, filled.rows, strict=True):
        assert (fill.code, fill.side, fill.shares) == (order.code, order.side, order.shares)
        assert fill.cost_jpy == pytest.approx(order.cost_jpy, rel=1e-12)
    assert filled.book.weights() == pytest.approx(orders.book.weights(), rel=1e-12)
    assert (filled.turnover, filled.cost_bps) == pytest.approx((orders.turnover, orders.cost_bps), rel=1e-12)


def test_ordered_shares_trade_at_the_close_of_the_fill_day():
    book = _book(10_000, c1=(100, 50))
    orders = _orders(book, {"2": 0.4}, {"1": 50.0, "2": 100.0})
    filled = _settle(book, orders, {"1": 60.0, "2": 90.0}, adv={"2": 1e6})
    buy, sell = filled.rows
    assert (buy.shares, buy.value_jpy) == (60, 5_400)
    assert (sell.shares, sell.value_jpy) == (100, 6_000)
    assert buy.cost_jpy == pytest.approx(55 + 5_400 * (5 + 100 * 5_400 / 1e6) / 1e4)
    assert filled.portfolio_value_jpy == 16_000
    assert filled.turnover == 11_400 / 16_000 / 2
    assert filled.book.cash_jpy == pytest.approx(10_600 - filled.total_cost_jpy)
    assert filled.cost_bps == pytest.approx(filled.total_cost_jpy / 16_000 * 1e4)
    assert (filled.book.as_of, filled.book.rebalance_date) == (TUESDAY, TUESDAY)


def test_without_a_close_a_buy_is_not_filled_and_a_sell_is_at_the_last_price():
    book = _book(10_000, c1=(100, 50))
    orders = _orders(book, {"2": 0.4}, {"1": 50.0, "2": 100.0})
    filled = _settle(book, orders, {"1": math.nan})
    assert (filled.unpriced_buys, filled.stale_sells) == (("2",), ("1",))
    assert [(o.code, o.value_jpy) for o in filled.rows] == [("1", 5_000)]
    assert filled.book.positions == {}


def test_a_split_between_order_and_fill_changes_no_money():
    book = _book(10_000, c1=(100, 50))
    orders = _orders(book, {"1": 0.1, "2": 0.4}, {"1": 50.0, "2": 100.0})
    plain = _settle(book, orders, {"1": 60.0, "2": 90.0})
    split = _settle(book, orders, {"1": 30.0, "2": 900.0}, factor={"1": 2.0, "2": 0.1})
    assert split.book.cash_jpy == pytest.approx(plain.book.cash_jpy)
    assert split.book.weights() == pytest.approx(plain.book.weights())
    assert split.book.positions["1"].shares == pytest.approx(2 * plain.book.positions["1"].shares)
    assert split.book.positions["2"].shares == pytest.approx(plain.book.positions["2"].shares / 10)


def test_selling_what_is_not_held_is_refused():
    orders = _orders(_book(0, c1=(100, 50)), {}, {"1": 50.0})
    for other in (_book(5_000), _book(0, c1=(99, 50))):
        with pytest.raises(Refusal, match="more shares than are held"):
            _settle(other, orders, {"1": 50.0})


@st.composite
def _years(draw):
    """Twelve months of a small market: ties, gaps in closes and volumes, names that come and go."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(3, 70))
    levels = draw(st.sampled_from([5, 50, 10**6]))
    churn = draw(st.sampled_from([0.0, 0.5, 1.0]))
    codes = [f"{code:04d}0" for code in random.permutation(9000)[:n] + 1000]
    price, scores, months = random.uniform(100, 9_000, n), random.normal(size=n), []
    for _ in range(12):
        price = price * random.lognormal(0, 0.1, n)
        scores = (1 - churn) * scores + churn * random.normal(size=n)
        tied = (np.round(scores * levels) / levels * 0.01).astype(np.float32)
        close = np.where(random.random(n) < 0.05, np.nan, price)
        adv = np.where(random.random(n) < 0.1, random.choice([np.nan, 0.0], n), random.lognormal(17, 2, n))
        months.append((tied, close, adv))
    return codes, months, draw(st.integers(1, 20)), draw(st.sampled_from([1_234_567.0, 9_876_543.0, 1.1e9]))


@settings(max_examples=40)
@given(_years())
def test_a_year_agrees_with_the_oracle(year):
    codes, months, top_k, capital = year
    portfolio = PortfolioSettings()
    gate = {"top_k": top_k, "multiplier": 2.0, "k_ratio": 0.6, "k_min": math.ceil(1.5 * top_k)}
    book, account = Book.cold(capital, dt.date(2025, 1, 1)), oracle.Account(capital)
    for month, (scores, close, adv) in enumerate(months, start=1):
        closes = {c: p for c, p in zip(codes, close.tolist(), strict=True) if p == p}
        volumes = dict(zip(codes, adv.tolist(), strict=True))

        book = book.mark(closes, dt.date(2025, month, 1))
        assert book.portfolio_value_jpy == pytest.approx(account.value(closes), rel=1e-9)
        chosen = select_candidates(codes, scores, close, **gate)
        kept, _, _ = oracle.candidates(dict(zip(codes, scores.tolist(), strict=True)), closes, *gate.values())
        assert list(zip(chosen.codes, chosen.scores, strict=True)) == kept
        if not kept:
            continue
        target = target_weights(
            chosen, book.weights(), book.portfolio_value_jpy, volumes, portfolio, top_k, COSTS
        )
        expected, notes = oracle.weights(
            kept, account.weights(closes), account.value(closes), volumes, portfolio, top_k
        )
        assert dict(target.weights) == pytest.approx(expected, rel=1e-9, abs=0)
        assert list(target.notes) == notes

        before = book
        orders = estimate_orders(book, target.weights, closes, volumes, COSTS, book.as_of)
        value = account.value(closes)
        trades, paid, turnover, skipped = account.rebalance(expected, closes, volumes)
        signed = {o.code: o.value_jpy if o.side is Side.BUY else -o.value_jpy for o in orders.rows}
        assert signed == pytest.approx(trades, rel=1e-9, abs=1e-9 * value)
        assert list(orders.unpriced_buys) == skipped
        assert orders.total_cost_jpy == pytest.approx(paid, rel=1e-9, abs=1e-9)
        assert orders.turnover == pytest.approx(turnover, rel=1e-9, abs=1e-12)
        assert orders.cost_bps == pytest.approx(paid / value * 1e4, rel=1e-9, abs=1e-9)
        book = orders.book
        assert book.cash_jpy == pytest.approx(account.cash, rel=1e-9, abs=1e-9 * value)
        assert {c: p.shares for c, p in book.positions.items()} == pytest.approx(account.shares, rel=1e-9)
        # Trading moves money about and loses the costs, nothing else.
        assert book.portfolio_value_jpy + orders.total_cost_jpy == pytest.approx(value, rel=1e-12)
        filled = settle(before, orders, closes, before.as_of, {}, volumes, COSTS)
        assert filled.book.weights() == pytest.approx(book.weights(), rel=1e-9)
        assert filled.total_cost_jpy == pytest.approx(orders.total_cost_jpy, rel=1e-9)
