"""What every DAG of this project must be, and what the monthly one is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise

# Importing Airflow writes its configuration into its home.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="apex-airflow-"))

import pendulum
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

from tests.support.paths import ROOT

ALLOWED_TAGS = {"apex", "production", "rehearsal", "performance"}
MONTHLY, PERFORMANCE, REHEARSAL = "apex_monthly_rebalance", "apex_performance", "apex_rehearsal"
HEAVY = ("torch", "pandas", "numpy", "pyarrow", "matplotlib", "fastapi", "jinja2")


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(dag_folder=str(ROOT / "dags"), collect_dags=True)


def test_every_dag_file_imports(bag: DagBag) -> None:
    assert bag.import_errors == {}, "Correct the file; `python dags/<file>.py` shows the whole traceback."
    assert {MONTHLY, PERFORMANCE} <= bag.dags.keys()


def test_every_dag_can_be_operated(bag: DagBag) -> None:
    for dag_id, dag in bag.dags.items():
        assert set(dag.tags) <= ALLOWED_TAGS, f"{dag_id}: use only tags of {sorted(ALLOWED_TAGS)}"
        assert "apex" in dag.tags, f"{dag_id}: operators filter by the tag apex; add it"
        for phrase in ("Who is hit", "First", "Is a re-run safe"):
            assert phrase in (dag.doc_md or ""), (
                f"{dag_id}: the triage note lacks `{phrase}`; add it to doc_md"
            )
        assert dag.catchup is False, f"{dag_id}: a new deployment must not run a history of slots"
        assert dag.dagrun_timeout, f"{dag_id}: a run that hangs must end; set dagrun_timeout"
        for task in dag.tasks:
            assert task.owner == "apex", f"{dag_id}.{task.task_id}: set owner in default_args"
            assert task.doc_md, f"{dag_id}.{task.task_id}: say what it does in a docstring or doc_md"
            retries = (task.retries, task.retry_delay.total_seconds(), task.retry_exponential_backoff)
            assert retries == (2, 30.0, 2.0), f"{dag_id}.{task.task_id}: take DEFAULT_ARGS of dag_defaults"
        for name in dag.params:
            param = dag.params.get_param(name)
            assert param.description, f"{dag_id}: parameter {name} has no description"
            assert param.value in (None, False), f"{dag_id}: {name} must default to the setting"


def test_the_monthly_steps_are_in_order(bag: DagBag) -> None:
    dag = bag.dags[MONTHLY]
    downstream = {task.task_id: task.downstream_task_ids for task in dag.tasks}
    assert downstream == {
        "dataset_fresh": {"build_panel"},
        "validate_bundle": {"build_panel", "infer", "apply_costs", "approval"},
        "build_panel": {"infer", "apply_costs", "approval", "publish"},
        "infer": {"apply_costs", "approval", "publish"},
        "previous_month": {"apply_costs"},
        "apply_costs": {"approval", "publish"},
        "approval": {"publish"},
        "publish": set(),
    }
    assert dag.get_task("dataset_fresh").reschedule
    assert dag.get_task("previous_month").reschedule
    assert [asset.name for asset in dag.get_task("publish").outlets] == ["apex_portfolio"]


def test_every_failure_is_notified(bag: DagBag) -> None:
    for dag_id, dag in bag.dags.items():
        assert dag.on_failure_callback, f"{dag_id}: nobody hears of a killed task; set notify_run_failure"
        for task in dag.tasks:
            assert task.on_failure_callback, (
                f"{dag_id}.{task.task_id}: set notify_task_failure in default_args"
            )


def test_the_performance_is_judged_in_two_steps(bag: DagBag) -> None:
    dag = bag.dags[PERFORMANCE]
    downstream = {task.task_id: task.downstream_task_ids for task in dag.tasks}
    assert downstream == {"mark_ledger": {"judge_performance"}, "judge_performance": set()}
    assert dag.max_active_runs == 1
    assert set(dag.params) == {"dataset", "bundle", "until"}


def test_the_performance_follows_each_month_and_each_weekday(bag: DagBag) -> None:
    """As the scheduler reads it back from its database."""
    stored = DagSerialization.from_dict(
        json.loads(json.dumps(DagSerialization.to_dict(bag.dags[PERFORMANCE])))
    )
    timetable = stored.timetable
    assert [asset.name for _, asset in timetable.asset_condition.iter_assets()] == ["apex_portfolio"]
    restriction = TimeRestriction(earliest=stored.start_date, latest=None, catchup=False)
    last, tokyo = None, []
    for _ in range(6):
        info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        assert info is not None, "Next Run must never be empty"
        last = info.data_interval
        tokyo.append(info.run_after.in_timezone("Asia/Tokyo"))
    assert {moment.strftime("%H:%M") for moment in tokyo} == {"18:00"}
    assert all(moment.weekday() < 5 for moment in tokyo)
    assert all(1 <= (later.date() - day.date()).days <= 3 for day, later in pairwise(tokyo))
    assert tokyo[0] <= pendulum.now("Asia/Tokyo") < tokyo[1]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("as_of", "2025-10-31", "31.10.2025"),
        ("top_k", 35, 0),
        ("horizon", 20, 21),
        ("normalization", "csz", "minmax"),
        ("features_mode", "fill-zero", "guess"),
        ("policy", "baseline", "yolo"),
        ("dry_run", True, "yes"),
        ("approval", True, "yes"),
        ("cold_start", True, 1),
    ],
)
def test_the_trigger_form_accepts_and_refuses(bag: DagBag, name: str, good: object, bad: object) -> None:
    param = bag.dags[MONTHLY].params.get_param(name)
    assert param.resolve(good) == good
    with pytest.raises(ParamValidationError):
        param.resolve(bad)


def test_the_rehearsal_runs_by_hand_in_order_and_publishes_nothing(bag: DagBag) -> None:
    dag = bag.dags[REHEARSAL]
    assert not dag.timetable.can_be_scheduled
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "handshake": {"smoke_test"},
        "smoke_test": {"monthly_rehearsal", "checklist"},
        "monthly_rehearsal": {"checklist"},
        "checklist": set(),
    }
    assert [task.outlets for task in dag.tasks] == [[]] * 4


def test_failures_of_both_dags_are_notified_alike(bag: DagBag) -> None:
    monthly, rehearsal = bag.dags[MONTHLY], bag.dags[REHEARSAL]
    assert rehearsal.has_on_failure_callback
    assert monthly.has_on_failure_callback
    callbacks = [task.on_failure_callback for dag in (monthly, rehearsal) for task in dag.tasks]
    assert all(callback == callbacks[0] for callback in callbacks)
    assert callbacks[0]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("sessions", 5, 0), ("sessions", 60, 61), ("months", 3, 0), ("months", 120, "3"), ("dataset", "d", 1)],
)
def test_the_form_of_the_rehearsal_accepts_and_refuses(
    bag: DagBag, name: str, good: object, bad: object
) -> None:
    param = bag.dags[REHEARSAL].params.get_param(name)
    assert param.resolve(good) == good
    with pytest.raises(ParamValidationError):
        param.resolve(bad)


def test_parsing_imports_nothing_heavy() -> None:
    """Every component parses DAG files or loads plugins again and again."""
    code = f"""
import json, sys, time
from airflow.sdk import DAG, Asset, BaseSensorOperator, Param, get_current_context, task
from airflow.timetables.base import Timetable
from airflow.plugins_manager import AirflowPlugin
before = set(sys.modules)
sys.path[:0] = [{str(ROOT / "plugins")!r}, {str(ROOT / "dags")!r}]
started = time.process_time()
for file in {sorted(path.stem for folder in ("plugins", "dags") for path in (ROOT / folder).glob("*.py"))!r}:
    __import__(file)
spent = time.process_time() - started
print(json.dumps({{"seconds": spent, "heavy": [name for name in {HEAVY!r} if name in set(sys.modules) - before]}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"plugins and DAG files add {result['seconds']:.3f} s of CPU to a loaded airflow.sdk")
    assert result["heavy"] == []
