"""What the four real Airflow processes and their tasks send is what mapping, rules and dashboard expect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from local_airflow.processes import EmbeddedAirflow

from tests.support.small_market import AS_OF, JULY
from tests.support.started_airflow import copy_dag
from tests.support.statsd_exporter_double import StatsdExporterDouble
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MEASURED, UNLUCKY = "apex_measured", "apex_unlucky"
"""The monthly DAG, which sends metrics here, and one with tasks that raise and die."""
UNLUCKY_SOURCE = """
import os, signal
from airflow.sdk import DAG, task

with DAG("apex_unlucky", schedule=None):

    @task
    def raises():
        raise RuntimeError("on purpose")

    @task
    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    raises()
    dies()
"""
RUN_SECONDS, SERIES_SECONDS = 120.0, 60.0


@pytest.fixture(scope="module")
def failures_before(
    airflow: EmbeddedAirflow,
    exporter: StatsdExporterDouble,
    dags: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> float:
    """Failures that Airflow had counted before the first run of this module."""
    environment = {
        "APEX_HOME": str(tmp_path_factory.mktemp("apex_home")),
        "APEX_STATSD__HOST": "127.0.0.1",
        "APEX_STATSD__PORT": str(exporter.statsd_port),
    }
    (dags / f"{UNLUCKY}.py").write_text(UNLUCKY_SOURCE)
    dag_ids = (copy_dag(dags, MEASURED, environment), UNLUCKY)
    client = airflow.wait_healthy(*dag_ids)
    for dag_id in dag_ids:
        client.set_paused(dag_id, False)
    return seen(exporter, lambda series: True).get("airflow_ti_failures_total", 0.0)


@pytest.fixture(scope="module")
def runs(airflow: EmbeddedAirflow, failures_before: float) -> None:
    """A month that is published, one whose bundle does not exist, and tasks that raise and die."""
    client = airflow.client
    month = {"as_of": str(AS_OF[JULY]), "cold_start": True}
    expected = {
        (MEASURED, client.trigger(MEASURED, month)): "success",
        (MEASURED, client.trigger(MEASURED, {**month, "bundle": "nowhere"})): "failed",
        (UNLUCKY, client.trigger(UNLUCKY, {})): "failed",
    }
    assert {run: client.wait_run(*run, RUN_SECONDS) for run in expected} == expected


def seen(exporter: StatsdExporterDouble, wanted: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """All series, once they are as wanted; timers by their count."""

    def look() -> dict[str, float]:
        exporter.drain()
        registry = exporter.registry
        return {str(key): float(registry.counts.get(key, value)) for key, value in registry.values.items()}

    return dict(wait_for(look, SERIES_SECONDS, wanted))


@pytest.mark.usefixtures("runs")
def test_the_tasks_tell_what_the_command_line_tells(exporter: StatsdExporterDouble) -> None:
    series = seen(exporter, lambda series: "apex_publish_deadline_timestamp_seconds" in series)
    assert series["apex_selected_count"] == 53
    assert series["apex_effective_dim"] == 178
    assert series['apex_runs_total{result="published"}'] == 1
    assert series['apex_refusals_total{step="validate_bundle"}'] == 1
    for step in ("build_panel", "infer", "apply_costs", "publish"):
        assert series[f'apex_step_duration_seconds{{step="{step}"}}'] == 1


@pytest.mark.usefixtures("runs")
def test_airflows_components_tell_of_runs_and_tasks(
    exporter: StatsdExporterDouble, failures_before: float
) -> None:
    duration = "airflow_dagrun_duration_seconds"
    unlucky = f'{duration}{{dag_id="{UNLUCKY}",state="failed"}}'
    series = seen(exporter, lambda series: unlucky in series)
    assert series[unlucky] == 1
    assert series[f'{duration}{{dag_id="{MEASURED}",state="failed"}}'] == 1
    assert series[f'{duration}{{dag_id="{MEASURED}",state="success"}}'] == 1
    finished = {name for name in series if name.startswith("airflow_ti_finish_total")}
    of_month = f'airflow_ti_finish_total{{dag_id="{MEASURED}"'
    assert f'{of_month},state="failed",task_id="validate_bundle"}}' in finished
    assert f'{of_month},state="success",task_id="publish"}}' in finished
    assert f'airflow_ti_finish_total{{dag_id="{UNLUCKY}",state="failed",task_id="raises"}}' in finished
    assert not any("dies" in name for name in finished), "only the run tells of a killed task"
    failures = series["airflow_ti_failures_total"] - failures_before
    assert failures == 1, "neither a refusal nor a killed task is counted here"


@pytest.mark.usefixtures("runs")
def test_every_component_has_a_heartbeat(exporter: StatsdExporterDouble) -> None:
    names = {
        f'airflow_heartbeats_total{{component="{component}"}}'
        for component in ("scheduler", "dag-processor", "triggerer")
    }
    first = seen(exporter, lambda series: names <= set(series))
    seen(exporter, lambda series: all(series[name] > first[name] for name in names))


@pytest.mark.usefixtures("runs")
def test_a_dag_file_that_does_not_import_is_counted(
    exporter: StatsdExporterDouble, airflow: EmbeddedAirflow, dags: Path
) -> None:
    seen(exporter, lambda series: series.get("airflow_dag_import_errors") == 0)
    broken = dags / "broken.py"
    broken.write_text("from airflow.sdk import DAG\nraise RuntimeError('broken on purpose')\n")
    seen(exporter, lambda series: series["airflow_dag_import_errors"] == 1)
    broken.unlink()
    seen(exporter, lambda series: series["airflow_dag_import_errors"] == 0)
    # The database forgets it later than the gauge, and the next module that shares this Airflow waits for none.
    wait_for(airflow.client.import_errors, 60, wanted=lambda errors: not errors)
