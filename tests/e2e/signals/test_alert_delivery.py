"""Who is told of what by the four real Airflow processes: one e-mail and one Slack message for each cause."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from local_airflow.client import AirflowClient
from local_airflow.environment import free_port
from local_airflow.processes import EmbeddedAirflow

from apex_tasks.store import Store
from tests.support.message_servers import Mail, MessageServers, Post, connections
from tests.support.small_market import AS_OF, AUGUST, JULY, OCTOBER, SEPTEMBER, SmallMarket, write_table
from tests.support.started_airflow import DAG_ID, copy_dag
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

HURRIED = "apex_hurried"
"""The same DAG with a first deadline of some seconds, and more patience with the dataset."""
HELD_UP = "apex_held_up"
"""The same DAG with a first deadline that leaves time to come as far as publishing."""
IMPATIENT = "apex_impatient"
"""The same DAG without retries, so that one kill is the end of a task."""
UNHEARD = "apex_unheard"
"""The same DAG, whose mail server and Slack refuse connections."""
DEADLINE_SECONDS = {HURRIED: 15, HELD_UP: 30}
DAG_IDS = (DAG_ID, HURRIED, HELD_UP, IMPATIENT, UNHEARD)
RUN_SECONDS = 120.0
DELIVERY_SECONDS = 30.0


@dataclass(frozen=True)
class World:
    """The Airflow, its store, and the messages since this module has begun."""

    airflow: EmbeddedAirflow
    servers: MessageServers
    home: Path
    before: tuple[int, int]
    """E-mails and messages to Slack that other modules had caused."""

    @property
    def client(self) -> AirflowClient:
        return self.airflow.client

    @property
    def mails(self) -> list[Mail]:
        return self.servers.mails[self.before[0] :]

    @property
    def posts(self) -> list[Post]:
        return self.servers.posts[self.before[1] :]

    def trigger(self, dag_id: str, as_of: dt.date, **conf: object) -> str:
        return self.client.trigger(dag_id, {"as_of": str(as_of), "cold_start": True, **conf})

    def finish(self, dag_id: str, as_of: dt.date, **conf: object) -> tuple[str, str]:
        """Trigger a run and wait for its end: run id and state."""
        run_id = self.trigger(dag_id, as_of, **conf)
        return run_id, self.wait_end(dag_id, run_id)

    def wait_end(self, dag_id: str, run_id: str) -> str:
        return self.client.wait_run(dag_id, run_id, RUN_SECONDS)

    def wait_running(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        return wait_for(
            lambda: (
                task
                if (task := self.client.tasks(dag_id, run_id)[task_id])["state"] == "running" and task["pid"]
                else None
            ),
            RUN_SECONDS,
        )

    def told(self, run_id: str, about: str, seconds: float = DELIVERY_SECONDS) -> tuple[Mail, Post]:
        """The e-mail and the Slack message of a run whose subject says this, once both have come."""

        def both() -> tuple[Mail, Post] | None:
            mails = [mail for mail in self.mails if run_id in mail.html and about in mail.subject]
            posts = [
                post for post in self.posts if run_id in post.text and about in post.text.splitlines()[0]
            ]
            return (mails[0], posts[0]) if mails and posts else None

        mail, post = wait_for(both, seconds)
        return mail, post


@pytest.fixture(scope="module")
def world(airflow: EmbeddedAirflow, servers: MessageServers, dags: Path, home: Path) -> World:
    copy_dag(
        dags, IMPATIENT, {}, {"default_args=DEFAULT_ARGS": 'default_args={**DEFAULT_ARGS, "retries": 0}'}
    )
    copy_dag(dags, UNHEARD, connections(free_port(), free_port()))
    for dag_id, seconds in DEADLINE_SECONDS.items():
        changes = {
            "APEX_DEADLINES__WARNING_MINUTES": f"{seconds / 60}",
            "APEX_FRESHNESS__TIMEOUT_MINUTES": "2",
        }
        copy_dag(dags, dag_id, changes)
    client = airflow.wait_healthy(*DAG_IDS)
    for dag_id in DAG_IDS:
        client.set_paused(dag_id, False)
    return World(airflow, servers, home, (len(servers.mails), len(servers.posts)))


@pytest.fixture(scope="module")
def refused(world: World) -> str:
    """A run whose bundle does not exist; it fails before its deadline passes."""
    run_id, state = world.finish(HURRIED, AS_OF[JULY], bundle=str(world.home / "nothing"))
    assert state == "failed"
    return run_id


@dataclass(frozen=True)
class Runs:
    """Runs that have nothing to do with one another, and so go on side by side.

    Attributes
    ----------
    published
        A run that publishes.
    starved
        One with prices for so few stocks that the supply threshold breaks.
    late
        One whose dataset never comes.
    awaited
        One whose dataset comes after the deadline.
    """

    published: str
    starved: str
    late: str
    awaited: str


@pytest.fixture(scope="module")
def runs(world: World, refused: str, market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    datasets = tmp_path_factory.mktemp("datasets")
    close = market.values("Close")
    close[(market.dates == AS_OF[AUGUST]) & (np.arange(len(close)) % 3 != 0)] = np.nan
    starved = market.changed(datasets / "starved.parquet", Close=close)
    known = market.table.filter(pc.less(market.table["Date"], AS_OF[SEPTEMBER]))
    short = write_table(known, datasets / "short.parquet")
    delivery = datasets / "delivery.parquet"
    shutil.copy(short, delivery)
    runs = Runs(
        awaited=world.trigger(HURRIED, AS_OF[SEPTEMBER], dataset=str(delivery)),
        published=world.trigger(DAG_ID, AS_OF[JULY]),
        starved=world.trigger(DAG_ID, AS_OF[AUGUST], dataset=str(starved)),
        late=world.trigger(DAG_ID, AS_OF[SEPTEMBER], dataset=str(short)),
    )
    world.told(runs.awaited, "is late", DEADLINE_SECONDS[HURRIED] + DELIVERY_SECONDS)
    # No month is added behind a later one.
    assert world.wait_end(DAG_ID, runs.published) == "success"
    delivery.unlink()
    shutil.copy(market.dataset, delivery)
    expected = {runs.published: "success", runs.starved: "failed", runs.late: "failed"}
    assert {run_id: world.wait_end(DAG_ID, run_id) for run_id in expected} == expected
    assert world.wait_end(HURRIED, runs.awaited) == "success"
    return runs


@dataclass(frozen=True)
class HeldUpRuns:
    """Runs that wait in their last task, because another process holds the store's lock.

    Attributes
    ----------
    killed
        A run whose publish task was killed while it waited.
    held_up
        One that publishes after its deadline.
    """

    killed: str
    held_up: str


@pytest.fixture(scope="module")
def held_up_runs(world: World, runs: Runs) -> HeldUpRuns:
    with Store(world.home).lock("publish"):
        held_up = world.trigger(HELD_UP, AS_OF[OCTOBER])
        world.wait_running(HELD_UP, held_up, "publish")
        killed = world.trigger(IMPATIENT, AS_OF[SEPTEMBER])
        os.kill(world.wait_running(IMPATIENT, killed, "publish")["pid"], signal.SIGKILL)
        assert world.wait_end(IMPATIENT, killed) == "failed"
        world.told(held_up, "is late", DEADLINE_SECONDS[HELD_UP] + DELIVERY_SECONDS)
    assert world.wait_end(HELD_UP, held_up) == "success"
    return HeldUpRuns(killed, held_up)


def in_time(world: World, dag_id: str, run_id: str, task_id: str, *messages: Mail | Post) -> None:
    """Both messages came within 30 s of the task's end."""
    ended = dt.datetime.fromisoformat(world.client.tasks(dag_id, run_id)[task_id]["end_date"]).timestamp()
    delays = [message.at - ended for message in messages]
    print(f"{task_id}: told after {', '.join(f'{delay:.1f} s' for delay in delays)}")
    assert max(delays) < DELIVERY_SECONDS


