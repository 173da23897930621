"""Who is told of what by the four real Airflow processes: one e-mail and one Slack message for each cause."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from local_airflow.client import AirflowClient
from local_airflow.processes import EmbeddedAirflow

from apex_tasks.store import Store
from tests.support.message_servers import Mail, MessageServers, Post
from tests.support.paths import ROOT
from tests.support.small_market import AS_OF, AUGUST, JULY, OCTOBER, SEPTEMBER, SmallMarket, write_table
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

DAG_ID = "apex_monthly_rebalance"
HURRIED = "apex_hurried"
"""The same DAG with a first deadline of some seconds, and more patience with the dataset."""
IMPATIENT = "apex_impatient"
"""The same DAG without retries, so that one kill is the end of a task."""
DEADLINE_SECONDS = 15
RUN_SECONDS = 120.0
DELIVERY_SECONDS = 30.0


@dataclass(frozen=True)
class World:
    """The inputs, the servers that listen and the Airflow of this module."""

    airflow: EmbeddedAirflow
    servers: MessageServers
    home: Path

    @property
    def client(self) -> AirflowClient:
        return self.airflow.client

    def trigger(self, dag_id: str, as_of: dt.date, **conf: object) -> str:
        return self.client.trigger(dag_id, {"as_of": str(as_of), "cold_start": True, **conf})

    def finish(self, dag_id: str, as_of: dt.date, **conf: object) -> tuple[str, str]:
        """Trigger a run and wait for its end: run id and state."""
        run_id = self.trigger(dag_id, as_of, **conf)
        return run_id, self.client.wait_run(dag_id, run_id, RUN_SECONDS)

    def wait_running(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        return wait_for(
            lambda: (
                task
                if (task := self.client.tasks(dag_id, run_id)[task_id])["state"] == "running" and task["pid"]
                else None
            ),
            RUN_SECONDS,
        )

    def told(self, run_id: str, about: str) -> tuple[Mail, Post]:
        """The e-mail and the Slack message of a run whose subject says this, once both have come."""

        def both() -> tuple[Mail, Post] | None:
            mails = [mail for mail in self.servers.mails if run_id in mail.html and about in mail.subject]
            posts = [
                post
                for post in self.servers.posts
                if run_id in post.text and about in post.text.splitlines()[0]
            ]
            return (mails[0], posts[0]) if mails and posts else None

        return wait_for(both, DELIVERY_SECONDS)


@pytest.fixture(scope="module")
def world(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("apex_home")
    with MessageServers() as servers:
        environment = {
            **servers.environment,
            "APEX_HOME": str(home),
            "APEX_BUNDLE": str(market.bundle),
            "APEX_DATASET": str(market.dataset),
            # Airflow notices the end of a look up to 5 s late, and would take it for the end of the next one.
            "APEX_FRESHNESS__POKE_INTERVAL_SECONDS": "10",
            "APEX_FRESHNESS__TIMEOUT_MINUTES": "0.05",
            # Unpausing must not start the slot of today's month: the small market ends long before.
            "APEX_SCHEDULE__GRACE_DAYS": "0",
        }
        dags = write_dags(tmp_path_factory.mktemp("dags"))
        with EmbeddedAirflow(
            tmp_path_factory.mktemp("airflow"), dags, ROOT / "plugins", environment
        ) as airflow:
            airflow.wait_healthy(DAG_ID, HURRIED, IMPATIENT)
            for dag_id in (DAG_ID, HURRIED, IMPATIENT):
                airflow.client.set_paused(dag_id, False)
            yield World(airflow, servers, home)


def write_dags(folder: Path) -> Path:
    """The DAG file as it is, and two copies under other names."""
    source = (ROOT / "dags" / f"{DAG_ID}.py").read_text()
    changes = {
        "APEX_DEADLINES__WARNING_MINUTES": f"{DEADLINE_SECONDS / 60}",
        "APEX_FRESHNESS__TIMEOUT_MINUTES": "2",
    }
    hurried = f"import os\nos.environ.update({changes})\n{source}"
    assert '"retries": 2' in source
    copies = {
        DAG_ID: source,
        HURRIED: hurried.replace(f'dag_id="{DAG_ID}"', f'dag_id="{HURRIED}"'),
        IMPATIENT: source.replace(f'dag_id="{DAG_ID}"', f'dag_id="{IMPATIENT}"').replace(
            '"retries": 2', '"retries": 0'
        ),
    }
    for name, text in copies.items():
        assert f'dag_id="{name}"' in text
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def refused(world: World) -> str:
    """A run whose bundle does not exist."""
    run_id, state = world.finish(HURRIED, AS_OF[JULY], bundle=str(world.home / "nothing"))
    assert state == "failed"
    return run_id


@pytest.fixture(scope="module")
def published(world: World) -> str:
    """A run that publishes."""
    run_id, state = world.finish(DAG_ID, AS_OF[JULY])
    assert state == "success"
    return run_id


@pytest.fixture(scope="module")
def starved(world: World, market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with prices for so few stocks that the supply threshold breaks."""
    close = market.values("Close")
    close[(market.dates == AS_OF[AUGUST]) & (np.arange(len(close)) % 3 != 0)] = np.nan
    dataset = market.changed(tmp_path_factory.mktemp("starved") / "dataset.parquet", Close=close)
    run_id, state = world.finish(DAG_ID, AS_OF[AUGUST], dataset=str(dataset))
    assert state == "failed"
    return run_id


