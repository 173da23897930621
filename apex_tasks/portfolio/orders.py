"""From target weights to orders, and from orders to what was really traded."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from enum import StrEnum

import numpy as np

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.costs import BPS, CostModel
from apex_tasks.portfolio.book import Book, Position, is_price
from apex_tasks.refusal import Refusal

MIN_WEIGHT_CHANGE = 1e-6
MIN_SHARES = 1e-6
"""A position that would keep no more shares than this is closed."""


class Side(StrEnum):
    """Direction of an order."""

    BUY = "BUY"
    SELL = "SELL"


class Order(FrozenModel):
    """A trade of one stock, estimated or done.

    Parameters
    ----------
    code, side
        What is traded, in which direction.
    shares
        Number of shares, above 0.
    price_jpy
        Close in JPY per share at which the trade is estimated.
    value_jpy
        Shares times price.
    adv_jpy
        Daily volume in JPY, None if unknown.
    adv_share
        Value as a fraction of the daily volume, None if unknown.
    commission_jpy, slippage_jpy, cost_jpy, cost_bps
        Cost in JPY (the last is the sum of the others) and in bps of the value.
    weight_before, weight_after
        Position before and after the trade, both as fractions of the portfolio before trading.
    """

    code: str
    side: Side
    shares: float
    price_jpy: float
    value_jpy: float
    adv_jpy: float | None
    adv_share: float | None
    commission_jpy: float
    slippage_jpy: float
    cost_jpy: float
    cost_bps: float
    weight_before: float
    weight_after: float


class Orders(FrozenModel):
    """Trades of one rebalance and the book they lead to.

    Parameters
    ----------
    as_of
        Session at whose closes the trades are estimated.
    rows
        The trades, buys before sells, by Code.
    unpriced_buys
        Codes that should have been bought but have no price.
    stale_sells
        Codes sold at an older price, because there is none of `as_of`.
    portfolio_value_jpy
        Cash and positions before trading.
    total_cost_jpy
        Sum of the costs, taken out of the cash.
    cost_bps
        Total cost in bps of the portfolio before trading.
    turnover
        Half the traded value as a fraction of the portfolio before trading.
    book
        The book after trading.
    """

    as_of: dt.date
    rows: tuple[Order, ...]
    unpriced_buys: tuple[str, ...]
    stale_sells: tuple[str, ...]
    portfolio_value_jpy: float
    total_cost_jpy: float
    cost_bps: float
    turnover: float
    book: Book


def estimate_orders(
    book: Book,
    target_weights: Mapping[str, float],
    close_jpy: Mapping[str, float],
    adv_jpy: Mapping[str, float | None],
    costs: CostModel,
    rebalance_date: dt.date,
) -> Orders:
    """Orders that bring the book to its target weights, at the closes of the book's session.

    Sizes are fractions of the portfolio before costs; costs leave the cash. Weight changes below 1e-6 are not
    traded. A buy needs a close of the session; a sell without one happens at the last known price.

    Parameters
    ----------
    book
        Current book, marked at the as-of session.
    target_weights
        Code -> weight; a code that is missing is sold.
    close_jpy
        Code -> close of the as-of session, JPY per share.
    adv_jpy
        Code -> daily volume, JPY; missing, None, NaN, 0 or less is unknown.
    costs
        Cost model.
    rebalance_date
        Day of the rebalance, the `rebalance_date` of the resulting book.

    Raises
    ------
    Refusal
        The book is worth nothing.
    """
    book = book.mark(close_jpy, book.as_of)
    weights = book.weights()
    value: dict[str, float] = {}
    shares: dict[str, float] = {}
    unpriced: list[str] = []
    for code in sorted(weights.keys() | target_weights.keys()):
        target = target_weights.get(code, 0.0)
        change = target - weights.get(code, 0.0)
        if abs(change) < MIN_WEIGHT_CHANGE:
            continue
        if change > 0 and not is_price(close_jpy.get(code)):
            unpriced.append(code)
            continue
        price = _price(code, book, close_jpy)
        value[code] = target * book.portfolio_value_jpy - _held(code, book) * price
        shares[code] = value[code] / price
    return trade(book, shares, value, tuple(unpriced), close_jpy, adv_jpy, costs, rebalance_date)


def settle(
    book: Book,
    orders: Orders,
    close_jpy: Mapping[str, float],
    fill_date: dt.date,
    share_factor: Mapping[str, float],
    adv_jpy: Mapping[str, float | None],
    costs: CostModel,
) -> Orders:
    """Orders as they were filled: the ordered numbers of shares at the closes of the fill day.

    A buy of a stock without a close that day is not filled; a sell of one happens at its last known price.

    Parameters
    ----------
    book
        The book from which the orders were made.
    orders
        The orders.
    close_jpy
        Code -> close of the fill day, JPY per share.
    fill_date
        Session of the fill.
    share_factor
        Code -> new shares per old share since the orders were made (see `Book.roll`); applied to the book
        and to the orders.
    adv_jpy
        Code -> daily volume, JPY; missing, None, NaN, 0 or less is unknown.
    costs
        Cost model.

    Returns
    -------
    Orders
        Trades, costs and book at the closes of `fill_date`.

    Raises
    ------
    Refusal
        An order sells more shares than are held, the fill day is earlier than the book's, or the book is worth
        nothing.
    """
    book = book.roll(share_factor).mark(close_jpy, fill_date)
    shares: dict[str, float] = {}
    unpriced: list[str] = []
    for order in sorted(orders.rows, key=lambda order: order.code):
        ordered = order.shares * share_factor.get(order.code, 1.0)
        if order.side is Side.BUY and not is_price(close_jpy.get(order.code)):
            unpriced.append(order.code)
        elif order.side is Side.SELL and ordered > _held(order.code, book) + MIN_SHARES:
            raise Refusal(
                "an order sells more shares than are held",
                expected=f"at most {_held(order.code, book)} shares",
                received=ordered,
                where=f"order of {order.code}, book of {orders.as_of}",
                remedy="Settle against the book the orders were made from, with the right share factors.",
            )
        else:
            shares[order.code] = ordered if order.side is Side.BUY else -ordered
    value = {code: number * _price(code, book, close_jpy) for code, number in shares.items()}
    return trade(book, shares, value, tuple(unpriced), close_jpy, adv_jpy, costs, orders.book.rebalance_date)


def trade(
    book: Book,
    shares: Mapping[str, float],
    value_jpy: Mapping[str, float],
    unpriced_buys: tuple[str, ...],
    close_jpy: Mapping[str, float],
    adv_jpy: Mapping[str, float | None],
    costs: CostModel,
    rebalance_date: dt.date | None,
) -> Orders:
    """Trade signed numbers of shares at the book's prices.

    Parameters
    ----------
    book
        Current book, marked at these closes.
    shares, value_jpy
        Code -> number of shares and what they are worth, both negative for a sale; by Code.
    unpriced_buys
        Codes that should have been bought but have no price.
    close_jpy, adv_jpy, costs, rebalance_date
        See `estimate_orders`.

    Raises
    ------
    Refusal
        The book is worth nothing.
    """
    codes = list(shares)
    price = np.array([_price(code, book, close_jpy) for code in codes], dtype=np.float64)
    held = np.array([_held(code, book) for code in codes], dtype=np.float64)
    traded = np.array([shares[code] for code in codes], dtype=np.float64)
    signed = np.array([value_jpy[code] for code in codes], dtype=np.float64)
    closing = (traded < 0) & (held + traded <= MIN_SHARES)
    traded = np.where(closing, -held, traded)
    # Not shares times price: a last bit more can lift a round value into the next commission tier.
    signed = np.where(closing, -held * price, signed)
    value = np.abs(signed)
    adv = np.array([adv_jpy.get(code) for code in codes], dtype=np.float64)  # None becomes NaN: unknown
    cost = costs.trade_cost(value, adv)
    before_jpy, weights = book.portfolio_value_jpy, book.weights()
    rows = [
        Order(
            code=code,
            side=Side.BUY if traded[i] > 0 else Side.SELL,
            shares=float(abs(traded[i])),
            price_jpy=float(price[i]),
            value_jpy=float(value[i]),
            adv_jpy=float(adv[i]) if adv[i] > 0 else None,
            adv_share=float(value[i] / adv[i]) if adv[i] > 0 else None,
            commission_jpy=float(cost.commission_jpy[i]),
            slippage_jpy=float(cost.slippage_jpy[i]),
            cost_jpy=float(cost.total_jpy[i]),
            cost_bps=float(cost.bps[i]),
            weight_before=weights.get(code, 0.0),
            weight_after=float((held[i] + traded[i]) * price[i] / before_jpy),
        )
        for i, code in enumerate(codes)
    ]
    total_cost = math.fsum(cost.total_jpy)
    positions = dict(book.positions)
    for code, left, close in zip(codes, (held + traded).tolist(), price.tolist(), strict=True):
        if left > 0:
            price_date = positions[code].price_date if code in positions else book.as_of
            positions[code] = Position(shares=left, last_price_jpy=close, price_date=price_date)
        else:
            del positions[code]
    return Orders(
        as_of=book.as_of,
        rows=tuple(sorted(rows, key=lambda order: (order.side, order.code))),
        unpriced_buys=unpriced_buys,
        stale_sells=tuple(code for code in book.stale_codes if code in shares),
        portfolio_value_jpy=before_jpy,
        total_cost_jpy=total_cost,
        cost_bps=total_cost / before_jpy * BPS,
        turnover=math.fsum(value) / before_jpy / 2,
        book=Book.of(
            rebalance_date=rebalance_date,
            as_of=book.as_of,
            cash_jpy=book.cash_jpy - math.fsum((*signed, total_cost)),
            positions=positions,
        ),
    )


def _price(code: str, book: Book, close_jpy: Mapping[str, float]) -> float:
    return book.positions[code].last_price_jpy if code in book.positions else close_jpy[code]


def _held(code: str, book: Book) -> float:
    return book.positions[code].shares if code in book.positions else 0.0
