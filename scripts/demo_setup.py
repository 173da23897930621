"""What the demo and the local Airflow share: one folder with synthetic inputs, the store and Airflow."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from console_steps import step
from embedded_airflow import EmbeddedAirflow
from rich.console import Console

REPO = Path(__file__).resolve().parents[1]
DEMO = REPO / ".demo"
DATA, BUNDLE, APEX_HOME, AIRFLOW_HOME = (DEMO / name for name in ("data", "bundle", "apex_home", "airflow"))
DATASET = DATA / "dataset.parquet"
COMPLETE = "complete.json"
DAG_ID = "apex_monthly_rebalance"
AS_OF = dt.date(2025, 10, 31)
REBALANCE_DATE = dt.date(2025, 11, 4)
BANNER = "[bold black on yellow] SYNTHETIC [/] Simulated prices and a model trained on them. Not for trading."


def make_inputs(console: Console) -> None:
    """Make the demo's dataset and bundle, each unless it is there, complete and unchanged."""
    # Imported here: a demo that finds its month published needs neither pyarrow nor torch.
    with step(console, "Synthetic market") as running:
        if (found := _complete(DATA)) is None:
            from apex_tasks.demo.market import write_demo_data

            data = write_demo_data(DATA, end=AS_OF, progress=running.tell)
            found = _seal(DATA, f"{data.stocks} stocks, {data.sessions} sessions, {data.rows:,} rows")
        running.result = found["summary"]
    with step(console, "Synthetic bundle") as running:
        trained_on = found["files"][DATASET.name]
        if (found := _complete(BUNDLE)) is None or found["trained_on"] != trained_on:
            from apex_tasks.demo.bundle import write_demo_bundle

            shutil.rmtree(BUNDLE, ignore_errors=True)
            bundle = write_demo_bundle(BUNDLE / "model", DATASET, progress=running.tell)
            found = _seal(
                BUNDLE,
                f"rank IC of h20 {bundle.rank_ic_out_of_sample:+.3f} out of sample "
                f"({bundle.out_of_sample_dates} dates), {bundle.rank_ic_in_sample:+.3f} in sample",
                trained_on=trained_on,
            )
        running.result = found["summary"]


def demo_airflow(port: int | None = None) -> EmbeddedAirflow:
    """The demo's Airflow, with this checkout's DAGs and plugins."""
    return EmbeddedAirflow(
        AIRFLOW_HOME,
        REPO / "dags",
        REPO / "plugins",
        environment={
            "APEX_HOME": str(APEX_HOME),
            "APEX_BUNDLE": str(BUNDLE / "model"),
            "APEX_DATASET": str(DATASET),
            "APEX_FRESHNESS__POKE_INTERVAL_SECONDS": "1",
            # The synthetic data ends with one month: unpausing must not run a later one that was missed.
            "APEX_SCHEDULE__GRACE_DAYS": "0",
        },
        port=port,
    )


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
