"""What Airflow hands to the callbacks of a run, and what both channels then received."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from apex_airflow.tasks import fail_on_refusal

from apex_tasks.refusal import Refusal
from tests.support.message_servers import MessageServers

DAG_ID, RUN_ID = "apex_monthly_rebalance", "manual__1"
BEGAN = dt.datetime(2025, 11, 4, tzinfo=dt.UTC)
REFUSAL = Refusal("it is wrong", expected="a", received="b", where="c", remedy="Repair it.")


def use(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def task_context(error: BaseException | None, attempt: int = 0, task_id: str = "infer") -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id=DAG_ID, run_id=RUN_ID, task_id=task_id, try_number=1, log_url="http://airflow/log"
    )
    return {"ti": ti, "exception": error, **run_context("task_failure", attempt)}


def run_context(reason: str, attempt: int = 0) -> dict[str, Any]:
    return {
        "dag": SimpleNamespace(dag_id=DAG_ID),
        "run_id": RUN_ID,
        "reason": reason,
        "dag_run": SimpleNamespace(clear_number=attempt),
    }


def failing(error: Refusal) -> AirflowFailException:
    """A refusal as a task fails with it."""
    with pytest.raises(AirflowFailException) as failed, fail_on_refusal():
        raise error
    return failed.value


def headlines(servers: MessageServers) -> list[str]:
    """Subjects of what was sent, having checked that both channels sent the same."""
    mails = [mail.subject for mail in servers.mails]
    assert [html.unescape(post.text.splitlines()[0].strip("*")) for post in servers.posts] == mails
    return mails
