"""The task that asks: Airflow's own approval operator around the steps, with a message and an answer."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from apex_airflow.portfolio_approval import PortfolioApproval
from apex_airflow.tasks import monthly_run_from, refusal_from

from apex_tasks.published import audit
from apex_tasks.refusal import Refusal, Rejected, Unanswered
from apex_tasks.store import Store
from tests.support.message_servers import MessageServers
from tests.support.small_market import AS_OF, JULY, SmallMarket

DAG_ID, RUN_ID = "apex_monthly_rebalance", "manual__2025-07-01T00:00:00+00:00"
ANSWERED = dt.datetime(2025, 7, 1, 0, 30, tzinfo=dt.UTC)
PARAMS = {"as_of": str(AS_OF[JULY]), "cold_start": True, "approval": True}


@dataclass
class FakeTaskInstance:
    """The few things that the operator asks of a running task, with its own XComs."""

    try_number: int = 1
    dag_id: str = DAG_ID
    run_id: str = RUN_ID
    task_id: str = "approval"
    id: str = "0198"
    left: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.left[key] = value

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        assert task_ids == self.task_id
        return self.left[key]


@dataclass(frozen=True)
class Task:
    """The operator in its DAG, and what Airflow was asked to show."""

    operator: PortfolioApproval
    ti: FakeTaskInstance
    shown: list[dict[str, Any]]
    servers: MessageServers
    store: Store

    def context(self, attempt: int = 0, **params: Any) -> dict[str, Any]:
        return {
            "ti": self.ti,
            "task_instance": self.ti,
            "task": self.operator,
            "dag": self.operator.dag,
            "run_id": RUN_ID,
            "dag_run": SimpleNamespace(clear_number=attempt),
            "logical_date": ANSWERED,
            # As Airflow merges them: those of the run, and those of the question.
            "params": {**PARAMS, **params, "note": None},
        }

    def ask(self, **params: Any) -> None:
        with pytest.raises(TaskAwaitingInput) as waits:
            self.operator.execute(self.context(**params))
        assert waits.value.timeout == self.operator.response_timeout
        assert waits.value.method_name == "execute_complete"

    def answer(self, option: str, **event: Any) -> Any:
        said = {
            "chosen_options": [option],
            "params_input": {"note": "a note"},
            "responded_at": ANSWERED,
            "responded_by_user": {"id": "7", "name": "Ada"},
            "timedout": False,
        }
        return self.operator.execute_complete(self.context(), {**said, **event})

    def refused(self, option: str, **event: Any) -> Refusal:
        """The refusal behind the failure, which is one that Airflow does not retry."""
        with pytest.raises(AirflowFailException) as failed:
            self.answer(option, **event)
        refusal = refusal_from(failed.value)
        assert refusal is not None
        return refusal

    def events(self) -> list[str]:
        return [record.event for record in audit.records(self.store)]


@pytest.fixture
def task(market: SmallMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    with MessageServers() as servers:
        inputs = {"APEX_BUNDLE": market.bundle, "APEX_DATASET": market.dataset, "APEX_HOME": tmp_path}
        for name, value in {**servers.environment, **inputs}.items():
            monkeypatch.setenv(name, str(value))
        shown: list[dict[str, Any]] = []
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: shown.append(detail))
        with DAG(DAG_ID, schedule=None, params={"top_k": Param(None, type=["null", "integer"])}):
            operator = PortfolioApproval(
                task_id="approval", steps=[], response_timeout=dt.timedelta(minutes=90)
            )
        task = Task(operator, FakeTaskInstance(), shown, servers, Store(str(tmp_path)))
        run = monthly_run_from({**task.context(), "params": PARAMS})
        handshake = run.validate_bundle()
        panel = run.build_panel(handshake)
        scores = run.infer(handshake, panel)
        plan = run.apply_costs(handshake, panel, scores)
        operator.steps = [handshake, *(step.model_dump(mode="json") for step in (panel, scores, plan))]
        yield task


@pytest.mark.parametrize("params", [{"approval": None}, {"approval": False}, {"dry_run": True}])
def test_who_need_not_be_asked_is_not_and_the_draft_is_left(task: Task, params: dict[str, Any]) -> None:
    assert task.operator.execute(task.context(**params)) is None
    draft = task.ti.left["draft"]
    assert task.store.get("drafts", draft["key"]).content_hash == draft["content_hash"]
    assert task.shown == task.servers.mails == task.events() == []


def test_the_setting_asks_where_the_run_does_not_say(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_APPROVAL", "true")
    task.ask(approval=None)
    assert task.operator.execute(task.context(approval=False)) is None


def test_the_question_is_shown_in_airflow_and_is_sent_once_by_both_channels(task: Task) -> None:
    task.ask()
    (shown,) = task.shown
    assert shown["options"] == ["Approve", "Reject"]
    assert shown["defaults"] is None, "silence is no answer"
    assert list(shown["params"]) == ["note"], "the parameters of the DAG are none of the question's"
    (mail,), (post,) = task.servers.mails, task.servers.posts
    assert mail.subject == f"[APEX] {shown['subject']}"
    run = f"/dags/{DAG_ID}/runs/manual__2025-07-01T00%3A00%3A00%2B00%3A00"
    for text in (shown["body"], html.unescape(mail.html), html.unescape(post.text)):
        assert f"{run}/plugin/portfolio" in text
        assert f"{run}/tasks/approval/required_actions" in text
    task.ask()
    assert len(task.servers.mails) == 1, "the same attempt is sent once"
    task.ti.try_number = 2
    task.ask()
    assert "asks again for your approval" in task.servers.mails[1].subject


def test_the_question_tells_what_the_run_changes_and_who_triggered_it(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.ask()
    for text in (task.shown[0]["body"], html.unescape(task.servers.posts[0].text)):
        assert "approval True instead of False" in text
        assert "Triggered by" in text
    draft = task.store.get("drafts", task.ti.left["draft"]["key"])
    assert draft.read_json("run.json")["triggered_by"] == f"run {RUN_ID}"
    monkeypatch.setenv("APEX_APPROVAL", "true")
    task.ask()
    assert "Overrides" not in task.shown[-1]["body"]
    assert "Triggered by" not in task.shown[-1]["body"]


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "ids"), [("", []), ("ada", ["ada"]), ("ada, 7,", ["ada", "7"])])
def test_the_setting_names_who_alone_may_answer(
    task: Task, monkeypatch: pytest.MonkeyPatch, setting: str, ids: list[str]
) -> None:
    monkeypatch.setenv("APEX_APPROVERS", setting)
    task.ask()
    assert [user["id"] for user in task.shown[0]["assigned_users"]] == ids


def test_braces_in_a_warning_are_no_template_of_the_question(task: Task) -> None:
    assert set(task.operator.template_fields) == {"steps"}


def test_yes_is_recorded_and_lets_publish_go_on(task: Task) -> None:
    task.ask()
    decision = task.answer("Approve")
    assert decision["answer"]["by"] == {"id": "7", "name": "Ada"}
    assert decision["answer"]["note"] == "a note"
    assert task.events() == ["approved"]
    task.answer("Approve")  # killed after the record, and resumed
    assert task.events() == ["approved"]
    assert task.operator.execute(task.context()) is None
    assert len(task.shown) == 1


def test_no_fails_at_once_and_asks_again_only_after_a_clear(task: Task) -> None:
    task.ask()
    assert isinstance(task.refused(option="Reject"), Rejected)
    assert task.events() == ["rejected"]
    with pytest.raises(AirflowFailException, match="was rejected by Ada"):
        task.operator.execute(task.context())
    with pytest.raises(TaskAwaitingInput):
        task.operator.execute(task.context(attempt=1))


def test_silence_fails_at_once(task: Task) -> None:
    task.ask()
    refusal = task.refused("", error="The response timeout has passed.", error_type="timeout")
    assert isinstance(refusal, Unanswered)
    assert task.events() == ["approval_timed_out"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        {"option": "Perhaps"},
        {"option": "Approve", "responded_by_user": None},
        {"option": "Approve", "params_input": {"note": 5}},
        {"option": "Approve", "params_input": {"note": "x" * 1001}},
        {"option": "Approve", "params_input": {"other": "x"}},
    ],
)
def test_an_answer_that_is_none_approves_nothing(task: Task, answer: dict[str, Any]) -> None:
    task.ask()
    refusal = task.refused(**answer)
    assert refusal.what == "the answer cannot be understood, nothing is published"
    assert task.events() == []


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, None, {"note": None}, {"note": ""}])
def test_a_note_may_be_left_out(task: Task, given: dict[str, Any] | None) -> None:
    task.ask()
    assert task.answer("Approve", params_input=given)["answer"]["note"] == ""
