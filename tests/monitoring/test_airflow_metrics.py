"""What the four real Airflow processes and their tasks send is what mapping, rules and dashboard expect."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_airflow.processes import EmbeddedAirflow

from apex_tasks.settings import configs_folder
from tests.support.paths import ROOT
from tests.support.small_market import AS_OF, JULY, SmallMarket
from tests.support.statsd_exporter_double import StatsdExporterDouble

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

DAG_ID = "apex_monthly_rebalance"
UNLUCKY = """
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
RUN_SECONDS = 120.0


@pytest.fixture(scope="module")
def exporter() -> Iterator[StatsdExporterDouble]:
    with StatsdExporterDouble(configs_folder() / "statsd" / "mapping.yaml") as double:
        yield double


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(ROOT / "dags", tmp_path_factory.mktemp("airflow") / "dags"))
    (folder / "unlucky.py").write_text(UNLUCKY)
    return folder


@pytest.fixture(scope="module")
def airflow(
    market: SmallMarket,
    exporter: StatsdExporterDouble,
    dags: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[EmbeddedAirflow]:
    environment = {
        "APEX_HOME": str(tmp_path_factory.mktemp("apex_home")),
        "APEX_BUNDLE": str(market.bundle),
        "APEX_DATASET": str(market.dataset),
        "APEX_SCHEDULE__GRACE_DAYS": "0",
        "APEX_STATSD__HOST": "127.0.0.1",
        "APEX_STATSD__PORT": str(exporter.statsd_port),
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(exporter.statsd_port),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "3",
    }
    with EmbeddedAirflow(dags.parent, dags, ROOT / "plugins", environment) as started:
        started.wait_healthy(DAG_ID, "apex_unlucky")
        for dag_id in (DAG_ID, "apex_unlucky"):
            started.client.set_paused(dag_id, False)
        yield started


@pytest.fixture(scope="module")
def runs(airflow: EmbeddedAirflow) -> None:
    """A month that is published, one whose bundle does not exist, and tasks that raise and die."""
    for bundle, expected in ((None, "success"), ("nowhere", "failed")):
        run_id = airflow.client.trigger(
            DAG_ID, {"as_of": str(AS_OF[JULY]), "cold_start": True, "bundle": bundle}
        )
        assert airflow.client.wait_run(DAG_ID, run_id, RUN_SECONDS) == expected
    run_id = airflow.client.trigger("apex_unlucky", {})
    assert airflow.client.wait_run("apex_unlucky", run_id, RUN_SECONDS) == "failed"


def seen(exporter: StatsdExporterDouble, wanted: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """All series, once they are as wanted; timers by their count."""
    deadline = time.monotonic() + 60
    while True:
        exporter.drain()
        registry = exporter.registry
        series = {str(key): float(registry.counts.get(key, value)) for key, value in registry.values.items()}
        if wanted(series):
            return series
        assert time.monotonic() < deadline, "\n".join(sorted(series))
        time.sleep(0.5)


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
def test_airflows_components_tell_of_runs_and_tasks(exporter: StatsdExporterDouble) -> None:
    duration = "airflow_dagrun_duration_seconds"
    unlucky = f'{duration}{{dag_id="apex_unlucky",state="failed"}}'
    series = seen(exporter, lambda series: unlucky in series)
    assert series[unlucky] == 1
    assert series[f'{duration}{{dag_id="{DAG_ID}",state="failed"}}'] == 1
    assert series[f'{duration}{{dag_id="{DAG_ID}",state="success"}}'] == 1
    finished = {name for name in series if name.startswith("airflow_ti_finish_total")}
    of_month = 'airflow_ti_finish_total{dag_id="apex_monthly_rebalance"'
    assert f'{of_month},state="failed",task_id="validate_bundle"}}' in finished
    assert f'{of_month},state="success",task_id="publish"}}' in finished
    assert 'airflow_ti_finish_total{dag_id="apex_unlucky",state="failed",task_id="raises"}' in finished
    assert not any("dies" in name for name in finished), "only the run tells of a killed task"
    assert series["airflow_ti_failures_total"] == 1, "neither a refusal nor a killed task is counted here"


@pytest.mark.usefixtures("runs")
def test_every_component_has_a_heartbeat(exporter: StatsdExporterDouble) -> None:
    names = {
        f'airflow_heartbeats_total{{component="{component}"}}'
        for component in ("scheduler", "dag-processor", "triggerer")
    }
    first = seen(exporter, lambda series: names <= set(series))
    seen(exporter, lambda series: all(series[name] > first[name] for name in names))


@pytest.mark.usefixtures("runs")
def test_a_dag_file_that_does_not_import_is_counted(exporter: StatsdExporterDouble, dags: Path) -> None:
    seen(exporter, lambda series: series.get("airflow_dag_import_errors") == 0)
    broken = dags / "broken.py"
    broken.write_text("from airflow.sdk import DAG\nraise RuntimeError('broken on purpose')\n")
    seen(exporter, lambda series: series["airflow_dag_import_errors"] == 1)
    broken.unlink()
    seen(exporter, lambda series: series["airflow_dag_import_errors"] == 0)
