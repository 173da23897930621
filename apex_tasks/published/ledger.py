"""The ledger of the published months: every book from its fills on, marked to each session's closes."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from apex_tasks.dataset.prices.daily_prices import read_prices
from apex_tasks.dataset.prices.price_history import PRICE_HISTORY_DAYS, PriceHistory
from apex_tasks.dataset.schema import DatasetFile
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.ledger import LedgerDay, carry_forward_from
from apex_tasks.portfolio.orders import Orders
from apex_tasks.published.portfolio import PublishedPortfolio, published_months
from apex_tasks.refusal import Refusal
from apex_tasks.statistics.performance import Performance, measure_performance
from apex_tasks.store import Store


@dataclass(frozen=True)
class LedgerMonth:
    """One published month.

    Attributes
    ----------
    portfolio
        Its newest version.
    fills
        Its orders as they were filled; None while the dataset has no closes of the rebalance day.
    traded
        Its orders as the ledger counts them: as filled, or as estimated where the dataset has later sessions and none
        of the rebalance day; None until its book is marked.
    """

    portfolio: PublishedPortfolio
    fills: Orders | None
    traded: Orders | None


@dataclass(frozen=True)
class PublishedLedger:
    """The chain of published months since its last cold start.

    Attributes
    ----------
    months
        Oldest first.
    days
        One per session of the dataset from the first fill on; each month starts again from its published book.
    capital_jpy
        Value of the book that the first month starts from: its cash, and what it holds where the chain begins with a
        month that is not a cold start.
    warnings
        Where the dataset no longer gives the book that a month was published from, and months left out.
    """

    months: tuple[LedgerMonth, ...]
    days: tuple[LedgerDay, ...]
    capital_jpy: float
    warnings: tuple[str, ...]

    def performance(self) -> Performance:
        """Figures in the conventions of the benchmark, see `measure_performance`.

        Raises
        ------
        Refusal
            No session has been marked yet.
        """
        traded = [month.traded for month in self.months if month.traded is not None]
        return measure_performance(
            [day.book.portfolio_value_jpy for day in self.days],
            initial_capital_jpy=self.capital_jpy,
            total_trades=sum(len(orders.rows) for orders in traded),
            total_cost_jpy=sum(orders.total_cost_jpy for orders in traded),
        )


def read_published_ledger(
    store: Store, dataset: DatasetFile, until: dt.date | None = None
) -> PublishedLedger:
    """Fill and mark every published month up to the dataset's last session.

    A month's orders fill at the closes of its rebalance day, and its book is marked until the as-of session of the
    month after. That one starts from its own published book, which is the same unless the dataset has been
    revised since.

    Parameters
    ----------
    until
        Last session to mark; None: the last of the dataset.

    Raises
    ------
    Refusal
        Nothing is published up to `until`, or the dataset is damaged or another file by now.
    """
    chain, left_out = published_chain(store, until)
    first = chain[0].as_of
    prices = read_prices(dataset, first - dt.timedelta(days=PRICE_HISTORY_DAYS), until or dt.date.max)
    history = PriceHistory(prices)
    sessions = history.sessions()
    last = max(sessions[-1] if sessions else first, first)
    months: list[LedgerMonth] = []
    days: list[LedgerDay] = []
    warnings = list(left_out)
    for portfolio, after in zip(chain, [*chain[1:], None], strict=True):
        before, ordered = portfolio.book_before(), portfolio.orders()
        end = max(last, ordered.as_of) if after is None else after.as_of
        start = min(ordered.as_of, end - dt.timedelta(days=PRICE_HISTORY_DAYS))
        carried = carry_forward_from(start, before, ordered, portfolio.rebalance_date, history, end)
        months.append(
            LedgerMonth(portfolio, carried.fills, carried.fills or (ordered if carried.days else None))
        )
        days.extend(carried.days)
        if after is not None and (difference := _revised(carried.book, after.book_before())):
            warnings.append(
                f"{after.name} was published from a book of {difference}: {_why_revised(portfolio, after)}"
            )
    return PublishedLedger(
        tuple(months), tuple(days), chain[0].book_before().portfolio_value_jpy, tuple(warnings)
    )


def published_chain(store: Store, until: dt.date | None) -> tuple[list[PublishedPortfolio], list[str]]:
    """The newest version of every month since the last cold start, oldest first, and what that leaves out.

    Raises
    ------
    Refusal
        Nothing is published up to `until`.
    """
    found = published_months(store, until)
    if not found:
        raise Refusal(
            "nothing is published, so there is no ledger",
            expected="at least one published month",
            received="none" if until is None else f"none up to {until}",
            where=store.root / "portfolio",
            remedy="Publish a month first: `apex run`, or the DAG apex_monthly_rebalance.",
        )
    starts = [number for number, portfolio in enumerate(found) if not portfolio.book_before().positions]
    first = starts[-1] if starts else 0
    if not first:
        return found, []
    return found[first:], [
        f"{first} months before the cold start of {found[first].rebalance_date} are left out: "
        f"{found[0].rebalance_date} to {found[first - 1].rebalance_date}"
    ]


def _revised(carried: Book, published: Book) -> str:
    """How a carried book differs from the published one in value, or an empty text."""
    now, then = carried.portfolio_value_jpy, published.portfolio_value_jpy
    return "" if math.isclose(now, then, rel_tol=1e-9) else f"{then:,.0f} JPY, now {now:,.0f}"


def _why_revised(portfolio: PublishedPortfolio, after: PublishedPortfolio) -> str:
    parent = after.run().parent
    if parent is not None and parent.portfolio != portfolio.name:
        return f"it started from {parent.portfolio}, and {portfolio.name} was published later"
    return "the dataset has been revised since"
