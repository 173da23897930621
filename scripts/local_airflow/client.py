"""The few calls of Airflow's REST API that the demo and the end-to-end tests make."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx

FINISHED = frozenset({"success", "failed"})
LOCKED = "database is locked"
LOCKED_TRIES = 5


class AirflowClient:
    """A logged-in client of one Airflow.

    Parameters
    ----------
    url
        Address of the API server, for example ``http://127.0.0.1:8080``.
    user, password
        Login of the simple auth manager.
    check_alive
        Called at every turn of a wait; raises when waiting has become pointless.

    Raises
    ------
    httpx.HTTPStatusError
        Any call that Airflow answers with 4xx or 5xx.
    """

    def __init__(
        self, url: str, user: str, password: str, check_alive: Callable[[], None] = lambda: None
    ) -> None:
        # trust_env off: a proxy of the machine must not see calls to the loopback address.
        self._http = httpx.Client(base_url=url, timeout=30.0, trust_env=False)
        self._check_alive = check_alive
        answer = self._http.post("/auth/token", json={"username": user, "password": password})
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Call ``/api/v2`` + `path`; the decoded answer, or None where there is no body.

        A call that met a lock of SQLite has changed nothing, and is made again.
        """
        for _ in range(LOCKED_TRIES):
            answer = self._http.request(method, f"/api/v2{path}", **arguments)
            if not (answer.is_server_error and LOCKED in answer.text.lower()):
                break
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """What Airflow knows of a DAG, or None while it has not been parsed."""
        try:
            return dict(self.call("GET", f"/dags/{dag_id}"))
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise

    def import_errors(self, since: datetime | None = None) -> dict[str, str]:
        """Trace of each DAG file that did not import, by file; `since` leaves out what is older."""
        found = self.call("GET", "/importErrors")["import_errors"]
        return {
            entry["filename"]: entry["stack_trace"]
            for entry in found
            if since is None or datetime.fromisoformat(entry["timestamp"]) >= since
        }

    def set_paused(self, dag_id: str, paused: bool) -> None:
        """Pause or unpause a DAG."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": paused})

    def trigger(self, dag_id: str, conf: Mapping[str, object], logical_date: datetime | None = None) -> str:
        """Start a manual run with these params; its run id."""
        body = {"logical_date": logical_date and logical_date.isoformat(), "conf": dict(conf)}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """All runs of a DAG, oldest first."""
        return list(self.call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "id"})["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        return dict(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def fail_unfinished_runs(self, dag_id: str) -> list[str]:
        """Mark as failed every run that a killed Airflow left behind; their ids."""
        left = [run["dag_run_id"] for run in self.runs(dag_id) if run["state"] not in FINISHED]
        for run_id in left:
            self.call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})
        return left

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """The task instances of a run, by task id."""
        found = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def task_log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        """The text of a task's log, one event a line, with the exception values."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        lines = []
        for entry in self.call("GET", path, headers={"Accept": "application/json"})["content"]:
            lines.append(str(entry["event"]))
            lines += [
                f"{detail['exc_type']}: {detail['exc_value']}" for detail in entry.get("error_detail") or ()
            ]
        return "\n".join(lines)

    def wait_run(
        self,
        dag_id: str,
        run_id: str,
        timeout_seconds: float,
        on_tasks: Callable[[dict[str, dict[str, Any]]], None] | None = None,
    ) -> str:
        """Wait until a run is over; its state, ``success`` or ``failed``.

        Parameters
        ----------
        on_tasks
            Called with the task instances at every look, for showing progress.

        Raises
        ------
        TimeoutError
            It is not over within `timeout_seconds`; tells the tasks' states and what does not import.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._check_alive()
            state = str(self.run(dag_id, run_id)["state"])
            if on_tasks:
                on_tasks(self.tasks(dag_id, run_id))
            if state in FINISHED:
                return state
            if time.monotonic() > deadline:
                states = {name: task["state"] for name, task in self.tasks(dag_id, run_id).items()}
                # A DAG file that has ceased to import stops its runs without a word.
                broken = "".join(f"\n{file}:\n{trace}" for file, trace in self.import_errors().items())
                raise TimeoutError(
                    f"run {run_id} is {state} after {timeout_seconds:.0f} s; tasks: {states}{broken}"
                )
            time.sleep(0.5)
