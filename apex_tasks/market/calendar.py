"""Sessions of the Tokyo Stock Exchange, and the monthly rebalance days that follow from them."""

from __future__ import annotations

import csv
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import jpholiday

from apex_tasks.refusal import Refusal
from apex_tasks.settings import configs_folder

TOKYO = ZoneInfo("Asia/Tokyo")
FIRST_DAY = date(2000, 1, 1)
"""First day the calendar answers for; before it, holiday law and trading days differ."""
LAST_DAY = date(2099, 12, 31)
"""Last day the calendar answers for: up to here the computed equinoxes agree with a second formula."""
REBALANCE_TIME = time(9)
"""The opening of a session, Tokyo time."""
CLOSING_TIME = time(15, 30)
"""The close of a session, Tokyo time, as the exchange has it since 5 November 2024; before that it was 15:00."""

SESSIONS_WITHOUT_TRADING = frozenset({date(2020, 10, 1)})
"""Sessions on which the exchange's system failed and nothing traded: rows without a close are no fault."""

_YEAR_END = frozenset({(12, 31), (1, 1), (1, 2), (1, 3)})
_CLOSURE_COLUMNS = ["date", "reason", "source"]
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class TseCalendar:
    """Which days the Tokyo Stock Exchange trades.

    A session is a weekday that is no Japanese holiday, not 31 December to 3 January, and not one of the
    ad-hoc closures. All days are `datetime.date` in Tokyo; see `tokyo_date` for instants.

    Parameters
    ----------
    closures
        Reason of each ad-hoc closure by day.

    Notes
    -----
    The holidays come from the Act on National Holidays as `jpholiday` implements it; 31 December to 3 January
    from the exchange's business regulations. Every method raises `Refusal` for a day outside `FIRST_DAY` to
    `LAST_DAY`, and where its answer would be outside.
    """

    closures: Mapping[date, str] = field(hash=False)

    @classmethod
    def load(cls, closures_file: Path | None = None) -> TseCalendar:
        """Build the calendar from a closures file (columns date, reason, source).

        Parameters
        ----------
        closures_file
            The csv file; by default the packaged `tse_closures.csv`.

        Raises
        ------
        Refusal
            The file is missing or a line of it is malformed; the message names file and line.
        """
        return cls(_read_closures(closures_file or configs_folder() / "tse_closures.csv"))

    def closed_because(self, day: date) -> str | None:
        """Why `day` is no session, or None when it is one."""
        _require_known(day)
        if day.weekday() >= 5:
            return f"{day:%A}"
        if (day.month, day.day) in _YEAR_END:
            return "year-end holidays"
        return self.closures.get(day) or jpholiday.is_holiday_name(day)

    def is_session(self, day: date) -> bool:
        """Whether the exchange trades on `day`."""
        return self.closed_because(day) is None

    def require_session(self, day: date) -> None:
        """Refuse a `day` without trading, naming the sessions around it.

        Raises
        ------
        Refusal
            `day` is no session.
        """
        reason = self.closed_because(day)
        if reason is None:
            return
        around = (self._nearest(day, -_ONE_DAY), self._nearest(day, _ONE_DAY))
        raise Refusal(
            "not a session of the Tokyo Stock Exchange",
            expected=" or ".join(f"{session:%Y-%m-%d}" for session in around if session is not None),
            received=f"{day} ({reason})",
            where="TSE calendar",
            remedy="Give a session, or correct the closures file if the exchange did trade.",
        )

    def next_session(self, day: date) -> date:
        """Return the first session strictly after `day`."""
        return self._require_nearest(day, _ONE_DAY)

    def previous_session(self, day: date) -> date:
        """Return the last session strictly before `day`."""
        return self._require_nearest(day, -_ONE_DAY)

    def sessions(self, start: date, end: date) -> list[date]:
        """All sessions from `start` to `end`, both inclusive, in order.

        Raises
        ------
        Refusal
            `end` is before `start`.
        """
        _require_known(start)
        _require_known(end)
        if end < start:
            raise Refusal(
                "session range ends before it starts",
                expected=f"an end on or after {start}",
                received=end,
                where="TSE calendar",
                remedy="Swap the two dates.",
            )
        days = (start + timedelta(days=offset) for offset in range((end - start).days + 1))
        return [day for day in days if self.is_session(day)]

    def rebalance_session(self, year: int, month: int, nth: int = 1) -> date:
        """Return the `nth` session of a month (1 is the first).

        Raises
        ------
        Refusal
            The month has no such session.
        """
        first = date(year, month, 1)
        _require_known(first)
        days = (first + timedelta(days=offset) for offset in range(monthrange(year, month)[1]))
        sessions = (day for day in days if self.is_session(day))
        session = next(islice(sessions, nth - 1, None), None) if nth >= 1 else None
        if session is None:
            raise Refusal(
                "month has no such session",
                expected="a session of the month, counted from 1",
                received=nth,
                where=f"TSE calendar, {year}-{month:02}",
                remedy="Set schedule.nth_session to a smaller number, 1 for the first session.",
            )
        return session

    def rebalance_sessions(self, start: date, end: date, nth: int = 1) -> list[date]:
        """All rebalance days from `start` to `end`, both inclusive, in order.

        Raises
        ------
        Refusal
            `end` is before `start`.
        """
        return [
            day
            for day in self.sessions(start, end)
            if day == self.rebalance_session(day.year, day.month, nth)
        ]

    def latest_rebalance_session(self, on_or_before: date, nth: int = 1) -> date:
        """Return the last rebalance day that is not after `on_or_before`."""
        session = self.rebalance_session(on_or_before.year, on_or_before.month, nth)
        if session <= on_or_before:
            return session
        previous_month = on_or_before.replace(day=1) - _ONE_DAY
        return self.rebalance_session(previous_month.year, previous_month.month, nth)

    def previous_rebalance_session(self, before: date, nth: int = 1) -> date:
        """Return the last rebalance day strictly before `before`."""
        return self.latest_rebalance_session(before - _ONE_DAY, nth)

    def next_rebalance_session(self, after: date, nth: int = 1) -> date:
        """Return the first rebalance day strictly after `after`."""
        session = self.rebalance_session(after.year, after.month, nth)
        if session > after:
            return session
        month_end = after.replace(day=monthrange(after.year, after.month)[1])
        month_after = month_end + _ONE_DAY
        return self.rebalance_session(month_after.year, month_after.month, nth)

    def as_of(self, rebalance_day: date) -> date:
        """Return the newest session whose close is known at the opening of `rebalance_day`.

        Raises
        ------
        Refusal
            `rebalance_day` is no session.
        """
        self.require_session(rebalance_day)
        return self.previous_session(rebalance_day)

    def rebalance_instant(self, day: date) -> datetime:
        """Return 09:00 Tokyo time of the session `day`, time zone aware.

        Raises
        ------
        Refusal
            `day` is no session.
        """
        self.require_session(day)
        return datetime.combine(day, REBALANCE_TIME, TOKYO)

    def closing_instant(self, day: date) -> datetime:
        """Return the moment at which the closes of the session `day` are known, time zone aware.

        Raises
        ------
        Refusal
            `day` is no session.
        """
        self.require_session(day)
        return datetime.combine(day, CLOSING_TIME, TOKYO)

    def _nearest(self, day: date, step: timedelta) -> date | None:
        _require_known(day)
        day += step
        while FIRST_DAY <= day <= LAST_DAY:
            if self.is_session(day):
                return day
            day += step
        return None

    def _require_nearest(self, day: date, step: timedelta) -> date:
        session = self._nearest(day, step)
        if session is None:
            raise _outside(f"the session {'after' if step > timedelta() else 'before'} {day}")
        return session


