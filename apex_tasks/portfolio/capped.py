"""The capped policy: top_k names in whole lots, by trades that never break a limit."""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from apex_tasks.market.costs import CostModel
from apex_tasks.portfolio.book import Book, is_price
from apex_tasks.portfolio.orders import Orders, trade
from apex_tasks.portfolio.selection import Candidates
from apex_tasks.portfolio.turnover import one_way_turnover
from apex_tasks.portfolio.weights import Note, TargetWeights, score_after_costs
from apex_tasks.settings import PortfolioSettings

LOT_SHARES = 100
"""Trading unit of the Tokyo Stock Exchange, the same for all domestic stocks since October 2018."""

MAX_ADV_SHARE = 0.05
"""Largest trade as a fraction of the daily volume."""


def capped_rebalance(
    book: Book,
    candidates: Candidates,
    close_jpy: Mapping[str, float],
    adv_jpy: Mapping[str, float | None],
    settings: PortfolioSettings,
    top_k: int,
    costs: CostModel,
    rebalance_date: dt.date,
) -> tuple[TargetWeights, Orders]:
    """Weights and orders of the capped policy.

    Limits that no trade breaks: cash stays at 0 or above after costs, a trade is at most 5 % of a known ADV, in
    lots of 100 shares (an exit also sells what a split left over), and the one-way turnover keeps its limit,
    except in the first build. Within them the book comes as near as it can to `top_k` equal positions of the
    best names; where it cannot hold `top_k` names, the notes say so. docs/portfolio.md states the steps.

    Parameters
    ----------
    book
        Current book, marked at the as-of session.
    candidates
        Stocks that may enter the book.
    close_jpy
        Code -> close of the as-of session, JPY per share; a stock without one is not traded.
    adv_jpy
        Code -> daily volume, JPY; a stock whose volume is unknown is not traded.
    settings, top_k, costs
        See `target_weights`; the least weight, least alpha and epsilon are not used.
    rebalance_date
        Day of the rebalance, the `rebalance_date` of the resulting book.

    Raises
    ------
    Refusal
        There is no candidate, or the book is worth nothing.
    """
    book = book.mark(close_jpy, book.as_of)
    before = book.weights()
    pool = score_after_costs(candidates, before, book.portfolio_value_jpy, adv_jpy, settings, top_k, costs)
    preference = [*pool.best_first, *(code for code in before if code not in pool.adjusted_scores)]
    wanted = pool.best_first[:top_k]
    limit = settings.turnover_limit if before and settings.turnover_limit > 0 else math.inf
    desk = _Desk(book, close_jpy, adv_jpy, costs, limit, slot_jpy=book.portfolio_value_jpy / top_k)

    _shrink(desk, preference, top_k)
    for code in pool.best_first:
        if code not in before and len(desk.shares) < top_k:
            desk.enter(code)
    leavers = _swap(desk, pool.best_first, wanted, preference)
    desk.trim(reversed(preference), leavers)
    desk.top_up(code for code in preference if code not in leavers)

    shares = desk.trades(desk.shares)
    value = {code: number * desk.price[code] for code, number in shares.items()}
    orders = trade(book, shares, value, (), close_jpy, adv_jpy, costs, rebalance_date)
    after = {
        code: number * desk.price[code] / book.portfolio_value_jpy
        for code, number in sorted(desk.shares.items())
    }
    equal = dict.fromkeys(wanted, 1 / len(wanted))
    target = TargetWeights(
        weights=after,
        turnover_unconstrained=one_way_turnover(before, equal),
        turnover=one_way_turnover(before, after),
        alpha=None,
        dropped_min_weight=(),
        dropped_turnover=tuple(code for code in wanted if code not in after),
        score_penalties=pool.penalties,
        adjusted_scores=pool.adjusted_scores,
        notes=_notes(orders, top_k, first_build=not before, limit=settings.turnover_limit),
    )
    return target, orders


def _shrink(desk: _Desk, preference: list[str], top_k: int) -> None:
    """Leave the worst names of a book that has too many."""
    for code in reversed(preference):
        if code in desk.shares and len(desk.shares) > top_k:
            desk.exit(code)


def _swap(
    desk: _Desk, newcomers: Sequence[str], wanted: Sequence[str], preference: Sequence[str]
) -> list[str]:
    """Put the best newcomers in the place of the worst unwanted names; returns the unwanted that stay."""
    rank = {code: position for position, code in enumerate(preference)}
    unwanted = desk.held.keys() & desk.shares.keys() - set(wanted)
    leavers = [code for code in reversed(preference) if code in unwanted]
    for newcomer in newcomers:
        if newcomer in desk.held or newcomer in desk.shares:
            continue
        for leaver in leavers:
            if rank[newcomer] < rank[leaver] and desk.enter(newcomer, instead_of=leaver):
                leavers.remove(leaver)
                break
    return leavers


def _notes(orders: Orders, top_k: int, *, first_build: bool, limit: float) -> tuple[Note, ...]:
    names = len(orders.book.positions)
    given_up = {
        Note.FIRST_BUILD: first_build and 0 < limit < orders.turnover,
        Note.FEWER_NAMES: names < top_k,
        Note.MORE_NAMES: names > top_k,
        Note.NEGATIVE_CASH: orders.book.cash_jpy < 0,
    }
    return tuple(note for note, happened in given_up.items() if happened)


