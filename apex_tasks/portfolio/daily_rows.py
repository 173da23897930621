"""The sessions of a ledger as rows, the same for a backtest and for the published book."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.portfolio.ledger import LedgerDay
from apex_tasks.statistics.performance import daily_returns_pct


class DailyRow(FrozenModel):
    """State at the close of one session; the first has the daily return 0 and counts in no statistic of returns.

    Attributes
    ----------
    portfolio_value, cash
        JPY; names taken for delisted count as cash at their last price.
    daily_return
        Per cent.
    cost_jpy, dividends_jpy
        Of this session's fills, and paid on it.
    positions
        Names held.
    """

    date: dt.date
    portfolio_value: float
    cash: float
    daily_return: float
    cost_jpy: float
    dividends_jpy: float
    positions: int


def daily_rows(days: Sequence[LedgerDay]) -> tuple[DailyRow, ...]:
    """Rows of a ledger, oldest first."""
    values = [day.book.portfolio_value_jpy for day in days]
    return tuple(
        DailyRow(
            date=day.session,
            portfolio_value=day.book.portfolio_value_jpy,
            cash=day.cash_jpy,
            daily_return=change,
            cost_jpy=0.0 if day.fills is None else day.fills.total_cost_jpy,
            dividends_jpy=day.dividends_jpy,
            positions=len(day.book.positions) - len(day.delisted),
        )
        for day, change in zip(days, daily_returns_pct(values).tolist(), strict=True)
    )
