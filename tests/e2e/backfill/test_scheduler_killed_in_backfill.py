"""A backfill of 22 months on the real scheduler is the backtest: what it publishes, the plain steps publish.

One story, told once for all tests: the backfill starts on a delivery whose last months are garbage, its scheduler
is killed on the way, the first month of the garbage fails, the delivery is repaired, and the rest is made up.
"""

from __future__ import annotations

import datetime as dt
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_airflow.backfill import create_backfill
from local_airflow.client import FINISHED
from local_airflow.processes import EmbeddedAirflow

from apex_tasks.backtesting.backtest import BacktestRequest, open_market, replay
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.demo.market import write_demo_data
from apex_tasks.published import audit
from apex_tasks.published.ledger import read_published_ledger
from apex_tasks.published.portfolio import published_dates
from apex_tasks.settings import Fault, JudgementSettings, ScheduleSettings
from apex_tasks.store import Store
from tests.support import bundle_factory
from tests.support.garbage import garbage_after
from tests.support.paths import ROOT
from tests.support.small_market import (
    CALENDAR,
    SmallMarket,
    home_after,
    portfolio,
    published_bytes,
    run,
    small_settings,
)
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1_200)]


DAG_ID = "apex_monthly_rebalance"


MONTHS = tuple(
    CALENDAR.rebalance_session(year, month, 1)
    for year, month in [(2024, month) for month in range(1, 13)] + [(2025, month) for month in range(1, 11)]
)


FROM, TO = "2024-01-01", "2025-10-31"


SOUND, BROKEN, STOPPED, BY_HAND = MONTHS[-4:]


"""The last month that the first delivery is good for, the first that it is not, and the two after it."""


SCHEDULE = ScheduleSettings(grace_days=0)
"""Unpausing must not start the slot of today's month."""
JUDGEMENT = JudgementSettings(warn_only=tuple(Fault))
"""The garbage passes to the end of the early steps, as a month did that only a threshold stops."""


STOCKS, SESSIONS, KILL_AFTER = 130, 645, 7


EARLY, LATE = ("dataset_fresh", "validate_bundle", "build_panel", "infer"), ("apply_costs", "publish")


Tasks = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class World:
    """Inputs, store and Airflow of this module."""

    airflow: EmbeddedAirflow
    home: Path
    delivery: Path
    market: SmallMarket

    def backfill(self, last: str, reprocess: str, *arguments: str) -> None:
        """Create a backfill as an operator does."""
        dates = ("--from-date", FROM, "--to-date", last)
        behavior = ("--max-active-runs", "3", "--reprocess-behavior", reprocess)
        create_backfill(self.airflow, DAG_ID, *dates, *behavior, *arguments)

    def runs(self) -> dict[dt.date, Mapping[str, Any]]:
        """The runs of the slots, by rebalance day."""
        return {
            dt.datetime.fromisoformat(found["logical_date"]).date(): found
            for found in self.airflow.client.runs(DAG_ID)
            if found["logical_date"]
        }

    def tasks(self, month: dt.date) -> Tasks:
        return self.airflow.client.tasks(DAG_ID, self.runs()[month]["dag_run_id"])

    def log(self, month: dt.date, task: str) -> str:
        attempt = self.tasks(month)[task]["try_number"]
        return self.airflow.client.task_log(DAG_ID, self.runs()[month]["dag_run_id"], task, attempt)

    def running(self) -> list[tuple[dt.date, str]]:
        return [
            (month, name)
            for month, found in self.runs().items()
            if found["state"] == "running"
            for name, task in self.airflow.client.tasks(DAG_ID, found["dag_run_id"]).items()
            if task["state"] == "running"
        ]

    def wait_for_the_end(self, seconds: float) -> None:
        self.until(lambda: all(found["state"] in FINISHED for found in self.runs().values()), seconds)

    def until(self, look: Callable[[], Any], seconds: float) -> Any:
        """What `look` finds, as soon as it finds something; a component that crashes is started again."""

        def found() -> Any:
            for name, code in self.airflow.supervise().items():
                print(f"{name} ended with {code} and was started again")
            try:
                return look()
            except httpx.TransportError as starting:
                print(f"The API server does not answer: {starting}")
                return None

        return wait_for(found, seconds)


