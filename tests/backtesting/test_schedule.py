"""Rebalance days, by the exchange's calendar and by the dates that a dataset has."""

from __future__ import annotations

import datetime as dt

import pytest

from apex_tasks.backtesting.schedule import Rebalance, monthly_schedule
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.settings import Sessions

CALENDAR = TseCalendar.load()


def schedule(days: list[dt.date], start: str, end: str, sessions: Sessions, nth: int = 1) -> list[Rebalance]:
    return monthly_schedule(
        days,
        dt.date.fromisoformat(start),
        dt.date.fromisoformat(end),
        sessions=sessions,
        calendar=CALENDAR,
        nth_session=nth,
    )


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def test_the_benchmarks_period_has_22_rebalances() -> None:
    days = CALENDAR.sessions(day("2023-12-01"), day("2025-10-31"))
    found = schedule(days, "2024-01-01", "2025-10-31", Sessions.TSE)
    assert len(found) == 22
    assert found[0] == Rebalance(day("2024-01-04"), day("2023-12-29"))
    assert found[16] == Rebalance(day("2025-05-01"), day("2025-04-30"))
    assert schedule(days, "2024-01-01", "2025-10-31", Sessions.DATASET) == found


@pytest.mark.parametrize(
    ("start", "end", "months"), [("2024-01-04", "2024-02-01", 2), ("2024-01-05", "2024-01-31", 0)]
)
@pytest.mark.parametrize("sessions", list(Sessions))
def test_both_bounds_are_inclusive(sessions: Sessions, start: str, end: str, months: int) -> None:
    days = CALENDAR.sessions(day("2023-12-01"), day("2024-03-29"))
    assert len(schedule(days, start, end, sessions)) == months


def test_what_the_dataset_cannot_fill_is_left_out() -> None:
    days = CALENDAR.sessions(day("2024-01-04"), day("2024-02-29"))
    # 1 March is due, but the data end before it; January begins with the data, so nothing is known before it.
    assert [r.date for r in schedule(days, "2024-01-01", "2024-12-31", Sessions.TSE)] == [
        day("2024-01-04"),
        day("2024-02-01"),
    ]
    assert [r.date for r in schedule(days, "2024-01-01", "2024-12-31", Sessions.DATASET)] == [
        day("2024-02-01")
    ]
    assert schedule(days, "2024-03-01", "2024-12-31", Sessions.TSE) == []
    assert schedule([], "2024-01-01", "2024-12-31", Sessions.DATASET) == []


def test_the_nth_session_counts_within_the_month() -> None:
    days = CALENDAR.sessions(day("2023-12-01"), day("2024-03-29"))
    for sessions in Sessions:
        third = schedule(days, "2024-01-01", "2024-02-29", sessions, nth=3)
        assert [r.date for r in third] == [day("2024-01-09"), day("2024-02-05")]
