"""Airflow with the demo's synthetic data and bundle in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import datetime as dt
import signal
import sys
import time
from zoneinfo import ZoneInfo

from local_airflow.console import step
from local_airflow.demo import BANNER, DAG_ID, MONTH_DEMO
from local_airflow.environment import USER, free_port
from local_airflow.processes import AirflowFailedError, EmbeddedAirflow
from rich.console import Console
from rich.markup import escape

from apex_tasks.refusal import Refusal

PREFERRED_PORT = 8080


def main() -> int:
    """Run until stopped; the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False)
    console.print(BANNER)
    try:
        airflow = MONTH_DEMO.airflow(free_port(PREFERRED_PORT))
        airflow.acquire()
        try:
            MONTH_DEMO.make_inputs(console)
            with step(console, "Airflow, 4 processes") as running:
                airflow.start()
                airflow.wait_healthy(DAG_ID)
                running.result = f"logs in {airflow.logs}"
            _describe(console, airflow)
            _supervise(console, airflow)
        finally:
            with console.status("Stopping Airflow"):
                airflow.stop()
    except (AirflowFailedError, Refusal) as error:
        console.print(f"[red]✘[/] {escape(str(error))}", soft_wrap=True)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        console.print("Stopped.")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _describe(console: Console, airflow: EmbeddedAirflow) -> None:
    dag = airflow.client.dag(DAG_ID) or {}
    due = dag.get("next_dagrun_run_after")
    when = (
        f"{dt.datetime.fromisoformat(due).astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d %H:%M} JST"
        if due
        else "none"
    )
    console.print(f"Address   {airflow.url}/dags/{DAG_ID}", soft_wrap=True)
    console.print(f"Login     user {USER}, password {escape(airflow.password)}")
    console.print(f"Next run  {when}{' once the DAG is unpaused' if dag.get('is_paused') else ''}")
    console.print("Ctrl-C stops it.")


def _supervise(console: Console, airflow: EmbeddedAirflow) -> None:
    while True:
        time.sleep(1.0)
        for name, code in airflow.supervise().items():
            console.print(f"[yellow]{name} ended with {code}; it was started again[/]")


if __name__ == "__main__":
    sys.exit(main())
