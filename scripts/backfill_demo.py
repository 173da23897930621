"""Twenty-two months by `airflow backfill create` on synthetic data: the backtest of what is run every month."""

from __future__ import annotations

import datetime as dt
import json
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from local_airflow.backfill import create_backfill
from local_airflow.client import FINISHED
from local_airflow.console import step
from local_airflow.demo import BANNER, DAG_ID, REPO, Demo, DemoFailedError, short, task_failures
from local_airflow.processes import AirflowFailedError, EmbeddedAirflow
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from apex_tasks.demo.defaults import DEFAULT_SESSIONS
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.published.portfolio import PublishedPortfolio, published_dates
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store

FIRST_DAY, LAST_DAY = dt.date(2024, 1, 1), dt.date(2025, 10, 31)
FIRST_AS_OF = dt.date(2023, 12, 29)
SESSIONS_AFTER = 448
"""Sessions from the one after the first as-of session to the last of the dataset."""
BACKTEST = Demo(
    REPO / ".demo" / "backfill", sessions=DEFAULT_SESSIONS + SESSIONS_AFTER, trained_until=FIRST_AS_OF
)
MONTHS_AT_ONCE = 3
RUN_TIMEOUT_SECONDS = 1_800.0
LOOK_SECONDS = 1.0


def main() -> int:
    """Publish all months, or show those that are there; the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False)
    console.print(BANNER)
    begin = time.monotonic()
    try:
        months = _months()
        published = BACKTEST.published()
        if published.keys() >= set(months):
            console.print(
                f"[green]✔[/] All {len(months)} months are published already and unchanged: nothing to do."
            )
        else:
            if published:
                console.print(f"{len(published)} of {len(months)} months are published: going on from there.")
            published = _run(console, months)
    except (AirflowFailedError, DemoFailedError, Refusal) as error:
        console.print(f"[red]✘ The backfill demo failed.[/] {escape(str(error))}", soft_wrap=True)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        console.print("Stopped. `make backfill-demo` goes on from what is published.")
        return 130
    _show(console, [published[month] for month in months])
    console.print(f"Elapsed          {time.monotonic() - begin:.0f} s")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _months() -> list[dt.date]:
    """The rebalance days of the period."""
    return TseCalendar.load().rebalance_sessions(FIRST_DAY, LAST_DAY)


def _run(console: Console, months: list[dt.date]) -> dict[dt.date, PublishedPortfolio]:
    airflow = BACKTEST.airflow()
    airflow.acquire()
    try:
        # The database is made on one core while the market is simulated on the other.
        with ThreadPoolExecutor(1) as background:
            migrated = background.submit(airflow.migrate)
            BACKTEST.make_inputs(console)
            migrated.result()
        console.print(
            f"  The bundle has seen nothing after {BACKTEST.trained_until}: every month is out of its sample.",
            soft_wrap=True,
        )
        with step(console, "Airflow, 4 processes") as running:
            airflow.start()
            airflow.wait_healthy(DAG_ID)
            running.result = f"{airflow.url}, logs in {short(airflow.logs)}"
        _backfill(console, airflow, months)
    finally:
        with console.status("Stopping Airflow"):
            airflow.stop()
    published = BACKTEST.published()
    if missing := [str(month) for month in months if month not in published]:
        raise DemoFailedError(f"the runs succeeded, but {BACKTEST.apex_home} lacks {', '.join(missing)}")
    return published


def _backfill(console: Console, airflow: EmbeddedAirflow, months: list[dt.date]) -> None:
    """Bring what an earlier start left under way to its end, then backfill what has failed or never ran."""
    airflow.client.set_paused(DAG_ID, False)
    with _progress(console) as progress:
        bar = progress.add_task("Backfill", total=len(months), rate="", busy="")
        _wait(console, airflow, progress, bar)
        if len(published_dates(Store(BACKTEST.apex_home))) < len(months):
            progress.update(bar, busy="airflow backfill create")
            create_backfill(
                airflow,
                DAG_ID,
                *("--from-date", str(FIRST_DAY), "--to-date", str(LAST_DAY)),
                *("--max-active-runs", str(MONTHS_AT_ONCE), "--reprocess-behavior", "failed"),
                *("--dag-run-conf", json.dumps({"cold_start": True})),
            )
            _wait(console, airflow, progress, bar)
    failed = [run for run in airflow.client.runs(DAG_ID) if run["state"] == "failed"]
    if failed:
        # The others only say that the month before them failed.
        first = min(failed, key=lambda run: str(run["logical_date"]))
        reasons = "\n".join(task_failures(airflow, first["dag_run_id"]))
        raise DemoFailedError(f"{len(failed)} months failed, {first['dag_run_id']} first.\n{reasons}")


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f} months published"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left  [dim]{task.fields[busy]}"),
        console=console,
        speed_estimate_period=180.0,
    )


def _wait(console: Console, airflow: EmbeddedAirflow, progress: Progress, bar: Any) -> None:
    """Wait until no run is under way; a component that crashes is started again."""
    store = Store(BACKTEST.apex_home)
    begin, at_first = time.monotonic(), len(published_dates(store))
    while True:
        for name, code in airflow.supervise().items():
            console.print(f"[yellow]{name} ended with {code}; it was started again[/]")
        done, taken = len(published_dates(store)), time.monotonic() - begin
        rate = f"{taken / (done - at_first):.0f} s/month" if done > at_first else ""
        progress.update(bar, completed=done, rate=rate)
        try:
            under_way = [run for run in airflow.client.runs(DAG_ID) if run["state"] not in FINISHED]
            if not under_way:
                return
            progress.update(bar, busy=_busy(airflow, under_way))
        except httpx.TransportError:
            progress.update(bar, busy="waiting for the API server")
        if taken > RUN_TIMEOUT_SECONDS:
            raise DemoFailedError(f"{done} months published after {taken:.0f} s; logs: {airflow.logs}")
        time.sleep(LOOK_SECONDS)


def _busy(airflow: EmbeddedAirflow, runs: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{run['logical_date'][:7]} {name}"
        for run in runs
        if run["state"] == "running"
        for name, task in airflow.client.tasks(DAG_ID, run["dag_run_id"]).items()
        if task["state"] == "running"
    )


def _show(console: Console, months: list[PublishedPortfolio]) -> None:
    table = Table(title=f"{len(months)} months, backfilled; value before trading (SYNTHETIC)")
    for heading in ("month", "positions", "turnover", "cost JPY", "cost bps", "value JPY"):
        table.add_column(heading, justify="left" if heading == "month" else "right", no_wrap=True)
    runs = [month.run() for month in months]
    for month, run in zip(months, runs, strict=True):
        metrics = run.metrics
        table.add_row(
            str(month.rebalance_date),
            f"{metrics.positions:.0f}",
            f"{metrics.turnover:.1%}",
            f"{metrics.cost_jpy:,.0f}",
            f"{metrics.apex_daily_cost_bps:.2f}",
            f"{metrics.portfolio_value_jpy:,.0f}",
        )
    console.print(table)
    cost = sum(run.metrics.cost_jpy for run in runs)
    console.print(f"Cost             {cost:,.0f} JPY in {len(months)} months")
    alerts = sum(len(run.alerts) for run in runs)
    console.print(f"Alerts           {alerts} in run.json of all months")
    console.print(f"Folder           {short(BACKTEST.apex_home)}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
