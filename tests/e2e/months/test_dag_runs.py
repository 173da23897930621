"""The monthly DAG on the four real Airflow processes: every way a run can start, and what it publishes."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from local_airflow.client import AirflowClient
from local_airflow.processes import AirflowFailedError, EmbeddedAirflow

from apex_tasks.demo.bundle import write_demo_bundle
from apex_tasks.demo.market import write_demo_data
from apex_tasks.market.calendar import TseCalendar, tokyo_date
from apex_tasks.monthly.request import resolve_request
from apex_tasks.monthly.run import MonthlyRun, run_month
from apex_tasks.published import audit
from apex_tasks.published.portfolio import latest_version, published_dates
from apex_tasks.settings import load_settings
from apex_tasks.store import Store
from tests.support.paths import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

DAG_ID, PERFORMANCE, REHEARSAL = "apex_monthly_rebalance", "apex_performance", "apex_rehearsal"
TASKS = (
    "dataset_fresh",
    "validate_bundle",
    "build_panel",
    "infer",
    "previous_month",
    "apply_costs",
    "approval",
    "publish",
)
RUN_SECONDS = 120.0
CALENDAR = TseCalendar.load()


def _latest_due() -> dt.date:
    """The rebalance day whose opening was last, as seen from now."""
    now = dt.datetime.now(dt.UTC)
    day = CALENDAR.latest_rebalance_session(tokyo_date(now))
    return day if CALENDAR.rebalance_instant(day) <= now else _previous_month(day)


def _previous_month(day: dt.date) -> dt.date:
    return CALENDAR.latest_rebalance_session(day - dt.timedelta(days=1))


LATEST = _latest_due()
MONTHS = (_previous_month(_previous_month(LATEST)), _previous_month(LATEST), LATEST)
AS_OF = {day: CALENDAR.as_of(day) for day in MONTHS}


@dataclass(frozen=True)
class World:
    """The inputs, the store and the Airflow of this module."""

    airflow: EmbeddedAirflow
    environment: Mapping[str, str]

    @property
    def client(self) -> AirflowClient:
        return self.airflow.client

    @property
    def store(self) -> Store:
        return Store(self.environment["APEX_HOME"])

    def finish(self, conf: Mapping[str, object]) -> tuple[str, str]:
        """Trigger a manual run and wait for its end: run id and state."""
        run_id = self.client.trigger(DAG_ID, conf)
        return run_id, self.client.wait_run(DAG_ID, run_id, RUN_SECONDS)

    def states(self, run_id: str) -> dict[str, str]:
        return {name: task["state"] for name, task in self.client.tasks(DAG_ID, run_id).items()}

    def published_bytes(self) -> dict[str, bytes]:
        """Every byte under portfolio/ and of the audit trail."""
        home = Path(self.environment["APEX_HOME"])
        return {
            str(path): path.read_bytes()
            for part in ("portfolio", "audit")
            for path in sorted((home / part).rglob("*"))
            if path.is_file()
        }


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """A small synthetic dataset up to the latest due as-of session, and a bundle trained for a moment."""
    folder = tmp_path_factory.mktemp("inputs")
    data = write_demo_data(folder / "dataset.parquet", stocks=150, sessions=300, end=AS_OF[LATEST])
    bundle = write_demo_bundle(folder / "bundle", data.dataset, samples=64)
    return {
        "APEX_HOME": str(tmp_path_factory.mktemp("apex_home")),
        "APEX_BUNDLE": str(bundle.path),
        "APEX_DATASET": str(data.dataset),
        "APEX_FRESHNESS__POKE_INTERVAL_SECONDS": "1",
    }


@pytest.fixture(scope="module")
def world(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("airflow")
    with EmbeddedAirflow(home, ROOT / "dags", ROOT / "plugins", environment) as airflow:
        airflow.wait_healthy(DAG_ID, PERFORMANCE)
        yield World(airflow, environment)


@dataclass(frozen=True)
class History:
    """What was seen while two months were backfilled and the due slot ran by itself."""

    next_run_while_paused: str
    runs: dict[dt.date, dict[str, Any]]
    performance_before: dict[str, str]


@pytest.fixture(scope="module")
def history(world: World) -> History:
    """Backfill the two months before the due slot while the DAG is paused, then unpause.

    The performance is watched from before the first month on.
    """
    while_paused = world.client.dag(DAG_ID)
    performance_before = _first_look(world)
    assert while_paused is not None
    _backfill(world.client, MONTHS[0], MONTHS[1], {"cold_start": True})
    world.client.set_paused(DAG_ID, False)
    found: dict[dt.date, dict[str, Any]] = {}
    for month in MONTHS:
        run_id = _wait_for_run_of(world.client, month)
        world.client.wait_run(DAG_ID, run_id, RUN_SECONDS)
        found[month] = world.client.run(DAG_ID, run_id)
    return History(while_paused["next_dagrun_run_after"], found, performance_before)


def _first_look(world: World) -> dict[str, str]:
    """Unpause the performance DAG, which looks at once; the states of its tasks."""
    world.client.set_paused(PERFORMANCE, False)
    for _ in range(60):
        if runs := world.client.runs(PERFORMANCE):
            run_id = runs[0]["dag_run_id"]
            assert world.client.wait_run(PERFORMANCE, run_id, RUN_SECONDS) == "success"
            return {name: task["state"] for name, task in world.client.tasks(PERFORMANCE, run_id).items()}
        time.sleep(0.5)
    raise AssertionError("unpausing started no look at the performance")


def _backfill(client: AirflowClient, first: dt.date, last: dt.date, conf: Mapping[str, object]) -> None:
    bounds = {"from_date": first, "to_date": last}
    instants = {name: CALENDAR.rebalance_instant(day).isoformat() for name, day in bounds.items()}
    body = {"dag_id": DAG_ID, "dag_run_conf": dict(conf), **instants}
    for _ in range(60):
        try:
            client.call("POST", "/backfills", json=body)
        except httpx.HTTPStatusError as refused:
            # Airflow runs one backfill of a DAG at a time, and closes one some time after its last run.
            if refused.response.status_code != httpx.codes.CONFLICT:
                raise
            time.sleep(1.0)
        else:
            return
    raise AssertionError("the backfill before was never closed")


def _wait_for_run_of(client: AirflowClient, month: dt.date) -> str:
    wanted = CALENDAR.rebalance_instant(month)
    for _ in range(60):
        for run in client.runs(DAG_ID):
            if run["logical_date"] and dt.datetime.fromisoformat(run["logical_date"]) == wanted:
                return str(run["dag_run_id"])
        time.sleep(0.5)
    raise AssertionError(f"no run of {month}: {client.runs(DAG_ID)}")


def test_unpausing_starts_the_due_slot_and_backfill_the_months_before(history: History) -> None:
    assert {day: run["state"] for day, run in history.runs.items()} == dict.fromkeys(MONTHS, "success")
    assert [run["run_type"] for run in history.runs.values()] == ["backfill", "backfill", "scheduled"]
    assert history.runs[LATEST]["dag_run_id"].startswith(f"scheduled__{LATEST}T00:00:00")


def test_next_run_is_nine_in_tokyo_on_the_right_day(world: World, history: History) -> None:
    due_now = dt.datetime.fromisoformat(history.next_run_while_paused)
    assert due_now == CALENDAR.rebalance_instant(LATEST)
    dag = world.client.dag(DAG_ID)
    assert dag is not None
    upcoming = dt.datetime.fromisoformat(dag["next_dagrun_run_after"])
    assert upcoming == CALENDAR.rebalance_instant(CALENDAR.next_rebalance_session(LATEST))
    assert upcoming.astimezone(dt.timezone(dt.timedelta(hours=9))).strftime("%H:%M") == "09:00"


def test_every_month_starts_from_the_book_of_the_previous_month(world: World, history: History) -> None:
    assert published_dates(world.store) == list(MONTHS)
    parents = []
    for month in MONTHS:
        published = latest_version(world.store, month)
        assert published is not None
        run = published.artifact.read_json("run.json")
        assert run["as_of"] == str(AS_OF[month])
        parents.append(run["parent"])
    assert parents[0] is None
    for parent, month in zip(parents[1:], MONTHS, strict=False):
        before = latest_version(world.store, month)
        assert before is not None
        assert parent == {"portfolio": f"{month}/v1", "content_hash": before.content_hash}


def test_published_folder_reads_back(world: World, history: History) -> None:
    published = latest_version(world.store, LATEST)
    assert published is not None
    artifact = published.artifact
    assert {path.name for path in artifact.folder.iterdir()} == {*artifact.manifest.files, "manifest.json"}
    assert {
        "scores.parquet",
        "portfolio.csv",
        "orders.csv",
        "history.json",
        "run.json",
        "report.html",
        "execution.json",
    } <= set(artifact.manifest.files)
    scores = pq.read_table(str(artifact.folder / "scores.parquet")).to_pandas()
    assert scores["Score"].dtype == np.float32
    assert scores["Rank"].tolist() == list(range(1, len(scores) + 1))
    assert scores["Score"].is_monotonic_decreasing
    book = pd.read_csv(str(artifact.folder / "portfolio.csv"), dtype={"code": str})
    assert book["weight"].sum() == pytest.approx(1.0, abs=1e-6)
    assert not book["code"].duplicated().any()
    assert set(book["code"]) <= set(
        pq.read_table(world.environment["APEX_DATASET"], columns=["Code"])["Code"].to_pylist()
    )
    assert artifact.read_json("execution.json")["run_id"] == history.runs[LATEST]["dag_run_id"]


def test_airflow_publishes_what_the_steps_compute_without_it(
    world: World, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**world.environment, "APEX_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for month in MONTHS:
        request = resolve_request(
            {"as_of": str(AS_OF[month]), "cold_start": month == MONTHS[0]},
            moment=CALENDAR.rebalance_instant(month),
            settings=load_settings(),
            calendar=CALENDAR,
        )
        _, alone = run_month(MonthlyRun(request, Store(tmp_path), CALENDAR, "without Airflow"))
        by_airflow = latest_version(world.store, month)
        assert alone is not None
        assert by_airflow is not None
        assert alone.content_hash == by_airflow.content_hash
        published = latest_version(Store(tmp_path), month)
        assert published is not None
        for name in published.artifact.manifest.files.keys() - {"execution.json"}:
            assert published.artifact.read_bytes(name) == by_airflow.artifact.read_bytes(name), (month, name)


def test_the_performance_is_skipped_before_the_first_month(world: World, history: History) -> None:
    assert history.performance_before == dict.fromkeys(("mark_ledger", "judge_performance"), "skipped")
    first = world.client.runs(PERFORMANCE)[0]
    assert first["run_type"] == "scheduled"
    said = world.client.task_log(PERFORMANCE, first["dag_run_id"], "mark_ledger")
    assert "there is no performance yet" in said


def test_every_published_month_is_looked_at_by_the_asset(world: World, history: History) -> None:
    marked = _ledger_of_all_months(world)
    assert marked["last_marked"] == str(AS_OF[LATEST])
    assert list(marked["hashes"]["portfolios"]) == [f"{month}/v1" for month in MONTHS]
    looks = [run for run in world.client.runs(PERFORMANCE) if run["run_type"] == "asset_triggered"]
    assert looks
    assert {world.client.wait_run(PERFORMANCE, run["dag_run_id"], RUN_SECONDS) for run in looks} == {
        "success"
    }
    assert world.store.names("performance")
    said = world.client.task_log(PERFORMANCE, looks[-1]["dag_run_id"], "judge_performance")
    assert "checkpoint integrity: OK" in said
    dag = world.client.dag(PERFORMANCE)
    assert dag is not None
    upcoming = dt.datetime.fromisoformat(dag["next_dagrun_run_after"])
    assert upcoming.astimezone(dt.timezone(dt.timedelta(hours=9))).strftime("%H:%M") == "18:00"


def _ledger_of_all_months(world: World) -> dict[str, Any]:
    """The ledger that knows all three months, once the look that the last of them triggered has marked it."""
    for _ in range(120):
        for name in world.store.names("ledger"):
            found = world.store.find("ledger", name)
            if found is not None and found.details["months"] == len(MONTHS):
                return dict(found.read_json("ledger.json"))
        time.sleep(0.5)
    raise AssertionError(f"no look at all months: {world.client.runs(PERFORMANCE)}")


def test_web_server_tells_the_published_values(world: World, history: History) -> None:
    published = latest_version(world.store, LATEST)
    assert published is not None
    kept = published.artifact.read_json("run.json")["metrics"]["apex_selected_count"]
    answer = httpx.get(f"{world.airflow.url}/apex/metrics")
    assert answer.status_code == httpx.codes.OK
    assert f"apex_selected_count {kept}" in answer.text.splitlines()


def test_run_without_logical_date_repeats_the_month_and_changes_nothing(
    world: World, history: History
) -> None:
    before = world.published_bytes()
    run_id, state = world.finish({"as_of": str(AS_OF[LATEST])})
    assert state == "success"
    assert world.client.run(DAG_ID, run_id)["logical_date"] is None
    assert world.states(run_id) == dict.fromkeys(TASKS, "success")
    assert "was published already" in world.client.task_log(DAG_ID, run_id, "publish")
    assert world.published_bytes() == before


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("as_of", "2025-13-01"),
        ("as_of", 20251031),
        ("top_k", 0),
        ("horizon", 7),
        ("policy", "best"),
        ("dry_run", "perhaps"),
        ("approval", "perhaps"),
    ],
)
def test_bad_parameter_is_answered_with_400(world: World, parameter: str, value: object) -> None:
    runs = len(world.client.runs(DAG_ID))
    with pytest.raises(httpx.HTTPStatusError) as refused:
        world.client.trigger(DAG_ID, {parameter: value})
    assert refused.value.response.status_code == httpx.codes.BAD_REQUEST
    assert parameter in refused.value.response.text
    assert len(world.client.runs(DAG_ID)) == runs


def test_changed_bundle_is_refused_at_once_and_nothing_is_published(
    world: World, history: History, tmp_path: Path
) -> None:
    forged = tmp_path / "bundle"
    shutil.copytree(world.environment["APEX_BUNDLE"], forged)
    checkpoint = next(forged.rglob("*.pt"))
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    before = world.published_bytes()

    run_id, state = world.finish({"as_of": str(AS_OF[LATEST]), "bundle": str(forged)})

    assert state == "failed"
    task = world.client.tasks(DAG_ID, run_id)["validate_bundle"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert {world.states(run_id)[name] for name in TASKS[2:] if name != "previous_month"} == {
        "upstream_failed"
    }
    log = world.client.task_log(DAG_ID, run_id, "validate_bundle")
    assert checkpoint.name in log
    assert all(word in log for word in ("expected=", "received=", "What to do:"))
    assert world.published_bytes() == before


def test_failed_month_stops_the_next_one_with_a_message(world: World, history: History) -> None:
    second = _previous_month(MONTHS[0])
    first = _previous_month(second)
    before = world.published_bytes()

    _backfill(world.client, first, second, {})  # no cold start, and no book yet

    runs = {day: _wait_for_run_of(world.client, day) for day in (first, second)}
    assert [world.client.wait_run(DAG_ID, run, RUN_SECONDS) for run in runs.values()] == ["failed", "failed"]
    assert world.states(runs[first]) == {
        **dict.fromkeys(TASKS, "success"),
        "apply_costs": "failed",
        "approval": "upstream_failed",
        "publish": "upstream_failed",
    }
    assert "cold_start" in world.client.task_log(DAG_ID, runs[first], "apply_costs")
    assert world.states(runs[second]) == {
        **dict.fromkeys(TASKS, "success"),
        "previous_month": "failed",
        "apply_costs": "upstream_failed",
        "approval": "upstream_failed",
        "publish": "upstream_failed",
    }
    said = world.client.task_log(DAG_ID, runs[second], "previous_month")
    assert "the run of the month before failed" in said
    assert str(first) in said
    assert world.published_bytes() == before


def test_dry_run_computes_and_publishes_nothing(world: World, history: History) -> None:
    before, plans = world.published_bytes(), world.store.names("plans")
    run_id, state = world.finish({"as_of": str(AS_OF[LATEST]), "dry_run": True, "top_k": 20})
    assert state == "success"
    assert world.states(run_id) == {**dict.fromkeys(TASKS, "success"), "publish": "skipped"}
    assert len(world.store.names("plans")) == len(plans) + 1
    assert world.published_bytes() == before


def test_rehearsal_tries_the_deployment_and_publishes_nothing(world: World) -> None:
    before = world.published_bytes()
    world.client.set_paused(REHEARSAL, False)
    run_id = world.client.trigger(REHEARSAL, {"sessions": 2, "months": 2})
    assert world.client.wait_run(REHEARSAL, run_id, RUN_SECONDS) == "success"
    assert "RESOLVED SETTINGS" in world.client.task_log(REHEARSAL, run_id, "handshake")
    assert "Smoke test passed: 2 sessions" in world.client.task_log(REHEARSAL, run_id, "smoke_test")
    assert "2 rebalances of 2 expected" in world.client.task_log(REHEARSAL, run_id, "monthly_rehearsal")
    said = world.client.task_log(REHEARSAL, run_id, "checklist")
    assert "connection apex_slack undefined, connection apex_smtp undefined" in said
    (key,) = world.store.names("rehearsals")
    kept = world.store.get("rehearsals", key).read_json("rehearsal.json")
    due = dt.datetime.fromisoformat(world.client.run(REHEARSAL, run_id)["run_after"])
    assert (kept["verdict"], kept["today"]) == ("passed", str(tokyo_date(due)))
    assert world.published_bytes() == before

    run_id = world.client.trigger(REHEARSAL, {"dataset": "nowhere.parquet"})
    assert world.client.wait_run(REHEARSAL, run_id, RUN_SECONDS) == "failed"
    tasks = world.client.tasks(REHEARSAL, run_id)
    assert (tasks["handshake"]["state"], tasks["handshake"]["try_number"]) == ("failed", 1)
    assert "dataset is missing" in world.client.task_log(REHEARSAL, run_id, "handshake")
    assert world.store.names("rehearsals") == [key]


def test_dataset_of_production_size_goes_through(world: World, history: History, tmp_path: Path) -> None:
    data = write_demo_data(tmp_path / "dataset.parquet", stocks=3_863, sessions=190, end=AS_OF[LATEST])
    plans = set(world.store.names("plans"))
    started = time.monotonic()
    run_id, state = world.finish({"as_of": str(AS_OF[LATEST]), "dataset": str(data.dataset), "dry_run": True})
    print(f"{data.rows:,} rows of {data.stocks:,} stocks went through in {time.monotonic() - started:.0f} s")
    assert (state, world.states(run_id)["apply_costs"]) == ("success", "success")
    (plan,) = set(world.store.names("plans")) - plans
    metrics = world.store.get("plans", plan).read_json("plan.json")["metrics"]
    assert metrics["listed_stocks"] > 3_700
    assert metrics["eligible_stocks"] > 3_300  # the rest was listed or suspended within the window
    assert metrics["apex_selected_count"] == 53


def test_different_result_needs_a_reason_and_becomes_the_next_version(world: World, history: History) -> None:
    before = world.published_bytes()
    different = {"as_of": str(AS_OF[LATEST]), "top_k": 30}
    run_id, state = world.finish(different)
    assert (state, world.states(run_id)["publish"]) == ("failed", "failed")
    assert "republish_reason" in world.client.task_log(DAG_ID, run_id, "publish")
    assert world.published_bytes() == before

    _, state = world.finish({**different, "republish_reason": "smaller book"})
    assert state == "success"
    published = latest_version(world.store, LATEST)
    assert published is not None
    assert published.name == f"{LATEST}/v2"
    after = world.published_bytes()
    trail = {name for name in before if name.endswith("trail.jsonl")}
    assert {name: after[name] for name in before if name not in trail} == {
        name: content for name, content in before.items() if name not in trail
    }
    assert audit.records(world.store)[-1].details["republish_reason"] == "smaller book"


def test_audit_trail_vouches_for_all_of_it(world: World, history: History) -> None:
    assert audit.verify(world.store).problems == ()


def test_secrets_are_private_and_the_folder_has_one_owner(world: World) -> None:
    for name in ("secrets.json", "passwords.json", "processes.json"):
        assert stat.S_IMODE((world.airflow.home / name).stat().st_mode) == 0o600
    with pytest.raises(AirflowFailedError, match="another run uses"):
        EmbeddedAirflow(world.airflow.home, ROOT / "dags", ROOT / "plugins").start()
    world.airflow.check_alive()


def test_killed_component_is_noticed_and_can_be_started_again(world: World) -> None:
    os.kill(world.airflow.pid("triggerer"), signal.SIGKILL)
    os.waitid(os.P_PID, world.airflow.pid("triggerer"), os.WEXITED | os.WNOWAIT)
    with pytest.raises(AirflowFailedError, match="triggerer ended with -9"):
        world.airflow.check_alive()
    assert world.airflow.supervise() == {"triggerer": -signal.SIGKILL}
    world.airflow.wait_healthy(DAG_ID)
