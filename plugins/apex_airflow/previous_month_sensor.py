"""Sensor: the book of the month before is published, or no run will publish it any more."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout

from apex_airflow.tasks import fail_on_refusal, run_request_from
from apex_tasks.refusal import Refusal

if TYPE_CHECKING:
    from airflow.sdk import Context

SLOT_RUN_TYPES = ("scheduled", "backfill")
ENDED = ("failed", "success")
MAKE_UP = (
    "Make that month up (clear its failed tasks, or trigger it by hand), then clear this task; or trigger this "
    "month by hand with cold_start."
)


class PreviousMonthSensor(BaseSensorOperator):
    """Keeps the books of several months in order while their early steps overlap.

    A scheduled or backfilled run waits while the run of the rebalance before it is under way. Where that run
    has ended without a portfolio it fails as well, with a message: one failed month stops what follows from it
    and nothing else. The parameters of a backfill hold for all of its months, so its `cold_start` only begins
    the first book ever. In all other cases `apply_costs` decides whether there is a book to start from. A run
    by hand waits for nobody: it is how an operator makes up a month, or starts again from cash.
    """

    _refusal: Refusal

    def poke(self, context: Context) -> bool:
        """Look at the store, then at the run of the rebalance before."""
        from apex_tasks.market.calendar import TseCalendar
        from apex_tasks.published.chain import due_before, published_for
        from apex_tasks.published.portfolio import last_published_before
        from apex_tasks.store import Store

        if context["dag_run"].run_type not in SLOT_RUN_TYPES:
            return True
        with fail_on_refusal():
            request, calendar = run_request_from(context), TseCalendar.load()
            store, nth_session = Store(request.settings.home), request.settings.schedule.nth_session
            before = due_before(store, request.rebalance_date, calendar, nth_session)
            if published_for(store, before, request.rebalance_date, calendar) is not None:
                return True
            slot = calendar.rebalance_instant(before).astimezone(dt.UTC)
            where = f"{self.dag_id}, {slot.isoformat()}"
            if not self._runs(context, slot):
                older = last_published_before(store, before)
                if request.cold_start and older is not None:
                    raise _gap(before, older.name, where)
                return True
            if not self._runs(context, slot, *ENDED):
                self._refusal = _under_way(before, where)
                self.log.info("Waiting: %s", self._refusal)
                return False
            # It may have published and ended since the first look.
            if published_for(store, before, request.rebalance_date, calendar) is not None:
                return True
            raise _failed(before, where) if self._runs(context, slot, "failed") else _empty(before, where)

    def execute(self, context: Context) -> Any:
        """Wait; replace the bare timeout by what was waited for."""
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            with fail_on_refusal():
                raise self._refusal from None

    def _runs(self, context: Context, slot: dt.datetime, *states: str) -> int:
        """Number of runs of that slot in these states, or in any."""
        return context["ti"].get_dr_count(
            dag_id=self.dag_id, logical_dates=[slot], states=list(states) or None
        )


def _gap(before: dt.date, older: str, where: str) -> Refusal:
    return Refusal(
        "a backfill does not start from cash when there is an older book",
        expected=f"a portfolio of {before}, or none at all of earlier months",
        received=f"the last one is {older}",
        where=where,
        remedy=f"Run the missing months first (up to {before}); or trigger this month by hand with cold_start, "
        "then backfill those after it.",
    )


def _under_way(before: dt.date, where: str) -> Refusal:
    return Refusal(
        "the run of the month before is still under way",
        expected=f"a portfolio of {before}",
        received="a run that has not ended",
        where=where,
        remedy="See why that run does not end, then clear this task; a backfill must run forwards.",
    )


def _failed(before: dt.date, where: str) -> Refusal:
    return Refusal(
        "the run of the month before failed, so this one has no book to start from",
        expected=f"a portfolio of {before}",
        received="a failed run",
        where=where,
        remedy=MAKE_UP,
    )


def _empty(before: dt.date, where: str) -> Refusal:
    return Refusal(
        "the run of the month before published nothing, so this one has no book to start from",
        expected=f"a portfolio of {before}",
        received="a dry run, or one that was marked as success by hand",
        where=where,
        remedy=MAKE_UP,
    )
