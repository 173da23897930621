"""Sensor: the dataset is complete for the as-of session of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowSensorTimeout

from apex_airflow.tasks import WAITING, fail_on_refusal, run_request_from
from apex_tasks.market.calendar import TOKYO
from apex_tasks.refusal import DatasetLate, Refusal

if TYPE_CHECKING:
    from airflow.sdk import Context


class DatasetFreshSensor(BaseSensorOperator):
    """Waits until the as-of session is in the dataset with enough rows, closes and volumes of its own.

    A missing or unreadable file counts as "not yet": deliveries are often copied while the sensor looks. A fault that
    no later look mends, such as shifted dates, fails the task at once. What is
    missing, and since when, is stored in its XCom `waiting`, for deadlines that pass between two looks. On timeout
    the task fails with the same.
    """

    _refusal: DatasetLate

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once at the prices, volumes and dates up to the as-of session; no feature is decoded."""
        from apex_tasks.dataset.freshness import check_freshness
        from apex_tasks.dataset.judgement.judge import judge_prices
        from apex_tasks.dataset.schema import open_dataset
        from apex_tasks.market.calendar import TseCalendar
        from apex_tasks.monthly.admission import require_newest
        from apex_tasks.store import Store

        with fail_on_refusal():
            request = run_request_from(context)
            require_newest(request, Store(request.settings.home))
            settings = request.settings
        try:
            dataset = open_dataset(request.dataset)
            state = check_freshness(dataset, request.as_of, settings.freshness)
            judgement = judge_prices(dataset, request.as_of, settings, TseCalendar.load())
            refusal = state.refusal() if not state.ready else judgement.refusal(request.dataset)
            waits = not state.ready or judgement.may_mend_itself
        except Refusal as unreadable:
            refusal, waits = unreadable, True
        if refusal is not None and not waits:
            with fail_on_refusal():
                raise refusal
        if refusal is not None:
            self._refusal = _awaited(refusal, context)
            self.log.info("Waiting: %s", self._refusal)
            context["ti"].xcom_push(WAITING, vars(self._refusal))
            return PokeReturnValue(is_done=False)
        self.log.info(
            "Dataset has %d rows on %s, trailing median %g", state.rows, state.as_of, state.median_rows
        )
        return PokeReturnValue(is_done=True, xcom_value={"as_of": str(state.as_of), "rows": state.rows})

    def execute(self, context: Context) -> Any:
        """Wait; replace the bare timeout by what is missing."""
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            with fail_on_refusal():
                raise self._refusal from None


def _awaited(refusal: Refusal, context: Context) -> DatasetLate:
    """The refusal, with the time of the first look."""
    ti = context["ti"]
    since = (ti.get_first_reschedule_date(context) or ti.start_date).astimezone(TOKYO)
    return DatasetLate(
        f"{refusal.what}, awaited since {since:%Y-%m-%d %H:%M} JST",
        expected=refusal.expected,
        received=refusal.received,
        where=refusal.where,
        remedy=refusal.remedy,
    )
