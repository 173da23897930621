"""The local Airflow as tests start it: on a copy of one migrated database, without waiting until it is healthy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local_airflow.environment import DATABASE
from local_airflow.processes import MIGRATED, EmbeddedAirflow

from tests.support.paths import ROOT

DAG_ID = "apex_monthly_rebalance"


@contextmanager
def started_airflow(
    migrated: Path, home: Path, dags: Path, environment: Mapping[str, str]
) -> Iterator[EmbeddedAirflow]:
    """The four processes; whoever makes the inputs meanwhile waits for them afterwards."""
    for name in (DATABASE, MIGRATED):
        shutil.copy(migrated / name, home)
    # A DAG file that a test adds is found at once.
    found_at_once = {
        f"AIRFLOW__DAG_PROCESSOR__{name}": "2"
        for name in ("REFRESH_INTERVAL", "BUNDLE_REFRESH_CHECK_INTERVAL")
    }
    with EmbeddedAirflow(home, dags, ROOT / "plugins", {**found_at_once, **environment}) as airflow:
        yield airflow


def copy_dag(
    folder: Path,
    dag_id: str,
    environment: Mapping[str, str],
    replaced: Mapping[str, str] | None = None,
) -> str:
    """Write the monthly DAG under another id; the new id.

    Parameters
    ----------
    environment
        Variables that its tasks, and its callbacks in the DAG processor, find set.
    replaced
        Pieces of its source, each of which occurs once, and what stands there in the copy.
    """
    source = (ROOT / "dags" / f"{DAG_ID}.py").read_text()
    for old, new in {f'dag_id="{DAG_ID}"': f'dag_id="{dag_id}"', **(replaced or {})}.items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    text = f"import os\nos.environ.update({dict(environment)})\n{source}"
    partial = folder / f"{dag_id}.partial"
    partial.write_text(text)
    partial.replace(folder / f"{dag_id}.py")
    return dag_id
