"""The history that a published month carries: the months of its chain and one value per session."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Self

from pydantic import model_validator

from apex_tasks.dataset.prices.market_returns import MarketReturns
from apex_tasks.frozen_model import StoredDocument
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.ledger import LedgerDay
from apex_tasks.portfolio.orders import Orders
from apex_tasks.published.portfolio import HISTORY_FILE, PublishedPortfolio

FORMAT = 2
"""Counts up when the history changes its form or meaning, so that a plan with an older one is made again."""


class HistoryMonth(StoredDocument):
    """One rebalance as it was ordered, at the closes of its as-of session.

    Attributes
    ----------
    portfolio
        `<rebalance date>/v<k>`; None for the month that the history is written with, which has no version yet.
    rebalance_date, as_of
        Day of the trades, and the session before it.
    first_build
        Nothing was held before.
    positions, trades
        Names held afterwards, and the number of orders.
    turnover
        Half the traded value as a fraction of the portfolio.
    cost_bps, cost_jpy
        Expected cost, of the portfolio and in JPY.
    portfolio_value_jpy
        Value before the trades.
    """

    portfolio: str | None
    rebalance_date: dt.date
    as_of: dt.date
    first_build: bool
    positions: int
    trades: int
    turnover: float
    cost_bps: float
    cost_jpy: float
    portfolio_value_jpy: float

    @classmethod
    def of(cls, rebalance_date: dt.date, before: Book, orders: Orders, portfolio: str | None = None) -> Self:
        """The month of these orders."""
        return cls(
            portfolio=portfolio,
            rebalance_date=rebalance_date,
            as_of=orders.as_of,
            first_build=not before.positions,
            positions=len(orders.book.positions),
            trades=len(orders.rows),
            turnover=orders.turnover,
            cost_bps=orders.cost_bps,
            cost_jpy=orders.total_cost_jpy,
            portfolio_value_jpy=orders.portfolio_value_jpy,
        )


class History(StoredDocument):
    """A chain of months from cash, or from the oldest published month that is known, to this one.

    Attributes
    ----------
    months
        Oldest first; the last is the month that the history is written with.
    sessions
        The first month's as-of session and every session after it, up to the last month's as-of.
    portfolio_value_jpy
        Value at each session's close as the ledger has it: after costs, with dividends, delisted names at their
        last price. The first is the value that the first month starts from.
    market_returns
        Equal-weight mean return of all stocks on each session, see `dataset.market_returns`; None on the first
        session, which is where both start, and where no stock has a return.
    """

    months: tuple[HistoryMonth, ...]
    sessions: tuple[dt.date, ...]
    portfolio_value_jpy: tuple[float, ...]
    market_returns: tuple[float | None, ...]

    @model_validator(mode="after")
    def _one_value_a_session(self) -> Self:
        if not len(self.sessions) == len(self.portfolio_value_jpy) == len(self.market_returns) > 0:
            raise ValueError("sessions, values and market returns must be equally many, and at least one")
        if any(day >= after for day, after in zip(self.sessions, self.sessions[1:], strict=False)):
            raise ValueError("sessions must ascend")
        return self

    @classmethod
    def start(cls, month: HistoryMonth) -> Self:
        """The history of a first month: one session, at whose close nothing has happened yet."""
        return cls(
            months=(month,),
            sessions=(month.as_of,),
            portfolio_value_jpy=(month.portfolio_value_jpy,),
            market_returns=(None,),
        )

    def then(self, days: Sequence[LedgerDay], market: MarketReturns, month: HistoryMonth) -> Self:
        """The history with the sessions since the last month, and the next month."""
        returns = dict(zip(market.days, market.returns.tolist(), strict=True))
        return type(self)(
            months=(*self.months, month),
            sessions=(*self.sessions, *(day.session for day in days)),
            portfolio_value_jpy=(*self.portfolio_value_jpy, *(day.book.portfolio_value_jpy for day in days)),
            market_returns=(*self.market_returns, *(returns.get(day.session) for day in days)),
        )


def published_history(portfolio: PublishedPortfolio) -> History:
    """The history up to a published month, with its name in it; without the file it starts there."""
    if not has_history(portfolio):
        before, orders = portfolio.book_before(), portfolio.orders()
        return History.start(HistoryMonth.of(portfolio.rebalance_date, before, orders, portfolio.name))
    history = portfolio.artifact.read_document(HISTORY_FILE, History)
    last = history.months[-1].model_copy(update={"portfolio": portfolio.name})
    return history.model_copy(update={"months": (*history.months[:-1], last)})


def has_history(portfolio: PublishedPortfolio) -> bool:
    """Whether the month was published with its history."""
    return HISTORY_FILE in portfolio.artifact.manifest.files
