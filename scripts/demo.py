"""From nothing to a published month on a real Airflow, with synthetic data; a second run changes nothing."""

from __future__ import annotations

import csv
import datetime as dt
import io
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from local_airflow.console import Step, step
from local_airflow.demo import (
    BANNER,
    DAG_ID,
    LAST_SESSION,
    MONTH_DEMO,
    DemoFailedError,
    short,
    task_failures,
)
from local_airflow.processes import AirflowFailedError, EmbeddedAirflow
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from apex_tasks.published.portfolio import PORTFOLIO_FILE, PublishedPortfolio
from apex_tasks.refusal import Refusal

REBALANCE_DATE = dt.date(2025, 11, 4)
RUN_TIMEOUT_SECONDS = 180.0
TOP = 5


def main() -> int:
    """Publish the demo's month, or show the one that is there; the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False)
    console.print(BANNER)
    try:
        if (published := MONTH_DEMO.published().get(REBALANCE_DATE)) is not None:
            console.print(f"[green]✔[/] {REBALANCE_DATE} is published already and unchanged: nothing to do.")
        else:
            published = _publish(console)
    except (AirflowFailedError, DemoFailedError, Refusal) as error:
        console.print(f"[red]✘ The demo failed.[/] {escape(str(error))}", soft_wrap=True)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        console.print("Stopped. `make demo` goes on from what is complete.")
        return 130
    _show(console, published)
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _publish(console: Console) -> PublishedPortfolio:
    airflow = MONTH_DEMO.airflow()
    airflow.acquire()
    try:
        # The database is made on one core while the market is simulated on the other.
        with ThreadPoolExecutor(1) as background:
            migrated = background.submit(airflow.migrate)
            MONTH_DEMO.make_inputs(console)
            migrated.result()
        with step(console, "Airflow, 4 processes") as running:
            airflow.start()
            airflow.wait_healthy(DAG_ID)
            running.result = f"{airflow.url}, logs in {short(airflow.logs)}"
        with step(console, "DAG run") as running:
            running.result = _run_month(airflow, running)
    finally:
        with console.status("Stopping Airflow"):
            airflow.stop()
    published = MONTH_DEMO.published().get(REBALANCE_DATE)
    if published is None:
        raise DemoFailedError(
            f"the run succeeded, but {MONTH_DEMO.apex_home} holds no portfolio of {REBALANCE_DATE}"
        )
    return published


def _run_month(airflow: EmbeddedAirflow, running: Step) -> str:
    client = airflow.client
    client.fail_unfinished_runs(DAG_ID)
    client.set_paused(DAG_ID, False)
    run_id = client.trigger(DAG_ID, {"as_of": LAST_SESSION.isoformat(), "cold_start": True})

    def show(tasks: dict[str, dict[str, Any]]) -> None:
        busy = [name for name, task in tasks.items() if task["state"] == "running"]
        done = sum(task["state"] == "success" for task in tasks.values())
        running.tell(", ".join(busy) or "scheduling", done, max(1, len(tasks)))

    try:
        if client.wait_run(DAG_ID, run_id, RUN_TIMEOUT_SECONDS, show) == "success":
            return run_id
    except TimeoutError as slow:
        raise DemoFailedError("\n".join([str(slow), *task_failures(airflow, run_id)])) from None
    raise DemoFailedError("\n".join(task_failures(airflow, run_id)))


def _show(console: Console, published: PublishedPortfolio) -> None:
    run = published.run()
    metrics = run.metrics
    names = list(csv.DictReader(io.StringIO(published.artifact.read_bytes(PORTFOLIO_FILE).decode())))
    table = Table(title=f"Top {TOP} of {len(names)} names, rebalance {REBALANCE_DATE} (SYNTHETIC)")
    for heading in ("code", "sector", "weight", "score", "value JPY"):
        table.add_column(heading, justify="left" if heading in ("code", "sector") else "right")
    for name in names[:TOP]:
        table.add_row(
            name["code"],
            name["sector"],
            f"{float(name['weight']):.2%}",
            f"{float(name['score']):+.4f}",
            f"{float(name['value_jpy']):,.0f}",
        )
    console.print(table)
    alerts = [f"{alert.severity}: {alert.metric} = {alert.value:g}" for alert in run.alerts]
    verdict = (
        f"[yellow]published with alerts[/]: {', '.join(alerts)}"
        if alerts
        else "[green]published, no alert[/]"
    )
    console.print(f"Verdict          {verdict}")
    console.print(f"Portfolio value  {metrics.portfolio_value_jpy:,.0f} JPY before trading")
    console.print(f"Turnover         {metrics.turnover:.1%} one way, {metrics.trades:.0f} trades")
    console.print(f"Cost             {metrics.cost_jpy:,.0f} JPY = {metrics.apex_daily_cost_bps:.2f} bps")
    console.print(f"Folder           {short(Path(str(published.artifact.folder)))}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
