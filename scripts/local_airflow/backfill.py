"""``airflow backfill create`` as an operator runs it, and again while something is only in its way."""

from __future__ import annotations

import time

import httpx

from local_airflow.processes import AirflowFailedError, EmbeddedAirflow

IN_THE_WAY = ("database is locked", "Another backfill is running")
LOOK_SECONDS = 1.0


def create_backfill(
    airflow: EmbeddedAirflow, dag_id: str, *arguments: str, timeout_seconds: float = 240.0
) -> None:
    """Create a backfill.

    Airflow has one backfill of a DAG open at a time and closes it up to half a minute after its last run.
    It may also meet a lock of the database, and then takes back what it had created.

    Parameters
    ----------
    arguments
        Of the command, after ``--dag-id``.

    Raises
    ------
    AirflowFailedError
        It is refused for another reason, or there is no way within `timeout_seconds`.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        airflow.supervise()
        said = "another backfill is open"
        if not _has_open_backfill(airflow, dag_id):
            done = airflow.cli("backfill", "create", "--dag-id", dag_id, *arguments)
            if not done.returncode:
                return
            said = done.stdout + done.stderr
            if not any(cause in said for cause in IN_THE_WAY):
                raise AirflowFailedError(f"airflow backfill create failed:\n{said}")
        if time.monotonic() > deadline:
            raise AirflowFailedError(f"no backfill within {timeout_seconds:.0f} s:\n{said}")
        time.sleep(LOOK_SECONDS)


def _has_open_backfill(airflow: EmbeddedAirflow, dag_id: str) -> bool:
    try:
        found = airflow.client.call("GET", "/backfills", params={"dag_id": dag_id})["backfills"]
    except httpx.TransportError:
        return True  # the API server is being started again
    return any(each["completed_at"] is None for each in found)
