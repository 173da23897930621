"""The two ways to replay a period: as the live runs trade, and as the benchmark of v0.1.0 was computed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from apex_tasks.backtesting.schedule import Rebalance
from apex_tasks.dataset.prices.daily_prices import ADJUSTMENT
from apex_tasks.dataset.prices.price_history import PRICE_HISTORY_DAYS, PriceHistory
from apex_tasks.dataset.schema import CLOSE
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.delisting import DelistedName, delisted_names, unnoticed_delisted_names
from apex_tasks.portfolio.ledger import LedgerDay, carry_forward_from
from apex_tasks.portfolio.monthly_plan import MonthlyPlan
from apex_tasks.portfolio.orders import Orders
from apex_tasks.portfolio.splits import share_factors
from apex_tasks.refusal import Refusal

Plan = Callable[[Book, Rebalance, PriceHistory], MonthlyPlan]
"""Plans a rebalance from the book at its as-of close; the prices reach no further than that close."""


@dataclass(frozen=True)
class Rebalanced:
    """One rebalance.

    Attributes
    ----------
    rebalance
        Its day and as-of session.
    plan
        What was decided.
    fills
        What was traded; None where the data have no closes of the day, so that the plan counts as estimated.
    """

    rebalance: Rebalance
    plan: MonthlyPlan
    fills: Orders | None

    @property
    def traded(self) -> Orders:
        """The fills, or the estimate in their place."""
        return self.plan.orders if self.fills is None else self.fills


@dataclass
class Simulation:
    """What happened in the period.

    Attributes
    ----------
    rebalances
        In order.
    days
        One per session after the first fill, oldest first.
    failed_attempts
        Sessions on which a rebalance was due and could not be planned, with the reason.
    unadjusted_splits
        Session and code of splits of held stocks that `same_close` does not adjust for, as v0.1.0 did not.
    delisted
        Held names taken for delisted, kept at their last price.
    """

    rebalances: list[Rebalanced] = field(default_factory=list)
    days: list[LedgerDay] = field(default_factory=list)
    failed_attempts: list[tuple[dt.date, str]] = field(default_factory=list)
    unadjusted_splits: list[tuple[dt.date, str]] = field(default_factory=list)
    delisted: tuple[DelistedName, ...] = ()


def simulate_live(
    schedule: Sequence[Rebalance],
    plan: Plan,
    history: PriceHistory,
    *,
    capital_jpy: float,
    end: dt.date,
    on_month: Callable[[int], None],
) -> Simulation:
    """Decide at the as-of close, fill at the close of the rebalance day: what the monthly runs do.

    Books, orders and fills are those that the runs of the same months publish and the next ones start from.

    Parameters
    ----------
    schedule
        Rebalances, in order.
    plan
        Plans one of them.
    history
        Prices of all days.
    capital_jpy
        Cash before the first rebalance.
    end
        Last session of the ledger.
    on_month
        Called with the number of rebalances done.

    Raises
    ------
    Refusal
        A rebalance cannot be planned: live, nothing would be published.
    """
    simulation = Simulation()
    parent: tuple[Book, MonthlyPlan, Rebalance] | None = None

    def bring_forward(until: dt.date) -> Book:
        if parent is None:
            return Book.cold(capital_jpy, until)
        before, planned, rebalance = parent
        start = _price_start(rebalance.as_of, until)
        carried = carry_forward_from(start, before, planned.orders, rebalance.date, history, until)
        simulation.rebalances.append(Rebalanced(rebalance, planned, carried.fills))
        simulation.days.extend(carried.days)
        return carried.book

    for number, rebalance in enumerate(schedule):
        on_month(number)
        as_of = rebalance.as_of
        current = bring_forward(as_of)
        known = history.between(as_of - dt.timedelta(days=PRICE_HISTORY_DAYS), as_of)
        parent = current, plan(current, rebalance, known), rebalance
    bring_forward(end)
    on_month(len(schedule))
    simulation.delisted = delisted_names(simulation.days)
    return simulation


def simulate_same_close(
    days: Sequence[dt.date],
    plan: Plan,
    history: PriceHistory,
    *,
    capital_jpy: float,
    on_session: Callable[[int], None],
) -> Simulation:
    """Decide and fill at the same close, then mark to the next: the accounting of v0.1.0's benchmark.

    A rebalance is due on the first date of a new month, and as long as nothing is held; an attempt that fails is
    repeated on the next date. The state after date t is marked to, and dated, the date after it, so the last
    date is never traded. Splits are not adjusted for: they are counted.

    Parameters
    ----------
    days
        Dates of the dataset within the period, ascending.
    plan, history, capital_jpy
        See `simulate_live`.
    on_session
        Called with the number of dates done.
    """
    simulation = Simulation()
    book = Book.cold(capital_jpy, days[0])
    month: tuple[int, int] | None = None
    for number, (today, tomorrow) in enumerate(pairwise(days)):
        on_session(number)
        fills = None
        if not book.positions or (today.year, today.month) != month:
            rebalance = Rebalance(today, today)
            known = history.between(today - dt.timedelta(days=PRICE_HISTORY_DAYS), today)
            try:
                planned = plan(book, rebalance, known)
            except Refusal as refusal:
                simulation.failed_attempts.append((today, str(refusal)))
            else:
                fills, month = planned.orders, (today.year, today.month)
                book = fills.book
                simulation.rebalances.append(Rebalanced(rebalance, planned, fills))
        simulation.unadjusted_splits += _splits_of_held(book, history, today, tomorrow)
        book = book.mark(history.on(tomorrow, CLOSE), tomorrow)
        simulation.days.append(LedgerDay(tomorrow, book, fills))
    on_session(len(days))
    simulation.delisted = unnoticed_delisted_names(simulation.days, history, days)
    return simulation


def _price_start(ordered: dt.date, until: dt.date) -> dt.date:
    """First day whose prices a book is brought forward with: as far back as the monthly run looks."""
    return min(ordered, until - dt.timedelta(days=PRICE_HISTORY_DAYS))


def _splits_of_held(
    book: Book, history: PriceHistory, today: dt.date, tomorrow: dt.date
) -> list[tuple[dt.date, str]]:
    factors = share_factors(history.on(today, ADJUSTMENT), history.on(tomorrow, ADJUSTMENT))
    return [(tomorrow, code) for code in factors if code in book.positions]
