"""Sensor: the dataset is complete for the as-of session of the run."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout
from monthly_run_tasks import refusal_fails, request_of


class DatasetFreshSensor(BaseSensorOperator):
    """Waits until the as-of session is in the dataset with enough rows.

    A missing or unreadable file counts as "not yet": deliveries are often copied while the sensor looks. On
    timeout the task fails with what was expected and what is there.
    """

    def poke(self, context: Any) -> PokeReturnValue:
        """Look once at the parquet footer and the rows per day near the as-of session."""
        from apex_tasks.dataset.freshness import check_freshness
        from apex_tasks.refusal import Refusal

        with refusal_fails():
            request = request_of(context)
        try:
            state = check_freshness(request.dataset, request.as_of, request.settings.freshness)
            refusal = None if state.ready else state.refusal()
        except Refusal as unreadable:
            refusal = unreadable
        if refusal is not None:
            self._why = str(refusal)
            self.log.info("Waiting: %s", self._why)
            return PokeReturnValue(is_done=False)
        self.log.info(
            "Dataset has %d rows on %s, trailing median %g", state.rows, state.as_of, state.median_rows
        )
        return PokeReturnValue(is_done=True, xcom_value={"as_of": str(state.as_of), "rows": state.rows})

    def execute(self, context: Any) -> Any:
        """Wait; replace the bare timeout by what is missing."""
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            raise AirflowFailException(self._why) from None
