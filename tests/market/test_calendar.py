"""The calendar against two independent sources: another project's calendar and the closed equinox formula."""

from __future__ import annotations

import csv
import math
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.market.calendar import FIRST_DAY, LAST_DAY, TseCalendar, tokyo_date
from apex_tasks.refusal import Refusal

ANSWERS_FILE = Path(__file__).with_name("rebalance_answers.csv")
ONE_DAY = timedelta(days=1)
CALENDAR = TseCalendar.load()

with ANSWERS_FILE.open(encoding="utf-8", newline="") as answers_file:
    ANSWERS = list(csv.DictReader(answers_file))

# Far enough from both ends that every day has sessions and rebalance days around it.
days = st.dates(FIRST_DAY + 60 * ONE_DAY, date(2060, 12, 31))
nths = st.integers(1, 15)


def every_day(first: date, last: date) -> list[date]:
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def nth_session_by_counting(year: int, month: int, nth: int) -> date:
    day, seen = date(year, month, 1), 0
    while True:
        seen += CALENDAR.is_session(day)
        if seen == nth:
            return day
        day += ONE_DAY


def test_answers_cover_every_month() -> None:
    assert [row["month"] for row in ANSWERS] == [
        f"{y}-{m:02}" for y in range(2000, 2031) for m in range(1, 13)
    ]


def test_rebalance_instants_equal_the_frozen_answers() -> None:
    for row in ANSWERS:
        year, month = map(int, row["month"].split("-"))
        instant = CALENDAR.rebalance_instant(CALENDAR.rebalance_session(year, month))
        assert instant.isoformat() == row["rebalance_instant"]


def test_as_of_equals_the_frozen_answers() -> None:
    for row in ANSWERS[1:]:
        assert CALENDAR.as_of(date.fromisoformat(row["rebalance_instant"][:10])).isoformat() == row["as_of"]


def test_as_of_before_the_first_day_is_refused() -> None:
    with pytest.raises(Refusal, match="the session before 2000-01-04"):
        CALENDAR.as_of(date(2000, 1, 4))


def test_every_day_equals_the_witness_but_for_the_halt() -> None:
    exchange_calendars = pytest.importorskip("exchange_calendars")
    # Its equinoxes are a table that ends in 2040.
    last = date(2040, 12, 31)
    tokyo = exchange_calendars.get_calendar("XTKS", start=str(FIRST_DAY), end=str(last))
    witness = {session.date() for session in tokyo.sessions}
    regular = TseCalendar(closures={})
    days = every_day(FIRST_DAY, last)
    assert [day for day in days if regular.is_session(day) != (day in witness)] == [date(2020, 10, 1)]
    assert [day for day in days if CALENDAR.is_session(day) != (day in witness)] == []


def test_equinoxes_up_to_the_last_day_equal_the_closed_formula() -> None:
    # The almanac's approximation, stated for 1980 to 2099; one year further it and the calendar part.
    for year in range(FIRST_DAY.year, LAST_DAY.year + 1):
        drift, leap_days = 0.242194 * (year - 1980), (year - 1980) // 4
        spring = date(year, 3, math.floor(20.8431 + drift) - leap_days)
        autumn = date(year, 9, math.floor(23.2488 + drift) - leap_days)
        for day, name in ((spring, "春分の日"), (autumn, "秋分の日")):
            if day.weekday() < 5:
                assert CALENDAR.closed_because(day) == name
            else:
                assert not CALENDAR.is_session(day)


@pytest.mark.parametrize(
    ("first_session", "as_of"),
    [
        (date(2019, 5, 7), date(2019, 4, 26)),  # ten days closed for the accession
        (date(2020, 10, 2), date(2020, 9, 30)),  # the halt of 1 October
        (date(2025, 11, 4), date(2025, 10, 31)),  # 3 November is a holiday
        (date(2026, 1, 5), date(2025, 12, 30)),  # year end and a weekend
        (date(2027, 5, 6), date(2027, 4, 30)),  # a weekend before three holidays
        (date(2028, 1, 4), date(2027, 12, 30)),  # the earliest possible in a January
    ],
)
def test_trap_months(first_session: date, as_of: date) -> None:
    assert CALENDAR.rebalance_session(first_session.year, first_session.month) == first_session
    assert CALENDAR.as_of(first_session) == as_of


