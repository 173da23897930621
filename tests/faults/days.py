"""Faults of dates, sessions and rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from tests.support.fault_table.attempt import Attempt, Change, both
from tests.support.fault_table.case import Case
from tests.support.fault_table.cells import (
    PRICES,
    column,
    column_as,
    date_number,
    dates,
    dates_as,
    nulled,
    put,
    scaled,
)
from tests.support.fault_table.market import AS_OF_DAY
from tests.support.fault_table.places import (
    AFTER_AS_OF,
    AS_OF_ROWS,
    EVERYWHERE,
    Place,
    any_rows,
    of_held,
    of_share,
    of_unwanted,
    session,
    since,
)
from tests.support.fault_table.rows import copied_rows, ordered, repeated_rows, without_rows
from tests.support.fault_table.verdicts import refused, same, told

UNSOUND = refused("not sound")
DAY = dt.timedelta(days=1)


def at(hour: int) -> Callable[[dt.date], dt.datetime]:
    """A timestamp of some hours after midnight."""
    return lambda day: dt.datetime.combine(day, dt.time(0)) + dt.timedelta(hours=hour)


def stamped(hour: int, where: Place) -> Change:
    """Timestamps of midnight, but for some rows."""

    def change(attempt: Attempt) -> None:
        hours = np.where(where.mask(attempt), hour, 0).astype("timedelta64[h]")
        put(attempt, "Date", pa.array(attempt.market.days.astype("datetime64[ms]") + hours))

    return change


def day_and_month_exchanged(day: dt.date) -> dt.date:
    return day.replace(month=day.day, day=day.month) if day.day <= 12 else day


DATES = (
    Case("dates a day later", dates(lambda day: day + DAY), UNSOUND),
    Case("dates a day earlier", dates(lambda day: day - DAY), UNSOUND),
    Case("dates a week earlier", dates(lambda day: day - 7 * DAY), UNSOUND),
    Case("dates a year later", dates(lambda day: day + 364 * DAY), refused("no rows for the as-of session")),
    Case("the as-of session under the rebalance day's date", dates(lambda day: day + DAY, where=session(0) | AFTER_AS_OF), refused("no rows for the as-of session 2025-09-30")),
    Case("day and month exchanged where that is a date", dates(day_and_month_exchanged), UNSOUND),
    Case("timestamps in UTC of midnight in Tokyo", dates(at(-9), pa.timestamp("us")), refused("with a time of day")),
    Case("timestamps of the close", dates(at(15), pa.timestamp("us")), refused("with a time of day")),
    Case("one timestamp of the close", stamped(15, AS_OF_ROWS & of_unwanted()), refused("with a time of day")),
    Case("timestamps with the zone of Tokyo", dates_as(pa.timestamp("us", tz="Asia/Tokyo")), refused("tz=Asia/Tokyo")),
    Case("timestamps with the zone UTC", dates_as(pa.timestamp("us", tz="UTC")), refused("tz=UTC")),
    Case("timestamps of midnight without a zone", dates(at(0), pa.timestamp("ns")), same()),
    Case("date64", dates_as(pa.date64()), same()),
    Case("dates as text", column_as("Date", pa.string()), refused("column Date has the wrong type", "string")),
    Case("dates as days since 1970", column_as("Date", pa.int32()), refused("column Date has the wrong type", "int32")),
    Case("dates as 20250930", column("Date", lambda a: [int(f"{day.item():%Y%m%d}") for day in a.market.days]), refused("column Date has the wrong type")),
    Case("one date is null", dates(lambda _: None, where=AS_OF_ROWS & of_unwanted()), refused("rows without a Date"), quick=True),
    Case("one date is the largest number", date_number(2**31 - 1), refused("dates that no calendar has")),
    Case("one date is the smallest number", date_number(-(2**31)), refused("dates that no calendar has")),
    Case("one date far in the future", dates(lambda _: dt.date(2052, 9, 30), where=session(-3) & of_unwanted()), same()),
    Case("one date in 1925", dates(lambda _: dt.date(1925, 9, 30), where=session(95) & of_unwanted()), same()),
)  # fmt: skip

SESSIONS = (
    Case("no as-of session", without_rows(AS_OF_ROWS), refused("no rows for the as-of session 2025-09-30"), quick=True),
    Case("the file ends a month before", without_rows(since(21)), refused("no rows for the as-of session 2025-09-30")),
    Case("the as-of session with 90 % of the stocks", without_rows(AS_OF_ROWS & of_share(0.1)), refused("incomplete for the as-of session")),
    Case("the as-of session with a third of the stocks", without_rows(AS_OF_ROWS & of_share(0.66)), refused("incomplete for the as-of session")),
    Case("a session of the lookback is absent", without_rows(session(10)), UNSOUND),
    Case("the session before the as-of session is absent", without_rows(session(1)), UNSOUND),
    Case("an old session of the lookback is absent", without_rows(session(60)), UNSOUND),
    Case("a week of the lookback is absent", without_rows(since(14) & ~since(9)), UNSOUND),
    Case("a thin session in the lookback", without_rows(session(10) & of_share(0.5)), told("2025-09-12")),
    Case("a session without any price in the lookback", nulled(PRICES, session(10)), UNSOUND),
    Case("a history shorter than the lookback", without_rows(~since(40)), refused("too few eligible stocks")),
    Case("only the as-of session", without_rows(~session(0)), refused("too few eligible stocks")),
    Case("rows of a Saturday", copied_rows(session(2), dt.date(2025, 9, 27)), UNSOUND),
    Case("rows of a Sunday", copied_rows(session(2), dt.date(2025, 9, 28)), UNSOUND),
    Case("rows of a holiday", copied_rows(session(10), dt.date(2025, 9, 15)), UNSOUND),
    Case("one row of a holiday", copied_rows(session(10) & of_unwanted(), dt.date(2025, 9, 23)), UNSOUND),
    Case("rows of a Saturday after the as-of session", copied_rows(AS_OF_ROWS, dt.date(2025, 10, 4)), same()),
    Case("nothing after the as-of session", without_rows(AFTER_AS_OF), same(), quick=True),
    Case("a session absent after the as-of session", without_rows(session(-2)), same()),
)  # fmt: skip

ROWS = (
    Case("no rows at all", without_rows(EVERYWHERE), refused("no rows for the as-of session")),
    Case("one row twice", repeated_rows(AS_OF_ROWS & of_unwanted()), refused("duplicate (Date, Code) rows", "received=1 duplicates")),
    Case("all rows twice", repeated_rows(EVERYWHERE), refused("duplicate (Date, Code) rows")),
    Case("one row twice with two closes", both(copied_rows(AS_OF_ROWS & of_unwanted(), AS_OF_DAY)), refused("duplicate (Date, Code) rows")),
    Case("one row twice after the as-of session", repeated_rows(session(-2) & of_unwanted()), same()),
    Case("rows sorted by stock", ordered("stock"), same()),
    Case("rows sorted newest first", ordered("newest"), same()),
    Case("rows in random order", ordered("random"), same()),
    Case("a third of the stocks", without_rows(of_share(0.66)), refused("too few eligible stocks")),
    Case("a held stock ends ten sessions ago", without_rows(of_held() & since(10)), told("held stocks have no close"), held=True),
    Case("a third of the held stocks without any row since September", without_rows(of_held(12) & since(20)), refused("held"), held=True),
    Case("all held stocks without any row since September", without_rows(of_held(99) & since(21)), refused(), held=True),
    Case("a stock comes back after a gap at seven times its price", both(scaled(PRICES, 7.0, of_unwanted() & since(30)), without_rows(of_unwanted() & since(50) & ~since(30))), told("13010")),
    Case("3 % of the rows of the lookback are absent", without_rows(since(60) & ~since(1) & any_rows(0.03)), told("rows")),
)  # fmt: skip

CASES = (*DATES, *SESSIONS, *ROWS)
