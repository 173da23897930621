"""Runs by hand after the months: repeated, refused, failed, dry, rehearsed, republished; then a killed component."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import stat
import time
from pathlib import Path

import httpx
import pytest
from local_airflow.processes import AirflowFailedError, EmbeddedAirflow

from apex_tasks.demo.market import write_demo_data
from apex_tasks.market.calendar import tokyo_date
from apex_tasks.published import audit
from apex_tasks.published.portfolio import latest_version
from tests.e2e.months.world import (
    AS_OF,
    CALENDAR,
    LATEST,
    MONTHS,
    REHEARSAL,
    RUN_SECONDS,
    TASKS,
    History,
    World,
    backfill,
    previous_month,
    wait_for_run_of,
)
from tests.support.paths import ROOT
from tests.support.started_airflow import DAG_ID

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


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


def test_months_behind_the_newest_are_refused_at_once(world: World, history: History) -> None:
    second = previous_month(MONTHS[0])
    first = previous_month(second)
    before = world.published_bytes()

    backfill(world.client, first, second, {"cold_start": True})

    runs = {day: wait_for_run_of(world.client, day) for day in (first, second)}
    assert [world.client.wait_run(DAG_ID, run, RUN_SECONDS) for run in runs.values()] == ["failed", "failed"]
    for day, run in runs.items():
        states = world.states(run)
        assert (states["dataset_fresh"], states["validate_bundle"]) == ("failed", "failed")
        assert {states[task] for task in ("build_panel", "infer", "apply_costs", "publish")} == {
            "upstream_failed"
        }
        said = world.client.task_log(DAG_ID, run, "dataset_fresh")
        assert f"{day} is older than the newest published month" in said
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
    # Before the first month, so that it starts from no book of another market.
    as_of = CALENDAR.as_of(previous_month(MONTHS[0]))
    data = write_demo_data(tmp_path / "dataset.parquet", stocks=3_863, sessions=190, end=as_of)
    plans = set(world.store.names("plans"))
    started = time.monotonic()
    run_id, state = world.finish(
        {"as_of": str(as_of), "dataset": str(data.dataset), "dry_run": True, "cold_start": True}
    )
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
