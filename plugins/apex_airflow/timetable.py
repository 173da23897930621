"""Schedule of the monthly rebalance: 09:00 Tokyo time on the nth session of the Tokyo Stock Exchange."""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta
from typing import Any

import pendulum
from airflow.exceptions import AirflowTimetableInvalid
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable

from apex_tasks.market.calendar import FIRST_DAY, REBALANCE_TIME, TseCalendar, tokyo_date
from apex_tasks.refusal import Refusal

log = logging.getLogger(__name__)

_AFTER_MIDNIGHT = timedelta(hours=REBALANCE_TIME.hour, minutes=REBALANCE_TIME.minute)
_SUFFIXES = {1: "st", 2: "nd", 3: "rd"}
MAX_NTH_SESSION = 15
"""Every month has this many sessions, so that no month goes without a slot."""


class TseRebalanceTimetable(Timetable):
    """One run a month, at the opening of the nth TSE session, with a data interval of no length.

    The logical date, the data interval's ends and the run's due time are the same instant, the rebalance
    itself, so backfill bounds mean rebalance dates.

    Parameters
    ----------
    nth_session
        Which session of the month, 1 to 15.
    grace_days
        With catchup off, a slot missed by more than this many days is skipped and the next one awaited.
        None: the latest missed slot always runs, at once.

    Notes
    -----
    The closures file is read again for every slot, so that long-lived schedulers see an added closure.
    """

    periodic = True

    def __init__(self, nth_session: int = 1, grace_days: int | None = None) -> None:
        self.nth_session = nth_session
        self.grace_days = grace_days
        self.description = (
            f"At 09:00 JST on the {self._ordinal} session of the Tokyo Stock Exchange each month"
        )

    @property
    def summary(self) -> str:
        """Short name shown in the user interface."""
        return f"{self._ordinal} TSE session of the month, 09:00 JST"

    @property
    def _ordinal(self) -> str:
        return f"{self.nth_session}{_SUFFIXES.get(self.nth_session, 'th')}"

    def serialize(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON."""
        return {"nth_session": self.nth_session, "grace_days": self.grace_days}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> TseRebalanceTimetable:
        """Build the timetable from what `serialize` returned."""
        return cls(nth_session=data["nth_session"], grace_days=data["grace_days"])

    def validate(self) -> None:
        """Refuse wrong arguments or a wrong closures file when a DAG file is parsed.

        Raises
        ------
        AirflowTimetableInvalid
            With the whole message; Airflow shows it as the import error of the DAG file.
        """
        if not 1 <= self.nth_session <= MAX_NTH_SESSION:
            raise AirflowTimetableInvalid(
                f"nth_session is out of range: expected=1 to {MAX_NTH_SESSION}, received={self.nth_session}"
            )
        if self.grace_days is not None and self.grace_days < 0:
            raise AirflowTimetableInvalid(
                f"grace_days is negative: expected=0 or more, or None, received={self.grace_days}"
            )
        try:
            TseCalendar.load()
        except Refusal as refusal:
            raise AirflowTimetableInvalid(str(refusal)) from None

    def infer_manual_data_interval(self, *, run_after: pendulum.DateTime) -> DataInterval:
        """Return the instant of a manual run as its data interval."""
        return DataInterval.exact(run_after)

    def next_dagrun_info(
        self,
        *,
        last_automated_data_interval: DataInterval | None,
        restriction: TimeRestriction,
    ) -> DagRunInfo | None:
        """Return the next slot, or None past the restriction's or the calendar's end."""
        try:
            slot = self._next_slot(last_automated_data_interval, restriction)
        except Refusal as refusal:
            # Airflow would swallow an exception here, and a backfill would end early without a word.
            log.warning("No further rebalance slot: %s", refusal)
            return None
        if restriction.latest is not None and slot > restriction.latest:
            return None
        return DagRunInfo.exact(slot)

    def _next_slot(self, last: DataInterval | None, restriction: TimeRestriction) -> pendulum.DateTime:
        calendar = TseCalendar.load()
        candidates = []
        if last is not None:
            candidates.append(self._slot_after(last.end, calendar))
        if restriction.earliest is not None:
            candidates.append(self._slot_after(restriction.earliest - timedelta.resolution, calendar))
        if not restriction.catchup or not candidates:
            candidates.append(self._slot_due(_now(), calendar))
        return max(candidates)

    def _slot_after(self, instant: datetime, calendar: TseCalendar) -> pendulum.DateTime:
        return _slot(calendar.next_rebalance_session(_last_opening(instant), self.nth_session), calendar)

    def _slot_due(self, now: datetime, calendar: TseCalendar) -> pendulum.DateTime:
        latest = _slot(calendar.latest_rebalance_session(_last_opening(now), self.nth_session), calendar)
        if self.grace_days is not None and now - latest > timedelta(days=self.grace_days):
            return self._slot_after(now, calendar)
        return latest


def _last_opening(instant: datetime) -> date:
    """Newest Tokyo date whose opening is not after `instant`, and never before the calendar's first day."""
    return max(tokyo_date(instant - _AFTER_MIDNIGHT), FIRST_DAY)


def _slot(day: date, calendar: TseCalendar) -> pendulum.DateTime:
    # Airflow writes the run id from this value, and expects it in UTC.
    return pendulum.instance(calendar.rebalance_instant(day)).in_timezone("UTC")


def _now() -> pendulum.DateTime:
    return pendulum.now("UTC")
