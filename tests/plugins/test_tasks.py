"""What all tasks share: a refusal fails at once and says why, a result becomes JSON, a run comes from its context."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from apex_airflow import tasks
from apex_airflow.tasks import (
    REFUSAL,
    attempt_of,
    fail_on_refusal,
    monthly_run_from,
    refusal_from,
    run_request_from,
    step,
    triggered_by,
)

from apex_tasks.monthly.draft import DraftReference
from apex_tasks.refusal import Refusal, ThresholdBroken
from tests.support.callback_contexts import failing
from tests.support.small_market import AS_OF, CALENDAR, JULY, SmallMarket

REFUSED = Refusal("it is wrong", expected="a", received="b", where="c", remedy="Repair it.")
NAMES = (
    "as_of",
    "off_cycle",
    "bundle",
    "dataset",
    "top_k",
    "horizon",
    "normalization",
    "normalization_reason",
    "features_mode",
    "policy",
    "dry_run",
    "approval",
    "republish_reason",
    "cold_start",
)


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The XComs of the running task."""
    xcoms: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=xcoms.__setitem__)
    monkeypatch.setattr(tasks, "get_current_context", lambda: {"ti": ti})
    return xcoms


def context(due: dt.datetime, logical_date: dt.datetime | None = None, **params: Any) -> dict[str, Any]:
    found = {
        "params": {**dict.fromkeys(NAMES), "dry_run": False, "cold_start": False, **params},
        "dag_run": SimpleNamespace(run_after=due),
        "run_id": "manual__1",
    }
    return found if logical_date is None else {**found, "logical_date": logical_date}


def test_a_refusal_fails_without_a_retry_and_is_stored_for_the_tab(pushed: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException) as failed, fail_on_refusal():
        raise REFUSED
    assert str(failed.value) == str(REFUSED)
    assert failed.value.__cause__ is None, "the log shows one message, not two"
    assert pushed == {REFUSAL: vars(REFUSED)}


def test_a_refusal_that_cannot_be_stored_fails_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("no task is running")

    monkeypatch.setattr(tasks, "get_current_context", broken)
    with pytest.raises(AirflowFailException, match="it is wrong"), fail_on_refusal():
        raise REFUSED
    assert "The run's tab will not say why: RuntimeError: no task is running" in caplog.text


@pytest.mark.parametrize("error", [ValueError("no"), AirflowSkipException("dry"), KeyboardInterrupt()])
def test_every_other_error_passes_through(pushed: dict[str, Any], error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, fail_on_refusal():
        raise error
    assert raised.value is error
    assert pushed == {}


def test_only_a_refusal_is_found_behind_a_failure() -> None:
    broken = ThresholdBroken("stopped", expected="e", received="r", where="w", remedy="Look.")
    for refusal in (REFUSED, broken):
        assert refusal_from(failing(refusal)) is refusal
    assert refusal_from(AirflowFailException("by hand")) is None
    assert refusal_from(ValueError()) is None
    assert refusal_from(None) is None


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (DraftReference(key="k", content_hash="h"), {"key": "k", "content_hash": "h"}),
        ("key", "key"),
        (None, None),
    ],
)
def test_a_step_returns_json(result: object, expected: object) -> None:
    def body(*arguments: object, **options: object) -> object:
        """What it does."""
        assert (arguments, options) == ((1,), {"plan": 2})
        return result

    wrapped = step(body)
    returned = wrapped(1, plan=2)
    assert returned == expected
    assert json.loads(json.dumps(returned)) == returned
    assert (wrapped.__name__, wrapped.__doc__) == ("body", "What it does.")


def test_a_step_that_refuses_fails_at_once(pushed: dict[str, Any]) -> None:
    @step
    def refuses() -> object:
        raise REFUSED

    with pytest.raises(AirflowFailException, match="it is wrong"):
        refuses()
    assert pushed[REFUSAL]["remedy"] == "Repair it."


@pytest.mark.parametrize(("number", "attempt"), [(None, 0), (0, 0), (3, 3)])
def test_the_attempt_counts_the_clears(number: int | None, attempt: int) -> None:
    assert attempt_of({"dag_run": SimpleNamespace(clear_number=number)}) == attempt
    assert attempt_of({}) == 0, "Airflow leaves the run out where it knows no task to blame"


def test_the_month_is_that_of_the_slot_or_of_the_moment(
    market: SmallMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APEX_BUNDLE", str(market.bundle))
    monkeypatch.setenv("APEX_DATASET", str(market.dataset))
    slot = CALENDAR.rebalance_instant(JULY)
    late = slot + dt.timedelta(days=60)
    for found in (context(slot), context(late, logical_date=slot), context(late, as_of=str(AS_OF[JULY]))):
        request = run_request_from(found)
        assert (request.rebalance_date, request.as_of) == (JULY, AS_OF[JULY])
    assert run_request_from(context(slot, top_k=12)).settings.ranking.top_k == 12


def test_who_triggered_a_run_is_its_user_where_airflow_knows_one() -> None:
    run = {"run_id": "manual__1"}
    assert (
        triggered_by({**run, "dag_run": SimpleNamespace(triggering_user_name="ada")}) == "ada, run manual__1"
    )
    for unknown in (None, ""):
        found = {**run, "dag_run": SimpleNamespace(triggering_user_name=unknown)}
        assert triggered_by(found) == "run manual__1"
    assert triggered_by(run) == "run manual__1", "Airflow leaves the run out where it knows no task to blame"


def test_the_run_has_the_store_of_the_settings_and_the_name_of_airflow(
    market: SmallMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APEX_HOME", str(tmp_path))
    monkeypatch.setenv("APEX_BUNDLE", str(market.bundle))
    monkeypatch.setenv("APEX_DATASET", str(market.dataset))
    run = monthly_run_from(context(CALENDAR.rebalance_instant(JULY)))
    assert str(run.store.root) == str(tmp_path)
    assert run.run_id == "manual__1"