@dataclass(frozen=True)
class Story:
    """What was seen on the way.

    Attributes
    ----------
    published_at_kill, killed
        Months published when the scheduler was killed, and the tasks that died with it.
    states, tasks
        States of all runs, and tasks of the last four months, after the first backfill.
    said
        Why the month with the broken input failed, and what the two after it said.
    ended
        When each slot's run had ended, before the last backfill.
    before_repair, after_repair, at_the_end
        Every byte under portfolio/ and audit/ after the first backfill, when all months were there, and after
        a last backfill over all of them.
    """

    published_at_kill: int
    killed: list[tuple[dt.date, str]]
    states: Mapping[dt.date, str]
    tasks: Mapping[dt.date, Tasks]
    said: Mapping[dt.date, str]
    ended: Mapping[dt.date, str]
    before_repair: Mapping[str, bytes]
    after_repair: Mapping[str, bytes]
    at_the_end: Mapping[str, bytes]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SmallMarket:
    folder = tmp_path_factory.mktemp("inputs")
    data = write_demo_data(
        folder / "dataset.parquet", stocks=STOCKS, sessions=SESSIONS, end=dt.date(2025, 10, 31)
    )
    return SmallMarket(data.dataset, bundle_factory.Draft().folder(folder / "bundle"))


@pytest.fixture(scope="module")
def world(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("apex_home")
    delivery = garbage_after(
        market,
        CALENDAR.as_of(SOUND),
        CALENDAR.as_of(BROKEN),
        tmp_path_factory.mktemp("delivery") / "dataset.parquet",
    )
    environment = {
        "APEX_HOME": str(home),
        "APEX_BUNDLE": str(market.bundle),
        "APEX_DATASET": str(delivery),
        "APEX_SCHEDULE__GRACE_DAYS": str(SCHEDULE.grace_days),
        "APEX_JUDGEMENT__WARN_ONLY": ",".join(JUDGEMENT.warn_only),
    }
    with EmbeddedAirflow(
        tmp_path_factory.mktemp("airflow"), ROOT / "dags", ROOT / "plugins", environment
    ) as airflow:
        airflow.wait_healthy(DAG_ID).set_paused(DAG_ID, False)
        yield World(airflow, home, delivery, market)


@pytest.fixture(scope="module")
def story(world: World) -> Story:
    world.backfill(TO, "none", "--dag-run-conf", '{"cold_start": true}')
    store = Store(world.home)
    world.until(lambda: len(published_dates(store)) >= KILL_AFTER, 400.0)
    killed = world.until(
        lambda: (now := world.running()) and any(name in LATE for _, name in now) and now, 60
    )
    world.airflow.restart("scheduler", with_signal=signal.SIGKILL)
    published_at_kill = len(published_dates(store))
    world.wait_for_the_end(800.0)
    states = {month: str(found["state"]) for month, found in world.runs().items()}
    tasks = {month: world.tasks(month) for month in MONTHS[-4:]}
    said = {
        BROKEN: world.log(BROKEN, "apply_costs"),
        **{month: world.log(month, "previous_month") for month in (STOPPED, BY_HAND)},
    }
    before_repair = published_bytes(world.home)

    repaired = world.delivery.with_name("repaired.parquet")
    repaired.write_bytes(world.market.dataset.read_bytes())
    repaired.replace(world.delivery)
    world.backfill("2025-09-30", "failed")
    world.until(lambda: {world.runs()[month]["state"] for month in (BROKEN, STOPPED)} == {"success"}, 240.0)
    client = world.airflow.client
    by_hand = client.trigger(DAG_ID, {"as_of": str(CALENDAR.as_of(BY_HAND))})
    world.until(lambda: client.run(DAG_ID, by_hand)["state"] == "success", 240.0)
    ended = {month: found["end_date"] for month, found in world.runs().items()}
    after_repair = published_bytes(world.home)

    world.backfill(TO, "failed")
    world.wait_for_the_end(240.0)
    return Story(
        published_at_kill,
        killed,
        states,
        tasks,
        said,
        ended,
        before_repair,
        after_repair,
        at_the_end=published_bytes(world.home),
    )


@pytest.fixture(scope="module")
def plain(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same months by the plain steps, in this process, on the good dataset."""
    home = tmp_path_factory.mktemp("plain")
    settings = small_settings(home, schedule=SCHEDULE, judgement=JUDGEMENT)
    for month in MONTHS:
        run(market, home, month, settings, cold_start=month == MONTHS[0])
    return home


def when(task: Mapping[str, Any], which: str) -> dt.datetime:
    return dt.datetime.fromisoformat(task[which])


def test_there_are_22_months_and_each_is_published_once(world: World, story: Story) -> None:
    assert len(MONTHS) == 22
    store = Store(world.home)
    assert published_dates(store) == list(MONTHS)
    assert [store.names("portfolio", str(month)) for month in MONTHS] == [["v1"]] * 22
    assert audit.verify(store) == audit.AuditReport(22, ())


def test_every_month_starts_from_the_book_of_the_previous_month(world: World, story: Story) -> None:
    parents = [portfolio(world.home, month).read_json("run.json")["parent"] for month in MONTHS]
    assert parents == [
        None,
        *(
            {"portfolio": f"{month}/v1", "content_hash": portfolio(world.home, month).content_hash}
            for month in MONTHS[:-1]
        ),
    ]


def test_every_published_file_is_that_of_the_plain_steps(world: World, story: Story, plain: Path) -> None:
    for month in MONTHS:
        by_airflow, alone = portfolio(world.home, month), portfolio(plain, month)
        compared = set(alone.manifest.files) - {"execution.json"}
        assert compared == {
            "portfolio.csv",
            "orders.csv",
            "scores.parquet",
            "book.json",
            "history.json",
            "run.json",
            "report.html",
        }
        assert set(by_airflow.manifest.files) == compared | {"execution.json"}
        for name in sorted(compared):
            assert by_airflow.read_bytes(name) == alone.read_bytes(name), (month, name)


def test_the_live_backtest_is_the_backfill(world: World, story: Story) -> None:
    """Orders, fills and every day of the ledger, to the last bit; the market has splits, pauses and delistings."""
    settings = small_settings("unused", schedule=SCHEDULE)
    request = BacktestRequest(
        bundle=str(world.market.bundle),
        dataset=str(world.market.dataset),
        start=dt.date.fromisoformat(FROM),
        end=dt.date.fromisoformat(TO),
        settings=settings,
    )
    simulation = replay(open_market(request, CALENDAR), settings)
    ledger = read_published_ledger(Store(world.home), open_dataset(world.market.dataset))
    assert [done.rebalance.date for done in simulation.rebalances] == list(MONTHS)
    for done, month in zip(simulation.rebalances, ledger.months, strict=True):
        assert done.plan.orders == month.portfolio.orders()
        assert done.fills == month.fills
    assert ledger.days == tuple(simulation.days)
    assert len(ledger.days) == len(CALENDAR.sessions(MONTHS[0], dt.date.fromisoformat(TO)))


def test_early_steps_overlap_and_plans_are_made_in_order(world: World, story: Story) -> None:
    tasks = {month: world.tasks(month) for month in MONTHS}
    overlapping = [
        month
        for before, month in pairwise(MONTHS)
        if any(
            when(tasks[month][name], "start_date") < when(tasks[before]["publish"], "end_date")
            for name in EARLY
        )
    ]
    assert len(overlapping) > len(MONTHS) / 2, overlapping
    for before, month in pairwise(MONTHS[:-1]):  # the last month was made up by hand
        published = when(tasks[before]["publish"], "end_date")
        assert published <= when(tasks[month]["apply_costs"], "start_date"), month


def test_the_scheduler_was_killed_in_the_middle(world: World, story: Story) -> None:
    assert KILL_AFTER <= story.published_at_kill < len(MONTHS) - 4
    assert any(name in LATE for _, name in story.killed)
    for month, name in story.killed:
        if name in LATE:
            assert world.tasks(month)[name]["state"] == "success"


def test_a_failed_month_stops_those_after_it_and_leaves_those_before(story: Story) -> None:
    failed = (BROKEN, STOPPED, BY_HAND)
    assert story.states == {month: "failed" if month in failed else "success" for month in MONTHS}
    for month in failed:
        states = {name: task["state"] for name, task in story.tasks[month].items()}
        first = "apply_costs" if month == BROKEN else "previous_month"
        assert states == {
            **dict.fromkeys(EARLY, "success"),
            **dict.fromkeys(("previous_month", "apply_costs", "approval", "publish"), "upstream_failed"),
            **({"previous_month": "success"} if month == BROKEN else {}),
            first: "failed",
        }
    assert "a critical alert threshold is broken" in story.said[BROKEN]
    for before, month in pairwise(failed):
        assert "the run of the month before failed" in story.said[month]
        assert f"a portfolio of {before}" in story.said[month]
    published = {name.split("/")[1] for name in story.before_repair if name.startswith("portfolio/")}
    assert published == {str(month) for month in MONTHS if month not in failed}


def test_garbage_after_the_as_of_session_changed_no_byte(
    world: World, story: Story, plain: Path, tmp_path: Path
) -> None:
    """The last sound month was published while everything newer was garbage; the garbage is no small change."""
    ours = {name for name in story.before_repair if name.startswith(f"portfolio/{SOUND}/")}
    assert len(ours) == 9
    for path in ours:
        name = Path(path).name
        if name not in ("execution.json", "manifest.json"):
            assert story.before_repair[path] == portfolio(plain, SOUND).read_bytes(name), name
    # The model skips the last four rows of a window.
    reaching_in = garbage_after(
        world.market,
        CALENDAR.as_of(SOUND) - dt.timedelta(days=20),
        CALENDAR.as_of(BROKEN),
        tmp_path / "dataset.parquet",
    )
    home = home_after(plain, tmp_path / "home", MONTHS[MONTHS.index(SOUND) - 1])
    settings = small_settings(home, schedule=SCHEDULE, judgement=JUDGEMENT)
    run(world.market, home, SOUND, settings, dataset=str(reaching_in))
    for name in ("scores.parquet", "portfolio.csv", "orders.csv", "book.json", "run.json", "report.html"):
        assert portfolio(home, SOUND).sha256(name) != portfolio(plain, SOUND).sha256(name), name


def test_what_was_published_stays_as_it_was(story: Story) -> None:
    trail = "audit/trail.jsonl"
    for earlier, later in ((story.before_repair, story.after_repair), (story.after_repair, story.at_the_end)):
        assert {name: later[name] for name in earlier if name != trail} == {
            name: data for name, data in earlier.items() if name != trail
        }
        assert later[trail].startswith(earlier[trail])
    assert story.at_the_end == story.after_repair


def test_the_last_backfill_ran_only_the_failed_month_and_published_nothing(
    world: World, story: Story
) -> None:
    runs = world.runs()
    assert {found["state"] for found in runs.values()} == {"success"}
    again = {month for month, ended in story.ended.items() if runs[month]["end_date"] != ended}
    assert again == {BY_HAND}
    assert "was published already, nothing changed" in world.log(BY_HAND, "publish")
