"""What the tests of messages share: servers that listen, and what Airflow answers about the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom
from apex_airflow.tasks import WAITING

from tests.support.callback_contexts import DAG_ID, RUN_ID, use
from tests.support.message_servers import MessageServers


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MessageServers]:
    with MessageServers() as listening:
        use(monkeypatch, {**listening.environment, "APEX_HOME": str(tmp_path)})
        yield listening


@pytest.fixture
def dag_states(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Airflow answers about the run: change it at will."""
    answers: dict[str, Any] = {"run": "running", "tasks": {}, "waiting": None}
    monkeypatch.setattr(RuntimeTaskInstance, "get_dagrun_state", lambda *_: answers["run"])
    monkeypatch.setattr(
        RuntimeTaskInstance, "get_task_states", lambda *_, run_ids: {run_ids[0]: answers["tasks"]}
    )

    def get_one(*, key: str, task_id: str, dag_id: str, run_id: str) -> Any:
        assert (key, task_id, dag_id, run_id) == (WAITING, "dataset_fresh", DAG_ID, RUN_ID)
        return answers["waiting"].pop() if isinstance(answers["waiting"], list) else answers["waiting"]

    monkeypatch.setattr(XCom, "get_one", get_one)
    return answers
