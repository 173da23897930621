"""The message of a passed deadline: what the run is doing, unless its failure was sent already."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
from apex_airflow import callbacks

from tests.support.callback_contexts import BEGAN, DAG_ID, REFUSAL, RUN_ID, headlines, task_context
from tests.support.message_servers import MessageServers


def deadline_context(number: int = 1) -> dict[str, Any]:
    """As the scheduler hands it to the triggerer."""
    return {
        "dag_run": {
            "dag_id": DAG_ID,
            "dag_run_id": RUN_ID,
            "queued_at": BEGAN.isoformat(),
            "start_date": BEGAN.isoformat(),
        },
        "deadline": {"id": f"id{number}", "deadline_time": BEGAN + dt.timedelta(hours=1)},
    }


def pass_deadline(number: int = 1) -> None:
    asyncio.run(callbacks.notify_deadline("WARNING", 60.0, context=deadline_context(number)))


def test_a_late_run_is_sent_once_for_each_deadline(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    dag_states["tasks"] = {"dataset_fresh": "success", "infer": "running", "publish": None}
    for number in (1, 1, 2):  # a triggerer that dies repeats what it was about to send
        pass_deadline(number)
    assert headlines(servers) == [f"[APEX WARNING] {DAG_ID} is late"] * 2
    assert "infer running" in servers.posts[0].text


def test_a_late_run_that_waits_says_for_what(servers: MessageServers, dag_states: dict[str, Any]) -> None:
    dag_states["tasks"] = {"dataset_fresh": "up_for_reschedule"}
    dag_states["waiting"] = vars(REFUSAL)
    pass_deadline()
    assert headlines(servers) == [f"[APEX WARNING] {DAG_ID} is late: it is wrong"]


def test_a_late_run_that_awaits_a_person_says_so(servers: MessageServers, dag_states: dict[str, Any]) -> None:
    dag_states["tasks"] = {"apply_costs": "success", "approval": "awaiting_input"}
    pass_deadline(1)
    dag_states["tasks"]["approval"] = "queued"  # answered
    pass_deadline(2)
    assert headlines(servers) == [
        f"[APEX WARNING] {DAG_ID} is late: it awaits a person's approval",
        f"[APEX WARNING] {DAG_ID} is late",
    ]
    assert f"/runs/{RUN_ID}/tasks/approval/required_actions" in servers.posts[0].text


def test_a_sensor_that_is_just_looking_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    monkeypatch.setattr(callbacks, "LOOK_SECONDS", 0.01)
    dag_states["tasks"] = {"dataset_fresh": "running"}
    dag_states["waiting"] = [vars(REFUSAL), None, None]
    pass_deadline(1)
    dag_states["waiting"] = None
    pass_deadline(2)
    assert headlines(servers) == [
        f"[APEX WARNING] {DAG_ID} is late: it is wrong",
        f"[APEX WARNING] {DAG_ID} is late",
    ]


def test_what_was_awaited_before_is_no_news(servers: MessageServers, dag_states: dict[str, Any]) -> None:
    dag_states["tasks"] = {"dataset_fresh": "failed", "validate_bundle": "running"}
    dag_states["waiting"] = vars(REFUSAL)
    pass_deadline()
    assert headlines(servers) == [f"[APEX WARNING] {DAG_ID} is late"]


def test_a_run_that_has_published_since_is_not_late(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    dag_states["run"] = "success"
    pass_deadline()
    assert headlines(servers) == []


def test_a_failure_that_was_sent_is_not_sent_again_as_late(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    callbacks.notify_task_failure(task_context(ValueError("no"), attempt=2))
    dag_states.update(run="failed", tasks={"infer": "failed"})
    pass_deadline()
    assert len(headlines(servers)) == 1


def test_a_failure_that_reached_only_one_channel_is_sent_late_by_the_other(
    monkeypatch: pytest.MonkeyPatch, servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    monkeypatch.setenv("APEX_NOTIFICATIONS__SMTP_CONNECTION", "nowhere")
    callbacks.notify_task_failure(task_context(ValueError("no")))
    monkeypatch.delenv("APEX_NOTIFICATIONS__SMTP_CONNECTION")
    dag_states.update(run="failed", tasks={"infer": "failed"})
    pass_deadline()
    assert len(servers.posts) == 1
    assert [mail.subject for mail in servers.mails] == [f"[APEX WARNING] {DAG_ID} is late because it failed"]
