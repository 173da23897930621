"""The capped policy keeps every promise in any market, and says where it could not hold top_k names."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.market.costs import CostModel
from apex_tasks.portfolio.book import Book, Position
from apex_tasks.portfolio.capped import capped_rebalance
from apex_tasks.portfolio.orders import Side, settle
from apex_tasks.portfolio.selection import Candidates
from apex_tasks.portfolio.weights import Note
from apex_tasks.refusal import Refusal
from apex_tasks.settings import PortfolioSettings

COSTS = CostModel()
FRIDAY, TUESDAY = dt.date(2025, 10, 31), dt.date(2025, 11, 4)


def _candidates(scores: dict[str, float]) -> Candidates:
    best_first = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    n = len(best_first)
    codes, values = zip(*best_first, strict=True) if best_first else ((), ())
    return Candidates(codes, values, n, n, n, fallback=True, threshold=None)


def _names(prefix: int, n: int) -> list[str]:
    return [f"{prefix}{i:03d}0" for i in range(n)]


def _book(shares: dict[str, float], price: float, cash: float = 0.0) -> Book:
    held = {
        code: Position(shares=number, last_price_jpy=price, price_date=FRIDAY)
        for code, number in shares.items()
    }
    return Book.of(rebalance_date=None, as_of=FRIDAY, cash_jpy=cash, positions=held)


def _rebalance(book, ranked, *, top_k, price=500.0, close=None, adv=None, **changes):
    """`ranked`: codes, best first, far enough apart that no penalty reorders them."""
    scores = {code: 1.0 - i / 10 for i, code in enumerate(ranked)}
    codes = [*ranked, *book.positions]
    close = dict.fromkeys(codes, price) if close is None else close
    adv = dict.fromkeys(codes, 1e9) if adv is None else adv
    chosen = PortfolioSettings(**changes)
    return capped_rebalance(book, _candidates(scores), close, adv, chosen, top_k, COSTS, TUESDAY)


def test_the_first_build_holds_top_k_names_in_whole_lots():
    target, orders = _rebalance(Book.cold(1e7, FRIDAY), _names(1, 53), top_k=35)
    assert list(target.weights) == _names(1, 35)
    assert {order.shares % 100 for order in orders.rows} == {0}
    assert orders.turnover > 0.35
    assert target.notes == (Note.FIRST_BUILD,)
    assert 0 <= orders.book.cash_jpy < 0.15 * 1e7


def test_full_churn_swaps_what_the_turnover_limit_allows_and_the_book_does_not_grow():
    """Ten positions of 10 %: a swap turns over 10 %, so three fit into 35 %."""
    book = _book(dict.fromkeys(_names(1, 10), 2_000), 500, cash=100_000)
    target, orders = _rebalance(book, _names(2, 15), top_k=10)
    assert [code for code in target.weights if code[0] == "2"] == _names(2, 3)
    assert len(target.weights) == 10
    assert orders.turnover == pytest.approx(0.3, abs=0.01)
    assert target.dropped_turnover == tuple(_names(2, 10)[3:])
    assert target.notes == ()


def test_the_worst_held_names_leave_first():
    held = _names(1, 4)
    book = _book(dict.fromkeys(held, 500), 500, cash=10_000)
    ranked = ["99990", "99980", held[1], held[3], held[0], held[2]]
    target, _ = _rebalance(book, ranked, top_k=4, turnover_limit=0.3)
    assert set(target.weights) == {*held, "99990"} - {held[2]}


def test_a_newcomer_never_replaces_a_better_name():
    book = _book({"1": 1_000, "2": 1_000}, 500, cash=10_000)
    volumes = {"1": 1e9, "2": 1e9, "4": 1e9}
    target, _ = _rebalance(book, ["3", "1", "2", "4"], top_k=2, adv=volumes, turnover_limit=0)
    assert list(target.weights) == ["1", "2"]


def test_orders_are_made_at_the_given_closes():
    book = _book({"1": 1_000, "2": 1_000}, 500, cash=10_000)
    _, orders = _rebalance(book, ["1", "3"], top_k=2, price=400.0, turnover_limit=0)
    assert orders.portfolio_value_jpy == 810_000
    assert {order.price_jpy for order in orders.rows} == {400.0}


def test_a_name_among_the_best_top_k_is_not_swapped_out():
    held = _names(1, 4)
    book = _book(dict.fromkeys(held, 500), 500, cash=10_000)
    _, orders = _rebalance(book, [*held, *_names(2, 4)], top_k=4)
    assert orders.rows == ()


def test_a_book_of_too_many_names_shrinks_within_the_limit():
    book = _book(dict.fromkeys(_names(1, 77), 200), 500)
    target, orders = _rebalance(book, _names(1, 53), top_k=35)
    assert orders.turnover <= 0.35
    assert 35 <= len(target.weights) < 77
    target, orders = _rebalance(orders.book, _names(1, 53), top_k=35)
    assert list(target.weights) == _names(1, 35)
    assert target.notes == ()


def test_drifted_positions_return_to_their_slot():
    book = _book({"1": 1_500, "2": 500, "3": 1_000}, 500, cash=5_000)
    _, orders = _rebalance(book, ["1", "2", "3"], top_k=3)
    assert {code: held.shares for code, held in orders.book.positions.items()} == dict.fromkeys("123", 1_000)


def test_the_last_lot_is_not_trimmed():
    book = _book({"1": 100, "2": 100}, 5_000, cash=0).mark({"1": 50_000.0, "2": 100.0}, FRIDAY)
    close = {"1": 50_000.0, "2": 100.0}
    _, orders = _rebalance(book, ["1", "2"], top_k=20, close=close, turnover_limit=0)
    assert orders.book.positions["1"].shares == 100


@pytest.mark.parametrize("adv", [None, math.nan, 0.0, 20 * 49_999.0])
def test_a_name_of_small_or_unknown_volume_gives_its_place_to_the_next(adv):
    volumes = dict.fromkeys(_names(1, 10), 1e9) | {"10000": adv}
    target, _ = _rebalance(Book.cold(1e6, FRIDAY), _names(1, 10), top_k=5, adv=volumes)
    assert list(target.weights) == _names(1, 6)[1:]


def test_a_share_too_dear_for_a_lot_gives_its_place_to_the_next():
    close = dict.fromkeys(_names(1, 10), 500.0) | {"10010": 2_001.0}
    target, _ = _rebalance(Book.cold(1e6, FRIDAY), _names(1, 10), top_k=5, close=close)
    assert list(target.weights) == ["10000", *_names(1, 6)[2:]]
    assert target.dropped_turnover == ("10010",)


def test_a_position_too_big_for_one_exit_leaves_in_steps():
    book = _book({"1": 2_000, "2": 2_000}, 500, cash=10_000)
    volumes = {"1": 1e9, "2": 20 * 250_000.0, "3": 1e9}
    shares = []
    for _ in range(4):
        _, orders = _rebalance(book, ["1", "3"], top_k=2, adv=volumes, turnover_limit=0)
        book = orders.book
        shares.append({code: held.shares for code, held in book.positions.items()}.get("2", 0))
    assert shares == [1_500, 1_000, 500, 0]
    assert set(book.positions) == {"1", "3"}


def test_an_exit_sells_what_a_split_left_over():
    book = _book({"1": 1_000, "2": 1_025}, 500, cash=10_000)
    _, orders = _rebalance(book, ["1", "3"], top_k=2, turnover_limit=0)
    assert [(o.code, o.shares) for o in orders.rows if o.side is Side.SELL] == [("2", 1_025)]


def test_a_stock_without_close_is_not_traded():
    book = _book({"1": 1_000, "2": 1_000}, 500, cash=10_000)
    target, orders = _rebalance(book, ["1", "3"], top_k=2, close={"1": 500.0, "3": 500.0}, turnover_limit=0)
    assert orders.rows == ()
    assert list(target.weights) == ["1", "2"]


def test_too_few_names_are_reported():
    target, _ = _rebalance(Book.cold(1e6, FRIDAY), _names(1, 3), top_k=5)
    assert target.notes == (Note.FEWER_NAMES,)
    assert len(target.weights) == 3


def test_too_many_names_are_reported():
    book = _book(dict.fromkeys(_names(1, 10), 1_000), 500)
    target, _ = _rebalance(book, _names(1, 5), top_k=5, turnover_limit=0.01)
    assert target.notes == (Note.MORE_NAMES,)


def test_borrowed_cash_is_paid_back_first():
    book = _book({"1": 1_000, "2": 1_000}, 500, cash=-20_000)
    _, orders = _rebalance(book, ["1", "3"], top_k=2, turnover_limit=0)
    assert orders.book.cash_jpy >= 0
    stuck, _ = _rebalance(book, ["1", "2"], top_k=2)
    assert stuck.notes == (Note.NEGATIVE_CASH,)
    deep = _book({"1": 1_000, "2": 1_000}, 500, cash=-700_000)
    target, orders = _rebalance(deep, ["1", "2"], top_k=2)
    assert {order.side for order in orders.rows} == {Side.SELL}
    assert -700_000 < orders.book.cash_jpy < 0
    assert target.notes == (Note.NEGATIVE_CASH,)


def test_no_candidate_is_refused():
    with pytest.raises(Refusal, match="no stock may enter"):
        _rebalance(Book.cold(1e6, FRIDAY), [], top_k=5)


@st.composite
def _years(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 40))
    codes = [f"{code:04d}0" for code in random.permutation(9000)[:n] + 1000]
    price, months = random.lognormal(7, 1, n), []
    for _ in range(6):
        price = price * random.lognormal(0, 0.15, n)
        close = np.where(random.random(n) < 0.05, np.nan, price)
        adv = np.where(random.random(n) < 0.05, random.choice([np.nan, 0.0], n), random.lognormal(17, 2.5, n))
        months.append((random.normal(0, 0.02, n).astype(np.float32), close, adv))
    limit = draw(st.sampled_from([0.0, 0.1, 0.35, 1.0]))
    return codes, months, draw(st.integers(1, 12)), draw(st.sampled_from([4e5, 1e7, 3e9])), limit


@settings(max_examples=40)
@given(_years())
def test_every_promise_is_kept(year):
    codes, months, top_k, capital, limit = year
    book = Book.cold(capital, dt.date(2025, 1, 1))
    portfolio = PortfolioSettings(turnover_limit=limit)
    for month, (scores, close, adv) in enumerate(months, start=1):
        closes = {code: price for code, price in zip(codes, close.tolist(), strict=True) if price == price}
        volumes = dict(zip(codes, adv.tolist(), strict=True))
        scored = {c: s for c, s in zip(codes, scores.tolist(), strict=True) if c in closes}
        if not scored:
            continue
        book = book.mark(closes, dt.date(2025, month, 1))
        target, orders = capped_rebalance(
            book, _candidates(scored), closes, volumes, portfolio, top_k, COSTS, book.as_of
        )

        assert orders.book.cash_jpy >= 0
        if limit and book.positions:
            assert orders.turnover <= limit + 1e-12
            assert Note.FIRST_BUILD not in target.notes
        for order in orders.rows:
            assert order.code in closes
            assert order.adv_share <= 0.05 + 1e-12
            assert order.shares % 100 == 0
        names = len(orders.book.positions)
        assert names <= max(top_k, len(book.positions))
        assert (Note.FEWER_NAMES in target.notes) == (names < top_k)
        assert (Note.MORE_NAMES in target.notes) == (names > top_k)
        assert dict(target.weights) == pytest.approx(
            {c: p.value_jpy / orders.portfolio_value_jpy for c, p in orders.book.positions.items()}, rel=1e-12
        )
        assert target.turnover == pytest.approx(orders.turnover, rel=1e-9, abs=1e-12)
        filled = settle(book, orders, closes, book.as_of, {}, volumes, COSTS)
        assert [order.shares for order in filled.rows] == [order.shares for order in orders.rows]
        book = orders.book