def tokyo_date(instant: datetime) -> date:
    """Return the calendar date in Tokyo at `instant`.

    Raises
    ------
    ValueError
        `instant` is naive, so its date in Tokyo is unknown.
    """
    if instant.utcoffset() is None:
        raise ValueError(f"instant needs a time zone: expected=aware datetime, received={instant!r}")
    return instant.astimezone(TOKYO).date()


def _require_known(day: date) -> None:
    # A datetime is a date to Python, but its date depends on a time zone that nobody has named here.
    if isinstance(day, datetime):
        raise TypeError(f"the calendar takes dates in Tokyo: pass tokyo_date({day!r})")
    if not FIRST_DAY <= day <= LAST_DAY:
        raise _outside(day)


def _outside(received: object) -> Refusal:
    return Refusal(
        "day is outside the calendar",
        expected=f"{FIRST_DAY} to {LAST_DAY}",
        received=received,
        where="TSE calendar",
        remedy="Give a day within the range; docs/calendar.md says how far it is trusted.",
    )


def _read_closures(path: Path) -> dict[date, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_closures(path, "a readable UTF-8 csv file", error) from None
    rows = csv.reader(text.splitlines(), strict=True)
    closures: dict[date, str] = {}
    try:
        header = next(rows, [])
        if header != _CLOSURE_COLUMNS:
            raise _bad_closures(f"{path}, line 1", ",".join(_CLOSURE_COLUMNS), ",".join(header))
        for row in rows:
            day, reason = _parse_closure(row, f"{path}, line {rows.line_num}")
            if day in closures:
                raise _bad_closures(f"{path}, line {rows.line_num}", "each day once", f"{day} again")
            closures[day] = reason
    except csv.Error as error:
        raise _bad_closures(f"{path}, line {rows.line_num}", "a well-formed csv line", error) from None
    return closures


def _parse_closure(row: list[str], where: str) -> tuple[date, str]:
    if len(row) != len(_CLOSURE_COLUMNS) or not all(cell.strip() for cell in row):
        raise _bad_closures(where, "a date, a reason and a source", row)
    written, reason, _source = row
    try:
        day = date.fromisoformat(written)
    except ValueError:
        raise _bad_closures(where, "a date as YYYY-MM-DD", written) from None
    if written != day.isoformat():
        raise _bad_closures(where, "a date as YYYY-MM-DD", written)
    if not FIRST_DAY <= day <= LAST_DAY:
        raise _bad_closures(where, f"a day from {FIRST_DAY} to {LAST_DAY}", written)
    if day.weekday() >= 5:
        raise _bad_closures(where, "a weekday", f"{written}, a {day:%A}")
    return day, reason


def _bad_closures(where: object, expected: str, received: object) -> Refusal:
    return Refusal(
        "closures file is invalid",
        expected=expected,
        received=received,
        where=where,
        remedy="Correct the file; docs/calendar.md shows its form.",
    )
