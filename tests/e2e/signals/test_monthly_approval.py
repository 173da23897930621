"""A month that waits for a person, on the four real Airflow processes: yes, no, no answer, and ways around."""

from __future__ import annotations

import dataclasses
import datetime as dt
import html
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_airflow.client import AirflowClient
from local_airflow.environment import USER
from local_airflow.processes import EmbeddedAirflow

from apex_tasks.published import audit
from apex_tasks.published.portfolio import latest_version, published_dates
from apex_tasks.store import Store
from tests.support.message_servers import Mail, MessageServers, Post
from tests.support.small_market import AS_OF, AUGUST, JULY, OCTOBER, SEPTEMBER
from tests.support.started_airflow import copy_dag
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

APPROVED = "apex_approved"
"""The monthly DAG with a store of this module and one person who may approve."""
HASTY = "apex_hasty"
"""The same DAG, whose question is withdrawn after some seconds."""
LATE = "apex_late"
"""The same DAG with a first deadline that passes while it waits for a person."""
CHANGES: dict[str, dict[str, str]] = {
    APPROVED: {},
    HASTY: {"APEX_DEADLINES__APPROVAL_MINUTES": "0.15"},
    LATE: {"APEX_DEADLINES__WARNING_MINUTES": "1"},
}
RUN_SECONDS = 120.0
THINKING_SECONDS = 6.0


