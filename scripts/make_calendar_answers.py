"""Freeze the rebalance days of 2000 to 2030 as the calendar package of another project sees them.

Writes `tests/market/rebalance_answers.csv` (month, rebalance_instant, as_of, witness). It asks
exchange_calendars, whose holidays are written down by hand up to 2040, and never this project's own calendar,
so that a test against the file compares two independent sources. The as-of of the first month stays empty: it
lies before the first day that this project's calendar answers for.

Usage: python scripts/make_calendar_answers.py
"""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

import exchange_calendars

FIRST_DAY, LAST_DAY = "2000-01-01", "2030-12-31"
ANSWERS_FILE = Path(__file__).resolve().parent.parent / "tests" / "market" / "rebalance_answers.csv"


def main() -> None:
    """Write the answers file."""
    tokyo = exchange_calendars.get_calendar("XTKS", start=FIRST_DAY, end=LAST_DAY)
    witness = f"exchange_calendars {exchange_calendars.__version__} XTKS"
    sessions = [session.date() for session in tokyo.sessions]
    session_before = dict(zip(sessions[1:], sessions, strict=False))
    with ANSWERS_FILE.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["month", "rebalance_instant", "as_of", "witness"])
        for month, days in groupby(sessions, key=lambda day: f"{day:%Y-%m}"):
            first = next(days)
            rows.writerow([month, f"{first}T09:00:00+09:00", session_before.get(first, ""), witness])


if __name__ == "__main__":
    main()
