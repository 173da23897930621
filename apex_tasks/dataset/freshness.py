"""Whether the dataset is complete for an as-of session."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

from apex_tasks.dataset.schema import (
    DATE,
    DatasetFile,
    dates_as_days,
    day_from_epoch,
    days_since_epoch,
)
from apex_tasks.refusal import Refusal
from apex_tasks.settings import FreshnessSettings

CHECK_DELIVERY = (
    "Check the data delivery. Under Airflow dataset_fresh waits for it; clear that task if it timed out."
)
SEARCH_DAYS_PER_SESSION = 2.5  # calendar days per session, with room for the longest holidays


@dataclass(frozen=True)
class Freshness:
    """State of the dataset for one as-of session.

    Attributes
    ----------
    as_of
        Session that must be complete.
    last_day
        Last date in the file, None for an empty file.
    rows
        Rows of the as-of session.
    median_rows
        Median rows of the sessions before it, 0 when the file has none.
    min_row_ratio
        Least share of the median that counts as complete.
    path
        The dataset.
    """

    as_of: dt.date
    last_day: dt.date | None
    rows: int
    median_rows: float
    min_row_ratio: float
    path: str

    @property
    def ready(self) -> bool:
        """Whether the session is there with enough rows."""
        return self.rows > 0 and self.rows >= self.min_row_ratio * self.median_rows

    def refusal(self) -> Refusal:
        """The refusal when the session is missing or incomplete."""
        if self.rows == 0:
            return Refusal(
                f"dataset has no rows for the as-of session {self.as_of}",
                expected=f"rows of {self.as_of}",
                received=f"last date {self.last_day}",
                where=self.path,
                remedy=CHECK_DELIVERY,
            )
        return Refusal(
            f"dataset is incomplete for the as-of session {self.as_of}",
            expected=f"at least {self.min_row_ratio:.0%} of the trailing median of {self.median_rows:g} rows",
            received=f"{self.rows} rows",
            where=self.path,
            remedy=CHECK_DELIVERY,
        )


def check_freshness(dataset: DatasetFile, as_of: dt.date, settings: FreshnessSettings) -> Freshness:
    """Look at the footer and the dates near the as-of session; no feature is decoded.

    A file that reaches beyond the as-of session is fine: a backfill looks at an earlier month, and nothing
    after the as-of session is ever used.

    Raises
    ------
    Refusal
        A row group is damaged, or the file is another one by now.
    """
    counts, last_day = _rows_per_day(dataset, as_of, settings.trailing_sessions)
    rows = counts.pop(as_of, 0)
    before = [counts[day] for day in sorted(counts)][-settings.trailing_sessions :]
    return Freshness(
        as_of,
        last_day,
        rows,
        float(np.median(before)) if before else 0.0,
        settings.min_row_ratio,
        str(dataset.path),
    )


def _rows_per_day(
    dataset: DatasetFile, as_of: dt.date, sessions: int
) -> tuple[dict[dt.date, int], dt.date | None]:
    """Count the rows of the sessions up to `as_of`, and find the last date of the file."""
    start = as_of - dt.timedelta(days=int(sessions * SEARCH_DAYS_PER_SESSION) + 14)
    counts: dict[dt.date, int] = {}
    ends = [group.last for group in dataset.row_groups if group.last is not None]
    with dataset.open() as file:
        for group in dataset.row_groups:
            if not group.may_hold(start, as_of):
                continue
            days = dates_as_days(file.read_row_group(group.index, columns=[DATE])[DATE])
            if group.last is None and len(days):
                ends.append(day_from_epoch(days.max()))
            days = days[(days >= days_since_epoch(start)) & (days <= days_since_epoch(as_of))]
            for day, count in zip(*np.unique(days, return_counts=True), strict=True):
                counts[day_from_epoch(day)] = counts.get(day_from_epoch(day), 0) + int(count)
    return counts, max(ends, default=None)
