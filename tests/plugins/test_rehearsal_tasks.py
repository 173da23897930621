"""What the tasks of the rehearsal learn from Airflow: parameters, today, and which connections there are."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from apex_airflow.tasks import defined_connections, rehearsal_from, step

from apex_tasks.settings import NotificationSettings


def context(**params: Any) -> dict[str, Any]:
    due = dt.datetime(2025, 11, 3, 16, tzinfo=dt.UTC)  # 01:00 of the next day in Tokyo
    names = ("bundle", "dataset", "sessions", "months")
    return {"params": {**dict.fromkeys(names), **params}, "dag_run": SimpleNamespace(run_after=due)}


def test_a_run_belongs_to_the_day_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_BUNDLE", "b")
    request = rehearsal_from(context(dataset="d", months=7)).request
    assert (request.bundle, request.dataset, request.sessions, request.months) == ("b", "d", 5, 7)
    assert request.today == dt.date(2025, 11, 4)


def test_a_refusal_fails_the_task_at_once() -> None:
    with pytest.raises(AirflowFailException, match="no bundle is named"):
        step(rehearsal_from)(context())


def test_defined_connections_are_seen_without_their_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DESK", '{"conn_type": "smtp", "host": "mail.example.com"}')
    settings = NotificationSettings(slack_connection="nobody_made_this", smtp_connection="desk")
    assert defined_connections(settings) == {"nobody_made_this": False, "desk": True}