@dataclass(frozen=True)
class World:
    """The Airflow, the servers that listen, this module's store, and runs that go on since before the first test.

    Attributes
    ----------
    late
        A run of `LATE` that waits for a person.
    first
        A run of `APPROVED` that waits for a person.
    hasty
        A run of `HASTY` that nobody answers.
    dry
        A dry run of `APPROVED`.
    """

    airflow: EmbeddedAirflow
    servers: MessageServers
    home: Path
    late: str = ""
    first: str = ""
    hasty: str = ""
    dry: str = ""

    @property
    def client(self) -> AirflowClient:
        return self.airflow.client

    @property
    def store(self) -> Store:
        return Store(str(self.home))

    def trigger(self, dag_id: str, month: dt.date, **conf: object) -> str:
        return self.client.trigger(dag_id, {"as_of": str(AS_OF[month]), "cold_start": True, **conf})

    def wait_asked(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """The open question of a run, once it stands in Airflow's required actions."""

        def question() -> dict[str, Any] | None:
            found = self.client.call(
                "GET",
                "/dags/~/dagRuns/~/hitlDetails",
                params={"response_received": False, "state": "awaiting_input"},
            )
            for each in found["hitl_details"]:
                ti = each["task_instance"]
                if (ti["dag_id"], ti["dag_run_id"], ti["task_id"]) == (dag_id, run_id, "approval"):
                    return dict(each)
            return None

        return dict(wait_for(question, RUN_SECONDS))

    def answer(self, dag_id: str, run_id: str, option: str, note: str) -> None:
        """Answer as a person does, some seconds after the question.

        Airflow notices the end of the asking process up to 5 s late, and would take it for the end of the one that
        goes on with the answer, which it then repeats: the question is asked again.
        """
        time.sleep(THINKING_SECONDS)
        self.client.call(
            "PATCH",
            hitl_path(dag_id, run_id),
            json={"chosen_options": [option], "params_input": {"note": note}},
        )

    def end(self, dag_id: str, run_id: str) -> tuple[str, dict[str, str]]:
        """State of the finished run, and of its last two tasks."""
        state = self.client.wait_run(dag_id, run_id, RUN_SECONDS)
        tasks = self.client.tasks(dag_id, run_id)
        return state, {name: tasks[name]["state"] for name in ("approval", "publish")}

    def told(self, run_id: str, about: str) -> tuple[Mail, Post]:
        """The e-mail and the Slack message of a run whose subject says this, once both have come."""

        def both() -> tuple[Mail, Post] | None:
            mails = [mail for mail in self.servers.mails if run_id in mail.html and about in mail.subject]
            posts = [post for post in self.servers.posts if run_id in post.text and about in post.text]
            return (mails[0], posts[0]) if mails and posts else None

        mail, post = wait_for(both, RUN_SECONDS)
        return mail, post

    def decisions(self, run_id: str) -> list[audit.AuditRecord]:
        """Audit records of a run, oldest first."""
        return [record for record in audit.records(self.store) if record.details["run_id"] == run_id]


def hitl_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/approval/-1/hitlDetails"


@pytest.fixture(scope="module")
def world(
    airflow: EmbeddedAirflow, servers: MessageServers, dags: Path, tmp_path_factory: pytest.TempPathFactory
) -> World:
    home = tmp_path_factory.mktemp("apex_home")
    for dag_id, changes in CHANGES.items():
        copy_dag(dags, dag_id, {"APEX_HOME": str(home), "APEX_APPROVERS": USER, **changes})
    client = airflow.wait_healthy(*CHANGES)
    for dag_id in CHANGES:
        client.set_paused(dag_id, False)
    world = World(airflow, servers, home)
    return dataclasses.replace(
        world,
        late=world.trigger(LATE, OCTOBER, approval=True),
        first=world.trigger(APPROVED, JULY, approval=True),
        hasty=world.trigger(HASTY, SEPTEMBER, approval=True),
        dry=world.trigger(APPROVED, SEPTEMBER, approval=True, dry_run=True),
    )


def test_an_approved_month_is_published_with_the_name_of_who_approved(world: World) -> None:
    run_id = world.first
    question = world.wait_asked(APPROVED, run_id)
    assert world.client.tasks(APPROVED, run_id)["approval"]["state"] == "awaiting_input"
    assert published_dates(world.store) == []

    mail, post = world.told(run_id, f"{JULY} awaits your approval: ")
    for text in (html.unescape(mail.html), html.unescape(post.text)):
        assert "positions, turnover 50.00%, cost" in text
        assert "Answer until" in text
        assert f"/dags/{APPROVED}/runs/" in text
        assert "/plugin/portfolio" in text
        assert "/tasks/approval/required_actions" in text
    assert question["subject"].startswith(f"{JULY} awaits your approval: ")
    assert "/plugin/portfolio>)" in question["body"]
    assert question["options"] == ["Approve", "Reject"]

    draft = world.client.call(
        "GET", f"/dags/{APPROVED}/dagRuns/{run_id}/taskInstances/approval/xcomEntries/draft"
    )["value"]
    drafted = world.store.get("drafts", draft["key"])
    assert drafted.content_hash == draft["content_hash"]

    world.answer(APPROVED, run_id, "Approve", "looks right")
    assert world.end(APPROVED, run_id) == ("success", {"approval": "success", "publish": "success"})

    approved, published = world.decisions(run_id)
    assert (approved.event, published.event) == ("approved", "published")
    run = latest_version(world.store, JULY)
    assert run is not None
    details = approved.details
    assert details["plan"] == run.artifact.read_json("run.json")["hashes"]["plan"]
    assert details["draft"] == draft["content_hash"]
    assert details["by"] == {"id": USER, "name": USER}
    assert details["note"] == "looks right"
    named = run.artifact.read_json("execution.json")["approval"]
    assert named == {name: details[name] for name in ("by", "at", "note")}
    for name in ("run.json", "report.html"):
        assert run.artifact.read_bytes(name) == drafted.read_bytes(name)
    assert audit.verify(world.store).problems == ()
    world.told(run_id, f"{JULY}/v1 published")


def test_a_month_that_is_published_already_asks_nobody(world: World) -> None:
    before = audit.records(world.store)
    run_id = world.trigger(APPROVED, JULY, approval=True)
    assert world.end(APPROVED, run_id) == ("success", {"approval": "success", "publish": "success"})
    said = world.client.task_log(APPROVED, run_id, "approval")
    assert f"No approval is asked: {JULY}/v1 is published already" in said
    assert audit.records(world.store)[: len(before)] == before
    assert world.decisions(run_id) == []


def test_only_an_approver_may_answer_and_a_no_leaves_the_month_unpublished(world: World) -> None:
    run_id = world.trigger(APPROVED, AUGUST, approval=True)
    world.wait_asked(APPROVED, run_id)
    body = {"chosen_options": ["Approve"], "params_input": {}}
    path = f"{world.airflow.url}/api/v2{hitl_path(APPROVED, run_id)}"
    assert httpx.patch(path, json=body).status_code == httpx.codes.UNAUTHORIZED
    passwords = json.loads((world.airflow.home / "passwords.json").read_text())
    for name in ("reader", "colleague"):
        other = AirflowClient(world.airflow.url, name, passwords[name])
        with pytest.raises(httpx.HTTPStatusError) as refused:
            other.call("PATCH", hitl_path(APPROVED, run_id), json=body)
        other.close()
        assert refused.value.response.status_code == httpx.codes.FORBIDDEN

    world.answer(APPROVED, run_id, "Reject", "too much in one sector")
    assert world.end(APPROVED, run_id) == ("failed", {"approval": "failed", "publish": "upstream_failed"})
    assert world.client.tasks(APPROVED, run_id)["approval"]["try_number"] == 1
    assert AUGUST not in published_dates(world.store)
    (rejected,) = world.decisions(run_id)
    assert rejected.event == "rejected"
    assert (rejected.details["by"]["name"], rejected.details["note"]) == (
        USER,
        "too much in one sector",
    )
    mail, post = world.told(run_id, f"failed at approval: {AUGUST} was rejected by {USER}")
    for text in (mail.html, post.text):
        assert "too much in one sector" in text
        assert "runbook.md#a-portfolio-was-rejected" in text

    # A clear asks again, and this time they agree.
    clear = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["approval"], "include_downstream": True}
    world.client.call("POST", f"/dags/{APPROVED}/clearTaskInstances", json={**clear, "only_failed": False})
    world.wait_asked(APPROVED, run_id)
    world.told(run_id, f"{AUGUST} asks again for your approval")
    world.answer(APPROVED, run_id, "Approve", "")
    assert world.end(APPROVED, run_id) == ("success", {"approval": "success", "publish": "success"})
    assert [record.event for record in world.decisions(run_id)] == ["rejected", "approved", "published"]


