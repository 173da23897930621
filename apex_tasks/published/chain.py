"""Which published book a month starts from: months are a chain, whichever session of the month rebalanced."""

from __future__ import annotations

import datetime as dt

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.published.portfolio import (
    PublishedPortfolio,
    last_published_before,
    latest_of_month,
    rebalance_dates,
)
from apex_tasks.store import Store


def due_before(store: Store, rebalance_date: dt.date, calendar: TseCalendar, nth_session: int) -> dt.date:
    """Rebalance day of the month before.

    A month that is published already keeps the session that it was published with, so that it can be run again
    after `schedule.nth_session` was changed.
    """
    own = latest_of_month(store, rebalance_date)
    if own is not None and _on_its_schedule(own, calendar):
        nth_session = own.run().settings.schedule.nth_session
    return calendar.previous_rebalance_session(rebalance_date, nth_session)


def published_for(
    store: Store, due: dt.date, before: dt.date, calendar: TseCalendar
) -> PublishedPortfolio | None:
    """The book of a month: of its rebalance day, or of the day that another `schedule.nth_session` made of it.

    Parameters
    ----------
    due
        Rebalance day of the month by the settings in force.
    before
        Only books of earlier days are looked at.
    """
    found = latest_of_month(store, due)
    if found is not None:
        return found
    same_month = [day for day in rebalance_dates(store) if _month(day) == _month(due) and day < before]
    for day in reversed(same_month):
        found = latest_of_month(store, day)
        if found is not None and _on_its_schedule(found, calendar):
            return found
    return None


def book_to_start_from(
    store: Store, rebalance_date: dt.date, due: dt.date, calendar: TseCalendar
) -> PublishedPortfolio | None:
    """The last book before a rebalance, unless the month before it is missing.

    Parameters
    ----------
    due
        Rebalance day of the month before, see `due_before`.
    """
    parent = last_published_before(store, rebalance_date)
    if parent is None or parent.rebalance_date >= due:
        return parent
    of_month = published_for(store, due, rebalance_date, calendar)
    return parent if of_month is not None else None


def _on_its_schedule(portfolio: PublishedPortfolio, calendar: TseCalendar) -> bool:
    """The day is the one that the settings it was published with make of its month, not one by hand."""
    day = portfolio.rebalance_date
    nth_session = portfolio.run().settings.schedule.nth_session
    return calendar.rebalance_session(day.year, day.month, nth_session) == day


def _month(day: dt.date) -> tuple[int, int]:
    return day.year, day.month
