"""The earlier sessions and scores that the newest month is compared with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from apex_tasks.market.calendar import FIRST_DAY, TseCalendar
from apex_tasks.published.portfolio import PublishedPortfolio

_LONGEST_MONTH = dt.timedelta(days=62)


def reference_as_of(
    months: Sequence[PublishedPortfolio], number: int, calendar: TseCalendar, nth_session: int
) -> list[dt.date]:
    """As-of sessions before the newest month's, newest first.

    Parameters
    ----------
    months
        Published months, oldest first; the last is the newest.
    number
        How many sessions. Those of the published months come first; where they are too few, the calendar's
        rebalance days before the first published month follow. A month apart, all are at the same point of the
        month.
    """
    found = [month.as_of for month in reversed(months[:-1])]
    day = months[0].rebalance_date
    while len(found) < number and day > FIRST_DAY + _LONGEST_MONTH:
        day = calendar.previous_rebalance_session(day, nth_session)
        found.append(calendar.as_of(day))
    return found[:number]


def months_of_same_scores(months: Sequence[PublishedPortfolio], number: int) -> list[PublishedPortfolio]:
    """The months before the newest whose scores mean the same, newest first.

    Scores of another checkpoint, horizon, sign or normalization are on another scale.
    """
    wanted = _kind(months[-1])
    return [month for month in reversed(months[:-1]) if _kind(month) == wanted][:number]


def _kind(month: PublishedPortfolio) -> tuple[Any, ...]:
    run = month.run()
    ranking = run.settings.ranking
    return run.hashes["checkpoint"], ranking.horizon, run.bundle.selection.sign, ranking.normalization
