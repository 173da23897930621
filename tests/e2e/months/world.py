"""Months up to the latest due one, and what a run of the monthly DAG does to their store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from local_airflow.client import AirflowClient
from local_airflow.processes import EmbeddedAirflow

from apex_tasks.market.calendar import TseCalendar, tokyo_date
from apex_tasks.store import Store
from tests.support.started_airflow import DAG_ID
from tests.support.waiting import wait_for

PERFORMANCE, REHEARSAL = "apex_performance", "apex_rehearsal"
TASKS = (
    "dataset_fresh",
    "validate_bundle",
    "build_panel",
    "infer",
    "previous_month",
    "apply_costs",
    "approval",
    "publish",
)
RUN_SECONDS, START_SECONDS = 120.0, 30.0
CLOSING_SECONDS = 150.0
"""Airflow closes a backfill up to half a minute after its last run, and one that met a lock after two minutes."""
CALENDAR = TseCalendar.load()


def previous_month(day: dt.date) -> dt.date:
    return CALENDAR.latest_rebalance_session(day - dt.timedelta(days=1))


def _latest_due() -> dt.date:
    """The rebalance day whose opening was last, as seen from now."""
    now = dt.datetime.now(dt.UTC)
    day = CALENDAR.latest_rebalance_session(tokyo_date(now))
    return day if CALENDAR.rebalance_instant(day) <= now else previous_month(day)


LATEST = _latest_due()
MONTHS = (previous_month(previous_month(LATEST)), previous_month(LATEST), LATEST)
AS_OF = {day: CALENDAR.as_of(day) for day in MONTHS}


@dataclass(frozen=True)
class World:
    """The inputs, the store and the Airflow."""

    airflow: EmbeddedAirflow
    environment: Mapping[str, str]

    @property
    def client(self) -> AirflowClient:
        return self.airflow.client

    @property
    def store(self) -> Store:
        return Store(self.environment["APEX_HOME"])

    def finish(self, conf: Mapping[str, object]) -> tuple[str, str]:
        """Trigger a manual run and wait for its end: run id and state."""
        run_id = self.client.trigger(DAG_ID, conf)
        return run_id, self.client.wait_run(DAG_ID, run_id, RUN_SECONDS)

    def states(self, run_id: str) -> dict[str, str]:
        return {name: task["state"] for name, task in self.client.tasks(DAG_ID, run_id).items()}

    def published_bytes(self) -> dict[str, bytes]:
        """Every byte under portfolio/ and of the audit trail."""
        home = Path(self.environment["APEX_HOME"])
        return {
            str(path): path.read_bytes()
            for part in ("portfolio", "audit")
            for path in sorted((home / part).rglob("*"))
            if path.is_file()
        }


@dataclass(frozen=True)
class History:
    """What was seen while two months were backfilled and the due slot ran by itself."""

    next_run_while_paused: str
    runs: dict[dt.date, dict[str, Any]]
    performance_before: dict[str, str]


def backfill(client: AirflowClient, first: dt.date, last: dt.date, conf: Mapping[str, object]) -> None:
    """Create a backfill as the web interface does."""
    bounds = {"from_date": first, "to_date": last}
    instants = {name: CALENDAR.rebalance_instant(day).isoformat() for name, day in bounds.items()}
    body = {"dag_id": DAG_ID, "dag_run_conf": dict(conf), **instants}

    def created() -> bool:
        try:
            client.call("POST", "/backfills", json=body)
        except httpx.HTTPStatusError as refused:
            # Airflow runs one backfill of a DAG at a time.
            if refused.response.status_code != httpx.codes.CONFLICT:
                raise
            return False
        return True

    wait_for(created, CLOSING_SECONDS)


def wait_for_run_of(client: AirflowClient, month: dt.date) -> str:
    """The id of the run of a month's slot, once there is one."""
    wanted = CALENDAR.rebalance_instant(month)

    def run_id() -> str | None:
        for run in client.runs(DAG_ID):
            if run["logical_date"] and dt.datetime.fromisoformat(run["logical_date"]) == wanted:
                return str(run["dag_run_id"])
        return None

    return str(wait_for(run_id, START_SECONDS))
