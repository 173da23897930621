"""Rebalance days of a backtest, by the exchange's calendar or by the dates of the dataset."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Sessions


class Rebalance(NamedTuple):
    """A rebalance day and the session whose close decides."""

    date: dt.date
    as_of: dt.date


def monthly_schedule(
    days: Sequence[dt.date],
    start: dt.date,
    end: dt.date,
    *,
    sessions: Sessions,
    calendar: TseCalendar,
    nth_session: int,
) -> list[Rebalance]:
    """Rebalance days from `start` to `end` that the dataset can fill.

    Parameters
    ----------
    days
        Dates of the dataset, ascending.
    sessions
        `TSE`: the calendar's rebalance days; `DATASET`: the nth date of each month that the dataset has, for
        data of another exchange. A month that begins before the dataset does is left out.

    Returns
    -------
    list
        In order. A rebalance day after the last date of the dataset cannot be filled and is left out.
    """
    if not days or end < start:
        return []
    if sessions is Sessions.TSE:
        due = calendar.rebalance_sessions(start, min(end, days[-1]), nth_session) if start <= days[-1] else []
        return [Rebalance(day, calendar.as_of(day)) for day in due]
    found = []
    for _, month in groupby(enumerate(days), key=lambda item: (item[1].year, item[1].month)):
        positions = [position for position, _ in month]
        if len(positions) < nth_session or positions[0] == 0:
            continue
        position = positions[nth_session - 1]
        if start <= days[position] <= end:
            found.append(Rebalance(days[position], days[position - 1]))
    return found


def require_sessions(days: Sequence[dt.date], start: dt.date, end: dt.date, where: Path) -> list[dt.date]:
    """Dates of the dataset from `start` to `end`.

    Parameters
    ----------
    days
        All dates of the dataset, ascending.
    where
        The dataset, for the message.

    Raises
    ------
    Refusal
        There are none.
    """
    found = [day for day in days if start <= day <= end]
    if found:
        return found
    raise Refusal(
        "the dataset has no session in the period",
        expected=f"rows from {start} to {end}",
        received=f"{days[0]} to {days[-1]}" if days else "no rows",
        where=where,
        remedy="Choose a period that the dataset covers.",
    )
