"""Sensor: the book of the month before is there, or nothing will bring it any more."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout
from monthly_run_tasks import refusal_fails, request_of

SLOT_RUN_TYPES = ("scheduled", "backfill")


class MonthBeforeSensor(BaseSensorOperator):
    """Keeps the books of several months in order while their early steps overlap.

    A scheduled or backfilled run waits while the run of the rebalance before it is under way. Where that run
    has failed it fails as well, with a message: one failed month stops what follows from it and nothing else.
    In all other cases `apply_costs` decides whether there is a book to start from. A run by hand waits for
    nobody: it is how an operator makes up a month.
    """

    def poke(self, context: Any) -> bool:
        """Look at the store, then at the run of the rebalance before."""
        from apex_tasks.market.calendar import TseCalendar
        from apex_tasks.published import latest_version
        from apex_tasks.refusal import Refusal
        from apex_tasks.store import Store

        if context["dag_run"].run_type not in SLOT_RUN_TYPES:
            return True
        with refusal_fails():
            request, calendar = request_of(context), TseCalendar.load()
            nth_session = request.settings.schedule.nth_session
            before = calendar.previous_rebalance_session(request.rebalance_date, nth_session)
            if latest_version(Store(request.settings.home), before) is not None:
                return True
        slot = calendar.rebalance_instant(before).astimezone(dt.UTC)
        if self._runs(context, slot, "queued", "running"):
            self._refusal = Refusal(
                "the run of the month before is still under way",
                expected=f"a portfolio of {before}",
                received="a run that has not ended",
                where=f"{self.dag_id}, {slot.isoformat()}",
                remedy="See why that run does not end, then clear this task; a backfill must run forwards.",
            )
            self.log.info("Waiting: %s", self._refusal)
            return False
        if self._runs(context, slot, "failed"):
            with refusal_fails():
                raise Refusal(
                    "the run of the month before failed, so this one has no book to start from",
                    expected=f"a portfolio of {before}",
                    received="a failed run",
                    where=f"{self.dag_id}, {slot.isoformat()}",
                    remedy="Make that month up (clear its failed tasks, or trigger it by hand), then clear this "
                    "task; or trigger this month by hand with cold_start.",
                )
        return True

    def execute(self, context: Any) -> Any:
        """Wait; replace the bare timeout by what was waited for."""
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            with refusal_fails():
                raise self._refusal from None

    def _runs(self, context: Any, slot: dt.datetime, *states: str) -> int:
        return int(context["ti"].get_dr_count(dag_id=self.dag_id, logical_dates=[slot], states=list(states)))
