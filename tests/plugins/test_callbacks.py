"""The callbacks of tasks and runs: each failure, retry and published month, sent once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from apex_airflow import callbacks

from apex_tasks.monitoring.alerts import INFERENCE_LATENCY
from tests.support.callback_contexts import (
    BEGAN,
    DAG_ID,
    REFUSAL,
    RUN_ID,
    failing,
    headlines,
    run_context,
    task_context,
)
from tests.support.message_servers import MessageServers
from tests.support.small_market import AS_OF, JULY, SmallMarket, month


def test_a_refusal_behind_a_failure_is_sent_in_full(servers: MessageServers) -> None:
    callbacks.notify_task_failure(task_context(failing(REFUSAL)))
    assert headlines(servers) == [f"[APEX CRITICAL] {DAG_ID} failed at infer: it is wrong"]
    for word in ("Expected", "Received", "Repair it.", "http://airflow/log", "a-task-refused-its-input"):
        assert word in servers.mails[0].html
        assert word in servers.posts[0].text


def test_worker_and_dag_processor_send_the_same_failure_once(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    dag_states["tasks"] = {"infer": "failed", "publish": "upstream_failed"}
    callbacks.notify_task_failure(task_context(ValueError("no")))
    callbacks.notify_run_failure(run_context("task_failure"))
    assert headlines(servers) == [f"[APEX CRITICAL] {DAG_ID} failed at infer: ValueError: no"]


def test_the_run_sends_a_killed_task_beside_one_that_sent_itself(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    dag_states["tasks"] = {"validate_bundle": "failed", "infer": "failed", "publish": "upstream_failed"}
    callbacks.notify_task_failure(task_context(ValueError("no"), task_id="validate_bundle"))
    callbacks.notify_run_failure(run_context("task_failure"))
    assert [line.split(": ")[0] for line in headlines(servers)] == [
        f"[APEX CRITICAL] {DAG_ID} failed at validate_bundle",
        f"[APEX CRITICAL] {DAG_ID} failed at infer",
    ]
    assert f"/dags/{DAG_ID}/runs/{RUN_ID}/tasks/infer" in servers.posts[1].text


def test_a_failure_after_clearing_is_sent_again(servers: MessageServers, dag_states: dict[str, Any]) -> None:
    dag_states["tasks"] = {"infer": "failed"}
    for attempt in (0, 1):
        callbacks.notify_task_failure(task_context(ValueError("no"), attempt))
        callbacks.notify_run_failure(run_context("task_failure", attempt))
    assert len(headlines(servers)) == 2


def test_a_run_without_a_failed_task_is_sent_even_when_airflow_knows_no_run(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    context = run_context("timed_out")
    del context["dag_run"]
    callbacks.notify_run_failure(context)
    assert headlines(servers) == [f"[APEX CRITICAL] {DAG_ID} failed without a failed task: timed_out"]


@pytest.mark.parametrize("warned", [False, True])
def test_a_published_month_is_sent_with_its_alerts(
    monkeypatch: pytest.MonkeyPatch,
    servers: MessageServers,
    market: SmallMarket,
    tmp_path: Path,
    warned: bool,
) -> None:
    bounds = [{"metric": "positions", "bound": 1}, {"metric": INFERENCE_LATENCY, "bound": 0}]
    rest = {"comparison": ">", "severity": "WARNING", "remedy": "Look.", "runbook": "low-supply"}
    monkeypatch.setenv("APEX_THRESHOLDS", json.dumps([bound | rest for bound in bounds] if warned else []))
    monkeypatch.setenv("APEX_BUNDLE", str(market.bundle))
    monkeypatch.setenv("APEX_DATASET", str(market.dataset))
    run = month(market, tmp_path, JULY, cold_start=True)
    handshake = run.validate_bundle()
    panel = run.build_panel(handshake)
    run.infer(handshake, panel)
    scores = run.infer(handshake, panel)  # found in the store: only then has its latency a bound
    plan = run.apply_costs(handshake, panel, scores)
    left = {
        "infer": scores,
        "apply_costs": plan,
        "publish": run.publish(panel, scores, plan, run.draft(handshake, panel, scores, plan)),
    }
    context = task_context(None, task_id="publish") | {
        "params": {"as_of": str(AS_OF[JULY]), "cold_start": True},
        "logical_date": BEGAN,
    }
    context["ti"].xcom_pull = lambda *, task_ids: left[task_ids].model_dump(mode="json")
    callbacks.notify_published(context)
    callbacks.notify_published(context)
    [subject] = headlines(servers)
    if warned:
        assert subject.startswith(
            f"[APEX WARNING] {JULY}/v1 published: WARNING: positions = 35, alert when > 1"
        )
        assert INFERENCE_LATENCY in servers.posts[0].text
        assert "runbook.md#low-supply" in servers.mails[0].html
    else:
        assert subject.startswith(f"[APEX] {JULY}/v1 published: 35 positions, turnover 50.00%, cost")


def test_a_retry_is_a_line_in_the_log(servers: MessageServers, caplog: pytest.LogCaptureFixture) -> None:
    callbacks.notify_retry(task_context(OSError("disk")))
    assert "Attempt 1 of infer failed and is repeated: disk" in caplog.text
    assert headlines(servers) == []