class _Desk:
    """Shares to hold, changed only in ways that keep every limit on trading.

    Parameters
    ----------
    book
        Current book, marked.
    close_jpy, adv_jpy, costs
        See `capped_rebalance`.
    turnover_limit
        Largest one-way turnover, infinite for none.
    slot_jpy
        Value of an equal position.
    """

    def __init__(
        self,
        book: Book,
        close_jpy: Mapping[str, float],
        adv_jpy: Mapping[str, float | None],
        costs: CostModel,
        turnover_limit: float,
        slot_jpy: float,
    ) -> None:
        self.book = book
        self.held = {code: position.shares for code, position in book.positions.items()}
        self.shares = dict(self.held)
        last = {code: position.last_price_jpy for code, position in book.positions.items()}
        closes = {code: price for code, price in close_jpy.items() if is_price(price)}
        self.price = last | closes
        self._tradable = closes.keys()
        self._adv_jpy = adv_jpy
        self._costs = costs
        self._most_traded_jpy = 2 * turnover_limit * book.portfolio_value_jpy
        self._slot_jpy = slot_jpy

    def exit(self, code: str) -> bool:
        """Sell a whole position if the limits allow."""
        return self._become(self._without(code))

    def enter(self, code: str, instead_of: str | None = None) -> bool:
        """Buy a slot of a new name, or at least half of one, for cash or for another position."""
        lots = self._lots(code, self._slot_jpy, math.floor)
        base = self.shares if instead_of is None else self._without(instead_of)
        most = self._most_lots(base, code, lots, LOT_SHARES)
        return 0 < lots <= 2 * most and self._become(_changed(base, code, most * LOT_SHARES))

    def trim(self, codes: Iterable[str], leavers: list[str]) -> None:
        """Sell down to a slot, and of a leaver too big for one exit what its volume allows; keep a lot."""
        for code in codes:
            if code in self.shares:
                slot = 0.0 if code in leavers and self._exceeds_volume(code) else self._slot_jpy
                lots = self._lots(code, self.shares[code] * self.price[code] - slot, round)
                all_but_one = math.ceil(self.shares[code] / LOT_SHARES) - 1
                most = self._most_lots(self.shares, code, min(lots, all_but_one), -LOT_SHARES)
                self._become(_changed(self.shares, code, -most * LOT_SHARES))

    def top_up(self, codes: Iterable[str]) -> None:
        """Buy the lots that bring positions nearest to a slot."""
        for code in codes:
            if code in self.shares:
                lots = self._lots(code, self._slot_jpy - self.shares[code] * self.price[code], round)
                most = self._most_lots(self.shares, code, lots, LOT_SHARES)
                self._become(_changed(self.shares, code, most * LOT_SHARES))

    def trades(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Code -> signed number of shares, by Code, that lead from the book to `shares`."""
        changes = {
            code: shares.get(code, 0.0) - self.held.get(code, 0.0)
            for code in sorted(self.held.keys() | shares.keys())
        }
        return {code: change for code, change in changes.items() if change}

    def _become(self, shares: dict[str, float]) -> bool:
        allowed = self._allows(shares)
        if allowed:
            self.shares = shares
        return allowed

    def _allows(self, shares: Mapping[str, float]) -> bool:
        trades = self.trades(shares)
        if not trades.keys() <= self._tradable:
            return False
        signed = [number * self.price[code] for code, number in trades.items()]
        value = np.abs(signed)
        adv = self._adv(trades)
        if not (value <= MAX_ADV_SHARE * adv).all() or math.fsum(value) > self._most_traded_jpy:
            return False
        cost_jpy = math.fsum(self._costs.trade_cost(value, adv).total_jpy)
        only_sells = all(number < 0 for number in trades.values())
        return only_sells or self.book.cash_jpy - math.fsum((*signed, cost_jpy)) >= 0

    def _most_lots(self, base: Mapping[str, float], code: str, lots: int, lot_shares: int) -> int:
        """Most lots, up to `lots`, that may be added to `base`; more are never allowed where fewer are not."""

        def refused(count: int) -> bool:
            return not self._allows(_changed(base, code, count * lot_shares))

        return bisect_left(range(1, lots + 1), True, key=refused)

    def _lots(self, code: str, value_jpy: float, rounding: Callable[[float], int]) -> int:
        return rounding(value_jpy / (LOT_SHARES * self.price[code])) if code in self._tradable else 0

    def _exceeds_volume(self, code: str) -> bool:
        return bool(self.shares[code] * self.price[code] > MAX_ADV_SHARE * self._adv([code])[0])

    def _adv(self, codes: Iterable[str]) -> NDArray[np.float64]:
        return np.array([self._adv_jpy.get(code) for code in codes], dtype=np.float64)  # None becomes NaN

    def _without(self, code: str) -> dict[str, float]:
        return {name: number for name, number in self.shares.items() if name != code}


def _changed(shares: Mapping[str, float], code: str, change: int) -> dict[str, float]:
    return {**shares, code: shares.get(code, 0.0) + change}