@pytest.fixture(scope="module")
def short_dataset(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that ends before September's as-of session."""
    short = market.table.filter(pc.less(market.table["Date"], AS_OF[SEPTEMBER]))
    return write_table(short, tmp_path_factory.mktemp("late") / "dataset.parquet")


@pytest.fixture(scope="module")
def late(world: World, short_dataset: Path) -> str:
    """A run whose dataset never comes."""
    run_id, state = world.finish(DAG_ID, AS_OF[SEPTEMBER], dataset=str(short_dataset))
    assert state == "failed"
    return run_id


@pytest.fixture(scope="module")
def awaited(world: World, short_dataset: Path, market: SmallMarket) -> str:
    """A run whose dataset comes after the deadline."""
    dataset = short_dataset.with_name("delivery.parquet")
    shutil.copy(short_dataset, dataset)
    run_id = world.trigger(HURRIED, AS_OF[SEPTEMBER], dataset=str(dataset))
    world.told(run_id, "is late")
    dataset.unlink()
    shutil.copy(market.dataset, dataset)
    assert world.client.wait_run(HURRIED, run_id, RUN_SECONDS) == "success"
    return run_id


@pytest.fixture(scope="module")
def killed(world: World) -> str:
    """A run whose publish task was killed while it waited for the store's lock."""
    with Store(world.home).lock("publish"):
        run_id = world.trigger(IMPATIENT, AS_OF[SEPTEMBER])
        os.kill(world.wait_running(IMPATIENT, run_id, "publish")["pid"], signal.SIGKILL)
        assert world.client.wait_run(IMPATIENT, run_id, RUN_SECONDS) == "failed"
    return run_id


@pytest.fixture(scope="module")
def held_up(world: World) -> str:
    """A run that publishes after its deadline, because another process held the store's lock."""
    with Store(world.home).lock("publish"):
        run_id = world.trigger(HURRIED, AS_OF[OCTOBER])
        world.wait_running(HURRIED, run_id, "publish")
        world.told(run_id, "is late")
    assert world.client.wait_run(HURRIED, run_id, RUN_SECONDS) == "success"
    return run_id


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


def test_a_published_month_is_told_with_its_portfolio(world: World, published: str) -> None:
    mail, post = world.told(published, "published")
    says(
        mail,
        post,
        f"{JULY}/v1 published",
        "positions, turnover",
        "bps",
        "report.html",
        f"{world.home}/portfolio",
    )
    in_time(world, DAG_ID, published, "publish", mail, post)


def test_a_broken_threshold_is_told_with_metric_and_bound(world: World, starved: str) -> None:
    task = world.client.tasks(DAG_ID, starved)["apply_costs"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    mail, post = world.told(starved, "apex_selected_count = 40, a critical alert threshold is broken")
    says(mail, post, "not apex_selected_count &lt; 53", "runbook.md#low-supply")
    in_time(world, DAG_ID, starved, "apply_costs", mail, post)


def test_a_late_dataset_is_told_with_session_and_since_when(world: World, late: str) -> None:
    mail, post = world.told(late, "failed at dataset_fresh")
    says(mail, post, f"no rows for the as-of session {AS_OF[SEPTEMBER]}, awaited since", "JST", "last date")
    in_time(world, DAG_ID, late, "dataset_fresh", mail, post)


def test_a_killed_task_is_told_by_the_run(world: World, killed: str) -> None:
    mail, post = world.told(killed, "failed at publish: its process was killed")
    says(mail, post, "/tasks/publish", "runbook.md#a-task-was-killed")
    in_time(world, IMPATIENT, killed, "publish", mail, post)


def test_a_passed_deadline_is_told_with_the_tasks_states(world: World, held_up: str) -> None:
    mail, post = world.told(held_up, f"[APEX WARNING] {HURRIED} is late")
    says(mail, post, "publish running", "infer success", f"{DEADLINE_SECONDS / 60:g} minutes after")
    queued = dt.datetime.fromisoformat(world.client.run(HURRIED, held_up)["queued_at"]).timestamp()
    for message in (mail, post):
        assert DEADLINE_SECONDS <= message.at - queued < DEADLINE_SECONDS + DELIVERY_SECONDS
    world.told(held_up, "published")


def test_a_deadline_says_which_session_is_missing(world: World, awaited: str) -> None:
    mail, post = world.told(
        awaited, f"{HURRIED} is late: dataset has no rows for the as-of session {AS_OF[SEPTEMBER]}"
    )
    says(
        mail,
        post,
        "awaited since",
        "last date",
        "dataset_fresh ",
        "runbook.md#the-dataset-is-late",
    )
    world.told(awaited, "published")


def test_each_cause_was_told_once(
    world: World,
    refused: str,
    published: str,
    starved: str,
    late: str,
    killed: str,
    held_up: str,
    awaited: str,
) -> None:
    """Long after all: also the deadline of the refused run has passed, in silence."""
    deadline = dt.datetime.fromisoformat(world.client.run(HURRIED, refused)["queued_at"]).timestamp()
    time.sleep(max(0.0, deadline + DEADLINE_SECONDS + 5.0 - time.time()))
    assert not retried(world)
    once = {refused: 1, published: 1, starved: 1, late: 1, killed: 1, held_up: 2, awaited: 2}
    mails = Counter(run_id for run_id in once for mail in world.servers.mails if run_id in mail.html)
    posts = Counter(run_id for run_id in once for post in world.servers.posts if run_id in post.text)
    assert mails == once
    assert posts == once
    assert len(world.servers.mails) == len(world.servers.posts) == sum(once.values())


def retried(world: World) -> list[str]:
    """Tasks that needed a second attempt: none of this module should."""
    return [
        f"{run['dag_run_id']} {name}"
        for dag_id in (DAG_ID, HURRIED, IMPATIENT)
        for run in world.client.runs(dag_id)
        for name, task in world.client.tasks(dag_id, run["dag_run_id"]).items()
        if task["try_number"] > 1
    ]


def test_with_both_servers_down_a_run_ends_as_it_would_have(world: World, held_up: str) -> None:
    world.servers.stop()
    good, good_state = world.finish(DAG_ID, AS_OF[JULY])
    bad, bad_state = world.finish(DAG_ID, AS_OF[JULY], bundle=str(world.home / "nothing"))
    assert (good_state, bad_state) == ("success", "failed")
    assert states(world, good) == dict.fromkeys(states(world, good), "success")
    task = world.client.tasks(DAG_ID, bad)["validate_bundle"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    for run_id, task_id in ((good, "publish"), (bad, "validate_bundle")):
        log = world.client.task_log(DAG_ID, run_id, task_id)
        assert "No slack message was sent" in log
        assert "No email message was sent" in log


def states(world: World, run_id: str) -> Mapping[str, str]:
    return {name: task["state"] for name, task in world.client.tasks(DAG_ID, run_id).items()}
