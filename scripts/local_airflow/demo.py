"""What the demos and the local Airflow share: a folder with synthetic inputs, the store and Airflow."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from apex_tasks.demo.defaults import DEFAULT_SESSIONS
from apex_tasks.published import audit
from apex_tasks.published.portfolio import PublishedPortfolio, published_months
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store
from local_airflow.console import Step, step
from local_airflow.processes import EmbeddedAirflow

REPO = Path(__file__).resolve().parents[2]
COMPLETE = "complete.json"
DAG_ID = "apex_monthly_rebalance"
LAST_SESSION = dt.date(2025, 10, 31)
BANNER = "[bold black on yellow] SYNTHETIC [/] Simulated prices and a model trained on them. Not for trading."


class DemoFailedError(Exception):
    """A month was not published; the message says which task failed, why, and where its log is."""


@dataclass(frozen=True)
class Demo:
    """One demo's folder.

    Attributes
    ----------
    root
        Holds the inputs, the store and Airflow; all of it can be made again.
    sessions
        TSE sessions of the synthetic market, up to `LAST_SESSION`.
    trained_until
        The bundle is trained and judged on rows up to this day; None: on all.
    """

    root: Path
    sessions: int = DEFAULT_SESSIONS
    trained_until: dt.date | None = None

    @property
    def apex_home(self) -> Path:
        """The store."""
        return self.root / "apex_home"

    @property
    def dataset(self) -> Path:
        """The synthetic dataset."""
        return self.root / "data" / "dataset.parquet"

    @property
    def bundle(self) -> Path:
        """The bundle that was trained on it."""
        return self.root / "bundle" / "model"

    def airflow(self, port: int | None = None) -> EmbeddedAirflow:
        """This demo's Airflow, with this checkout's DAGs and plugins."""
        return EmbeddedAirflow(
            self.root / "airflow",
            REPO / "dags",
            REPO / "plugins",
            environment={
                "APEX_HOME": str(self.apex_home),
                "APEX_BUNDLE": str(self.bundle),
                "APEX_DATASET": str(self.dataset),
                "APEX_FRESHNESS__POKE_INTERVAL_SECONDS": "1",
                # The synthetic data ends with one month: unpausing must not run a later one that was missed.
                "APEX_SCHEDULE__GRACE_DAYS": "0",
            },
            port=port,
        )

    def published(self) -> dict[dt.date, PublishedPortfolio]:
        """The published months by rebalance day, once the audit trail vouches for them.

        Raises
        ------
        Refusal
            Something in the store was changed after publication.
        """
        store = Store(self.apex_home)
        found = {month.rebalance_date: month for month in published_months(store)}
        if found and (problems := audit.verify(store).problems):
            raise Refusal(
                "what the demo published was changed",
                expected="an audit trail and folders that agree",
                received="; ".join(problems),
                where=self.apex_home,
                remedy="`make clean` removes the demos' folder, then run the demo again.",
            )
        return {day: portfolio for day, portfolio in found.items() if portfolio is not None}

    def make_inputs(self, console: Console) -> None:
        """Make the dataset and the bundle, each unless it is there, complete and unchanged."""
        # Imported here: a demo that finds its months published needs neither pyarrow nor torch.
        data, bundle = self.dataset.parent, self.bundle.parent
        with step(console, "Synthetic market") as running:
            if (found := _complete(data)) is None:
                from apex_tasks.demo.market import write_demo_data

                made = write_demo_data(data, sessions=self.sessions, end=LAST_SESSION, progress=running.tell)
                found = _seal(data, f"{made.stocks} stocks, {made.sessions} sessions, {made.rows:,} rows")
            running.result = found["summary"]
        with step(console, "Synthetic bundle") as running:
            trained_on = f"{found['files'][self.dataset.name]} up to {self.trained_until or LAST_SESSION}"
            if (found := _complete(bundle)) is None or found["trained_on"] != trained_on:
                shutil.rmtree(bundle, ignore_errors=True)
                found = _seal(bundle, self._train(running), trained_on=trained_on)
            running.result = found["summary"]

    def _train(self, running: Step) -> str:
        from apex_tasks.demo.bundle import write_demo_bundle

        with tempfile.TemporaryDirectory(dir=self.root) as scratch:
            known = self.dataset
            if self.trained_until is not None:
                import pyarrow.parquet as pq

                known = Path(scratch) / self.dataset.name
                pq.write_table(
                    pq.read_table(self.dataset, filters=[("Date", "<=", self.trained_until)]), known
                )
            made = write_demo_bundle(self.bundle, known, progress=running.tell)
        return (
            f"rank IC of h20 {made.rank_ic_out_of_sample:+.3f} out of sample "
            f"({made.out_of_sample_dates} dates), {made.rank_ic_in_sample:+.3f} in sample"
        )


MONTH_DEMO = Demo(REPO / ".demo")


def task_failures(airflow: EmbeddedAirflow, run_id: str) -> list[str]:
    """One text per failed task: its name, the end of its log, where the log is stored."""
    lines = []
    for name, task in airflow.client.tasks(DAG_ID, run_id).items():
        if task["state"] in ("failed", "up_for_retry"):
            log = airflow.client.task_log(DAG_ID, run_id, name, task["try_number"])
            file = airflow.logs / f"dag_id={DAG_ID}" / f"run_id={run_id}" / f"task_id={name}"
            lines.append(f"Task {name} failed. {_reason(log)}\nLog: {file}/attempt={task['try_number']}.log")
    return lines or [f"No task of {run_id} has failed; logs: {airflow.logs}"]


def short(path: Path) -> Path:
    """The path from here, where it is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _reason(log: str) -> str:
    after = log.partition("Task failed with exception\n")[2].splitlines()
    line = next((line for line in after if line and not line.startswith("::")), log[-500:])
    return line.removeprefix("AirflowFailException: ")


def _complete(folder: Path) -> dict[str, Any] | None:
    """What `_seal` wrote, if every file is still the one that was sealed."""
    seal = folder / COMPLETE
    if not seal.is_file():
        return None
    found: dict[str, Any] = json.loads(seal.read_text())
    return found if found["files"] == _hashes(folder) else None


def _seal(folder: Path, summary: str, **details: str) -> dict[str, Any]:
    """Declare a folder complete; written last and at once, so a killed run leaves no such claim."""
    seal = {"summary": summary, "files": _hashes(folder), **details}
    partial = folder / f"{COMPLETE}.partial"
    partial.write_text(json.dumps(seal, indent=1))
    partial.replace(folder / COMPLETE)
    return seal


def _hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(COMPLETE):
            with path.open("rb") as file:
                hashes[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
