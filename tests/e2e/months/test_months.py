"""Months that the schedule and a backfill run on the real Airflow, and what they publish."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from apex_tasks.monthly.request import resolve_request
from apex_tasks.monthly.run import MonthlyRun, run_month
from apex_tasks.published.portfolio import latest_version, published_dates
from apex_tasks.settings import load_settings
from apex_tasks.store import Store
from tests.e2e.months.world import (
    AS_OF,
    CALENDAR,
    LATEST,
    MONTHS,
    PERFORMANCE,
    RUN_SECONDS,
    History,
    World,
)
from tests.support.started_airflow import DAG_ID
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


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
            now=CALENDAR.rebalance_instant(month),
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

    def marked() -> dict[str, Any] | None:
        for name in world.store.names("ledger"):
            found = world.store.find("ledger", name)
            if found is not None and found.details["months"] == len(MONTHS):
                return dict(found.read_json("ledger.json"))
        return None

    return dict(wait_for(marked, 60))


def test_web_server_tells_the_published_values(world: World, history: History) -> None:
    published = latest_version(world.store, LATEST)
    assert published is not None
    kept = published.artifact.read_json("run.json")["metrics"]["apex_selected_count"]
    answer = httpx.get(f"{world.airflow.url}/apex/metrics")
    assert answer.status_code == httpx.codes.OK
    assert f"apex_selected_count {float(kept)}" in answer.text.splitlines()