def test_no_answer_in_time_leaves_the_month_unpublished(world: World) -> None:
    run_id = world.hasty
    assert world.end(HASTY, run_id) == ("failed", {"approval": "failed", "publish": "upstream_failed"})
    assert world.client.tasks(HASTY, run_id)["approval"]["try_number"] == 1
    assert SEPTEMBER not in published_dates(world.store)
    (timed_out,) = world.decisions(run_id)
    assert (timed_out.event, timed_out.details["by"]) == ("approval_timed_out", None)
    mail, _ = world.told(run_id, f"failed at approval: nobody has approved {SEPTEMBER} in time")
    assert "runbook.md#an-approval-was-not-given-in-time" in mail.html


def test_a_dry_run_drafts_and_asks_nobody(world: World) -> None:
    run_id = world.dry
    assert world.end(APPROVED, run_id) == ("success", {"approval": "success", "publish": "skipped"})
    draft = world.client.call(
        "GET", f"/dags/{APPROVED}/dagRuns/{run_id}/taskInstances/approval/xcomEntries/draft"
    )["value"]
    assert b"<html" in world.store.get("drafts", draft["key"]).read_bytes("report.html")


def test_a_deadline_says_that_a_person_is_awaited_and_marking_as_success_approves_nothing(
    world: World,
) -> None:
    world.wait_asked(LATE, world.late)
    mail, post = world.told(world.late, f"{LATE} is late: it awaits a person's approval")
    for text in (mail.html, post.text):
        assert "approval awaiting_input" in text
        assert "/tasks/approval/required_actions" in text
        assert "runbook.md#a-portfolio-awaits-approval" in text

    path = f"/dags/{LATE}/dagRuns/{world.late}/taskInstances/approval"
    world.client.call("PATCH", path, json={"new_state": "success"})
    assert world.end(LATE, world.late) == ("failed", {"approval": "success", "publish": "failed"})
    said = world.client.task_log(LATE, world.late, "publish")
    assert "a person must approve this portfolio before it is published" in said
    assert OCTOBER not in published_dates(world.store)
    assert world.decisions(world.late) == []
    assert audit.verify(world.store).problems == ()
