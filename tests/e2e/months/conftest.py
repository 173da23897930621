"""One Airflow for all tests of what months publish; the DAGs are those of the repository."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from local_airflow.processes import EmbeddedAirflow

from apex_tasks.demo.bundle import write_demo_bundle
from apex_tasks.demo.market import write_demo_data
from tests.e2e.months.world import (
    AS_OF,
    LATEST,
    MONTHS,
    PERFORMANCE,
    RUN_SECONDS,
    START_SECONDS,
    History,
    World,
    backfill,
    wait_for_run_of,
)
from tests.support.paths import ROOT
from tests.support.started_airflow import DAG_ID, started_airflow
from tests.support.waiting import wait_for


@pytest.fixture(scope="package")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "APEX_HOME": str(tmp_path_factory.mktemp("apex_home")),
        "APEX_BUNDLE": str(folder / "bundle"),
        "APEX_DATASET": str(folder / "dataset.parquet"),
        "APEX_FRESHNESS__POKE_INTERVAL_SECONDS": "10",
    }


@pytest.fixture(scope="package")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(ROOT / "dags", tmp_path_factory.mktemp("repository") / "dags"))


@pytest.fixture(scope="package")
def airflow(
    environment: Mapping[str, str], dags: Path, migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedAirflow]:
    """Started, but perhaps not healthy yet."""
    with started_airflow(migrated, tmp_path_factory.mktemp("airflow"), dags, environment) as started:
        yield started


@pytest.fixture(scope="package")
def world(airflow: EmbeddedAirflow, environment: Mapping[str, str]) -> World:
    """A small synthetic dataset up to the latest due as-of session, and a bundle trained for a moment."""
    dataset, bundle = Path(environment["APEX_DATASET"]), Path(environment["APEX_BUNDLE"])
    write_demo_data(dataset, stocks=150, sessions=300, end=AS_OF[LATEST])
    assert write_demo_bundle(bundle, dataset, samples=64).path == bundle
    airflow.wait_healthy(DAG_ID, PERFORMANCE)
    return World(airflow, environment)


@pytest.fixture(scope="package")
def history(world: World) -> History:
    """Backfill the two months before the due slot while the DAG is paused, then unpause.

    The performance is watched from before the first month on.
    """
    while_paused = world.client.dag(DAG_ID)
    performance_before = _first_look(world)
    assert while_paused is not None
    backfill(world.client, MONTHS[0], MONTHS[1], {"cold_start": True})
    world.client.set_paused(DAG_ID, False)
    found: dict[dt.date, dict[str, Any]] = {}
    for month in MONTHS:
        run_id = wait_for_run_of(world.client, month)
        world.client.wait_run(DAG_ID, run_id, RUN_SECONDS)
        found[month] = world.client.run(DAG_ID, run_id)
    return History(while_paused["next_dagrun_run_after"], found, performance_before)


def _first_look(world: World) -> dict[str, str]:
    """Unpause the performance DAG, which looks at once; the states of its tasks."""
    world.client.set_paused(PERFORMANCE, False)
    (first, *_) = wait_for(lambda: world.client.runs(PERFORMANCE), START_SECONDS)
    assert world.client.wait_run(PERFORMANCE, first["dag_run_id"], RUN_SECONDS) == "success"
    tasks = world.client.tasks(PERFORMANCE, first["dag_run_id"])
    return {name: task["state"] for name, task in tasks.items()}
