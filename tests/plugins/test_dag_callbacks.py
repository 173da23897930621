"""The DAGs use the callbacks and deadlines that are tested here one by one."""

from __future__ import annotations

import datetime as dt
import importlib.util
from typing import Any

import pytest
from airflow.sdk import DAG
from apex_airflow import callbacks

from apex_tasks.settings import DeadlineSettings
from tests.support.callback_contexts import DAG_ID
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def dag_file() -> Any:
    """The module of the DAG file."""
    path = ROOT / "dags" / f"{DAG_ID}.py"
    spec = importlib.util.spec_from_file_location("dag_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_monthly_dag_notifies_by_these_callbacks(dag_file: Any) -> None:
    # By name: Airflow loads plugins anew in a process that fills a DagBag, and functions are then others.
    def names(*callbacks: Any) -> list[str]:
        return [f"{callback.__module__}.{callback.__name__}" for callback in callbacks]

    dag: DAG = dag_file.dag
    assert names(dag.on_failure_callback) == ["apex_airflow.callbacks.notify_run_failure"]
    assert dag.on_success_callback is None
    for task in dag.tasks:
        assert names(*task.on_failure_callback) == ["apex_airflow.callbacks.notify_task_failure"]
        assert names(*task.on_retry_callback) == ["apex_airflow.callbacks.notify_retry"]
        expected = ["apex_airflow.callbacks.notify_published"] if task.task_id == "publish" else []
        assert names(*task.on_success_callback) == expected


def test_the_monthly_dag_has_both_deadlines_and_can_be_built_without(dag_file: Any) -> None:
    assert [alert.interval for alert in dag_file.dag.deadline] == [
        dt.timedelta(hours=1),
        dt.timedelta(hours=3),
    ]
    assert not dag_file.monthly_rebalance([]).deadline


def test_deadlines_name_an_importable_coroutine_and_its_severity() -> None:
    alerts = callbacks.deadline_alerts(DeadlineSettings(warning_minutes=0.5, critical_minutes=2))
    assert [alert.interval for alert in alerts] == [dt.timedelta(seconds=30), dt.timedelta(minutes=2)]
    assert {alert.callback.path for alert in alerts} == {"apex_airflow.callbacks.notify_deadline"}
    assert [alert.callback.kwargs["severity"] for alert in alerts] == ["WARNING", "CRITICAL"]