def test_the_halt_is_no_session() -> None:
    assert CALENDAR.closed_because(date(2020, 10, 1)) == "all-day halt of the trading system"
    assert not CALENDAR.is_session(date(2020, 10, 1))


@given(days)
def test_neighbours_are_the_nearest_sessions(day: date) -> None:
    before, after = CALENDAR.previous_session(day), CALENDAR.next_session(day)
    assert before < day < after
    between = [other for other in every_day(before, after) if CALENDAR.is_session(other)]
    assert between == ([before, day, after] if CALENDAR.is_session(day) else [before, after])


@given(days, st.integers(0, 60))
def test_sessions_are_all_sessions_of_the_range(start: date, length: int) -> None:
    end = start + timedelta(days=length)
    assert CALENDAR.sessions(start, end) == [day for day in every_day(start, end) if CALENDAR.is_session(day)]


@given(days, nths)
def test_rebalance_sessions_enclose_the_day(day: date, nth: int) -> None:
    months = (day.replace(day=1) - ONE_DAY, day, day.replace(day=28) + 4 * ONE_DAY)
    slots = [nth_session_by_counting(month.year, month.month, nth) for month in months]
    assert CALENDAR.rebalance_session(day.year, day.month, nth) == slots[1]
    assert CALENDAR.latest_rebalance_session(day, nth) == max(slot for slot in slots if slot <= day)
    assert CALENDAR.next_rebalance_session(day, nth) == min(slot for slot in slots if slot > day)


def test_rebalance_day_itself_is_latest_and_not_next() -> None:
    slot = date(2025, 11, 4)
    assert CALENDAR.latest_rebalance_session(slot) == slot
    assert CALENDAR.latest_rebalance_session(slot - ONE_DAY) == date(2025, 10, 1)
    assert CALENDAR.next_rebalance_session(slot - ONE_DAY) == slot
    assert CALENDAR.next_rebalance_session(slot) == date(2025, 12, 1)


def test_require_session_names_the_sessions_around() -> None:
    CALENDAR.require_session(date(2025, 11, 4))
    with pytest.raises(Refusal) as refused:
        CALENDAR.require_session(date(2025, 11, 3))
    assert refused.value.expected == "2025-10-31 or 2025-11-04"
    assert refused.value.received == "2025-11-03 (文化の日)"


def test_require_session_at_the_ends_names_the_only_neighbour() -> None:
    with pytest.raises(Refusal, match="expected=2000-01-04, received=2000-01-01"):
        CALENDAR.require_session(FIRST_DAY)
    with pytest.raises(Refusal, match="expected=2099-12-30, received=2099-12-31"):
        CALENDAR.require_session(LAST_DAY)


@pytest.mark.parametrize("nth", [0, -1, 19])
def test_a_session_that_the_month_lacks_is_refused(nth: int) -> None:
    assert CALENDAR.rebalance_session(2025, 2, 18) == date(2025, 2, 28)
    with pytest.raises(Refusal, match=f"received={nth}, where=TSE calendar, 2025-02"):
        CALENDAR.rebalance_session(2025, 2, nth)


def test_every_month_has_fifteen_sessions() -> None:
    for year in range(2000, 2031):
        for month in range(1, 13):
            assert CALENDAR.rebalance_session(year, month, 15).month == month


def test_days_outside_the_calendar_are_refused() -> None:
    for outside in (FIRST_DAY - ONE_DAY, LAST_DAY + ONE_DAY):
        for ask in (CALENDAR.is_session, CALENDAR.next_session, CALENDAR.previous_session, CALENDAR.as_of):
            with pytest.raises(Refusal, match=f"received={outside}"):
                ask(outside)
        with pytest.raises(Refusal, match="outside the calendar"):
            CALENDAR.rebalance_session(outside.year, outside.month)
    for ask in (CALENDAR.next_session, CALENDAR.next_rebalance_session):
        with pytest.raises(Refusal, match="outside the calendar"):
            ask(LAST_DAY)
    for ask in (CALENDAR.previous_session, CALENDAR.latest_rebalance_session):
        with pytest.raises(Refusal, match="outside the calendar"):
            ask(FIRST_DAY)


def test_a_range_backwards_is_refused() -> None:
    with pytest.raises(Refusal, match="ends before it starts"):
        CALENDAR.sessions(date(2025, 11, 4), date(2025, 11, 3))