def says(mail: Mail, post: Post, *words: str) -> None:
    """Both messages hold all words; the e-mail went to everybody."""
    assert (mail.sender, mail.recipients) == ("apex@example.com", ("desk@example.com", "risk@example.com"))
    for word in words:
        assert word in f"{mail.subject} {mail.html}"
        assert word in post.text


def test_a_refusal_is_told_with_what_to_do(world: World, refused: str) -> None:
    mail, post = world.told(refused, "failed at validate_bundle")
    says(mail, post, "[APEX CRITICAL]", str(world.home / "nothing"), "Expected", "Received", "First:")
    says(
        mail,
        post,
        f"{world.airflow.url}/dags/{HURRIED}/runs/",
        "/tasks/validate_bundle",
        "runbook.md#a-task-refused",
    )
    in_time(world, HURRIED, refused, "validate_bundle", mail, post)


def test_a_published_month_is_told_with_its_portfolio(world: World, runs: Runs) -> None:
    mail, post = world.told(runs.published, "published")
    says(
        mail,
        post,
        f"{JULY}/v1 published",
        "positions, turnover",
        "bps",
        "report.html",
        f"{world.home}/portfolio",
    )
    in_time(world, DAG_ID, runs.published, "publish", mail, post)


def test_a_broken_threshold_is_told_with_metric_and_bound(world: World, runs: Runs) -> None:
    task = world.client.tasks(DAG_ID, runs.starved)["apply_costs"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    mail, post = world.told(runs.starved, "apex_selected_count = 40, a critical alert threshold is broken")
    says(mail, post, "not apex_selected_count &lt; 53", "runbook.md#low-supply")
    in_time(world, DAG_ID, runs.starved, "apply_costs", mail, post)


def test_a_late_dataset_is_told_with_session_and_since_when(world: World, runs: Runs) -> None:
    mail, post = world.told(runs.late, "failed at dataset_fresh")
    says(mail, post, f"no rows for the as-of session {AS_OF[SEPTEMBER]}, awaited since", "JST", "last date")
    in_time(world, DAG_ID, runs.late, "dataset_fresh", mail, post)


def test_a_killed_task_is_told_by_the_run(world: World, held_up_runs: HeldUpRuns) -> None:
    mail, post = world.told(held_up_runs.killed, "failed at publish: its process was killed")
    says(mail, post, "/tasks/publish", "runbook.md#a-task-was-killed")
    in_time(world, IMPATIENT, held_up_runs.killed, "publish", mail, post)


def test_a_passed_deadline_is_told_with_the_tasks_states(world: World, held_up_runs: HeldUpRuns) -> None:
    held_up, deadline = held_up_runs.held_up, DEADLINE_SECONDS[HELD_UP]
    mail, post = world.told(held_up, f"[APEX WARNING] {HELD_UP} is late")
    says(mail, post, "publish running", "infer success", f"{deadline / 60:g} minutes after")
    queued = dt.datetime.fromisoformat(world.client.run(HELD_UP, held_up)["queued_at"]).timestamp()
    for message in (mail, post):
        assert deadline <= message.at - queued < deadline + DELIVERY_SECONDS
    world.told(held_up, "published")


def test_a_deadline_says_which_session_is_missing(world: World, runs: Runs) -> None:
    mail, post = world.told(
        runs.awaited, f"{HURRIED} is late: dataset has no rows for the as-of session {AS_OF[SEPTEMBER]}"
    )
    says(
        mail,
        post,
        "awaited since",
        "last date",
        "dataset_fresh ",
        "runbook.md#the-dataset-is-late",
    )
    world.told(runs.awaited, "published")


def test_each_cause_was_told_once(world: World, refused: str, runs: Runs, held_up_runs: HeldUpRuns) -> None:
    """Long after all: also the deadline of the refused run has passed, in silence."""
    deadline = dt.datetime.fromisoformat(world.client.run(HURRIED, refused)["queued_at"]).timestamp()
    time.sleep(max(0.0, deadline + DEADLINE_SECONDS[HURRIED] + 5.0 - time.time()))
    assert not retried(world)
    once = {
        **dict.fromkeys((refused, runs.published, runs.starved, runs.late, held_up_runs.killed), 1),
        **dict.fromkeys((runs.awaited, held_up_runs.held_up), 2),
    }
    mails = Counter(run_id for run_id in once for mail in world.mails if run_id in mail.html)
    posts = Counter(run_id for run_id in once for post in world.posts if run_id in post.text)
    assert mails == once
    assert posts == once
    assert len(world.mails) == len(world.posts) == sum(once.values())


def retried(world: World) -> list[str]:
    """Tasks that needed a second attempt: none of this module should."""
    return [
        f"{run['dag_run_id']} {name}"
        for dag_id in DAG_IDS
        for run in world.client.runs(dag_id)
        for name, task in world.client.tasks(dag_id, run["dag_run_id"]).items()
        if task["try_number"] > 1
    ]


def test_with_both_servers_down_a_run_ends_as_it_would_have(world: World, runs: Runs) -> None:
    good = world.trigger(UNHEARD, AS_OF[JULY])
    bad = world.trigger(UNHEARD, AS_OF[JULY], bundle=str(world.home / "nothing"))
    assert (world.wait_end(UNHEARD, good), world.wait_end(UNHEARD, bad)) == ("success", "failed")
    assert states(world, good) == dict.fromkeys(states(world, good), "success")
    task = world.client.tasks(UNHEARD, bad)["validate_bundle"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    for run_id, task_id in ((good, "publish"), (bad, "validate_bundle")):
        # The callbacks run after the task's state is known: its log goes on for a moment.
        for channel in ("slack", "email"):
            wait_for(
                lambda: world.client.task_log(UNHEARD, run_id, task_id),  # noqa: B023 - called at once
                DELIVERY_SECONDS,
                lambda log: f"No {channel} message was sent" in log,  # noqa: B023
            )


def states(world: World, run_id: str) -> Mapping[str, str]:
    return {name: task["state"] for name, task in world.client.tasks(UNHEARD, run_id).items()}