def test_an_instant_is_not_taken_for_a_day() -> None:
    with pytest.raises(TypeError, match="tokyo_date"):
        CALENDAR.is_session(datetime(2025, 11, 4, tzinfo=UTC))


def test_rebalance_instant_is_midnight_utc_of_the_same_date() -> None:
    instant = CALENDAR.rebalance_instant(date(2025, 11, 4))
    assert instant.isoformat() == "2025-11-04T09:00:00+09:00"
    assert instant == datetime(2025, 11, 4, tzinfo=UTC)
    with pytest.raises(Refusal):
        CALENDAR.rebalance_instant(date(2025, 11, 3))


def test_as_of_wants_a_session() -> None:
    with pytest.raises(Refusal, match="not a session"):
        CALENDAR.as_of(date(2025, 11, 3))


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (datetime(2025, 11, 3, 14, 59, 59, tzinfo=UTC), date(2025, 11, 3)),
        (datetime(2025, 11, 3, 15, tzinfo=UTC), date(2025, 11, 4)),
        (datetime(2025, 11, 3, 22, tzinfo=UTC), date(2025, 11, 4)),  # 07:00 in Tokyo
        (datetime(2025, 11, 3, 10, tzinfo=timezone(timedelta(hours=-5))), date(2025, 11, 4)),
    ],
)
def test_tokyo_date(instant: datetime, expected: date) -> None:
    assert tokyo_date(instant) == expected


def test_a_naive_instant_has_no_tokyo_date() -> None:
    with pytest.raises(ValueError, match="time zone"):
        tokyo_date(datetime(2025, 11, 4))


def test_a_closure_moves_the_rebalance_day(tmp_path: Path) -> None:
    closures = tmp_path / "closures.csv"
    closures.write_text(
        'date,reason,source\n2025-11-04,"halt, all day",https://example.org/\n', encoding="utf-8"
    )
    calendar = TseCalendar.load(closures)
    assert calendar.rebalance_session(2025, 11) == date(2025, 11, 5)
    assert calendar.as_of(date(2025, 11, 5)) == date(2025, 10, 31)
    assert calendar.closed_because(date(2025, 11, 4)) == "halt, all day"


@pytest.mark.parametrize(
    ("text", "line", "received"),
    [
        ("", 1, "received="),
        ("day,reason,source\n", 1, "received=day,reason,source"),
        ("date,reason,source\n2025-11-04,halt\n", 2, "['2025-11-04', 'halt']"),
        ("date,reason,source\n2025-11-04, ,x\n", 2, "['2025-11-04', ' ', 'x']"),
        ("date,reason,source\n2025-11-05,halt,x\n\n", 3, "received=[]"),
        ("date,reason,source\n2025-11-05,halt,x\n20251106,halt,x\n", 3, "received=20251106"),
        ("date,reason,source\n2025-11-31,halt,x\n", 2, "received=2025-11-31"),
        ("date,reason,source\n1999-12-30,halt,x\n", 2, "received=1999-12-30"),
        ("date,reason,source\n2025-11-08,halt,x\n", 2, "received=2025-11-08, a Saturday"),
        ("date,reason,source\n2025-11-05,halt,x\n2025-11-05,halt,x\n", 3, "received=2025-11-05 again"),
        ('date,reason,source\n2025-11-05,"ha"lt,x\n', 2, "expected=a well-formed csv line"),
    ],
)
def test_a_malformed_closures_file_is_refused(tmp_path: Path, text: str, line: int, received: str) -> None:
    closures = tmp_path / "closures.csv"
    closures.write_text(text, encoding="utf-8")
    with pytest.raises(Refusal) as refused:
        TseCalendar.load(closures)
    assert refused.value.where == f"{closures}, line {line}"
    assert received in str(refused.value)


def test_a_closures_file_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    closures = tmp_path / "closures.csv"
    closures.write_text("date,reason,source\r\n2025-11-04,halt,x\r\n", encoding="utf-8-sig", newline="")
    assert TseCalendar.load(closures).closures == {date(2025, 11, 4): "halt"}


def test_a_closures_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    closures = tmp_path / "closures.csv"
    closures.write_text("date,reason,source\n2025-11-04,停止,x\n", encoding="shift_jis")
    with pytest.raises(Refusal, match="UTF-8"):
        TseCalendar.load(closures)


def test_a_missing_closures_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"nowhere\.csv"):
        TseCalendar.load(tmp_path / "nowhere.csv")
