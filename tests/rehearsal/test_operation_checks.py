"""Items on settings, calendar, packages and messages: each can be done, open or failed, and says why."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from apex_tasks.market.calendar import LAST_DAY, TseCalendar
from apex_tasks.rehearsal import operation_checks
from apex_tasks.rehearsal.outcome import ItemState
from tests.support.deployments import DONE, FAILED, OPEN, Deploy, check_item
from tests.support.small_market import (
    OCTOBER,
)


def test_the_settings_in_force_are_named(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APEX_RANKING__TOP_K", "35")
    monkeypatch.setenv("APEX_METRICS_TOKEN", "secret")
    state, evidence = check_item("Settings named", deploy())
    assert state is DONE
    assert "configs/apex.yaml (packaged, sha256 " in evidence
    assert evidence.endswith("overridden by APEX_RANKING__TOP_K")
    own = tmp_path / "own.yaml"
    own.write_text("home: elsewhere\n")
    monkeypatch.setenv("APEX_SETTINGS", str(own))
    monkeypatch.delenv("APEX_RANKING__TOP_K")
    _, evidence = check_item("Settings named", deploy())
    assert evidence.startswith(f"{own} (by APEX_SETTINGS, sha256 ")
    assert evidence.endswith("overridden by no variable")


def test_the_next_run_is_told_in_both_time_zones(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    state, evidence = check_item("Next run known", deploy(today=OCTOBER))
    assert (state, evidence) == (DONE, "2025-10-01 09:00 JST = 2025-10-01 00:00 UTC, as-of 2025-09-30")
    _, evidence = check_item("Next run known", deploy(today=dt.date(2025, 10, 2)))
    assert evidence.endswith("not published yet, and due as soon as the DAG is unpaused")
    wrong = dt.timezone(dt.timedelta(hours=8))
    monkeypatch.setattr(
        TseCalendar, "rebalance_instant", lambda _, day: dt.datetime.combine(day, dt.time(9), wrong)
    )
    state, evidence = check_item("Next run known", deploy(today=OCTOBER))
    assert (state, "+0800 from UTC" in evidence) == (FAILED, True)


def test_a_calendar_that_ends_within_a_year_fails(deploy: Deploy) -> None:
    deployment = deploy()
    state, evidence = check_item("Calendar reaches far enough", deployment)
    assert (state, "up to 2099-12-31" in evidence) == (DONE, True)
    late = deployment.request.model_copy(update={"today": LAST_DAY - dt.timedelta(days=365)})
    assert check_item("Calendar reaches far enough", replace(deployment, request=late))[0] is FAILED


def test_packages_are_compared_with_the_constraints(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    title, deployment = "Packages as tested", deploy()
    assert check_item(title, deployment)[0] is DONE
    monkeypatch.setattr(operation_checks, "configs_folder", lambda: tmp_path / "configs")
    assert check_item(title, deployment) == (
        OPEN,
        f"{tmp_path / 'constraints.txt'} is not there to compare with",
    )
    (tmp_path / "constraints.txt").write_text("# pins\nnumpy==0.1 ; python_version > '3'\nnot-installed==1\n")
    state, evidence = check_item(title, deployment)
    assert state is OPEN
    assert evidence.startswith("1 packages differ from ")
    assert evidence.endswith(", not 0.1")


def test_thresholds_must_be_there_and_fit_the_bundle(deploy: Deploy) -> None:
    title, deployment = "Alert thresholds set", deploy()
    settings = deployment.request.settings
    state, evidence = check_item(title, deployment)
    assert (state, "apex_selected_count < 53 CRITICAL" in evidence) == (DONE, True)
    none = deploy(settings=settings.model_copy(update={"thresholds": ()}))
    assert check_item(title, none)[1].startswith(
        "none on apex_selected_count, apex_effective_dim, apex_inference"
    )
    assert check_item(title, none)[0] is OPEN
    doubled = tuple(
        threshold.model_copy(update={"bound": 356.0}) if threshold.bound == 178 else threshold
        for threshold in settings.thresholds
    )
    state, evidence = check_item(title, deploy(settings=settings.model_copy(update={"thresholds": doubled})))
    assert (state, "apex_effective_dim must be 356, the bundle has 178" in evidence) == (FAILED, True)


@pytest.mark.parametrize(
    ("email_to", "connections", "state", "told"),
    [
        ((), None, OPEN, "seen by the DAG apex_rehearsal only"),
        (("a@example.com", "b@example.com"), None, OPEN, "email_to has 2 recipients"),
        ((), {"apex_slack": False, "apex_smtp": True}, OPEN, "nobody would be told"),
        (("a@example.com",), {"apex_slack": False, "apex_smtp": False}, OPEN, "nobody would be told"),
        (("a@example.com",), {"apex_slack": False, "apex_smtp": True}, DONE, "connection apex_smtp defined"),
        ((), {"apex_slack": True, "apex_smtp": False}, DONE, "connection apex_slack defined"),
    ],
)
def test_somebody_is_told_when_one_channel_is_whole(
    deploy: Deploy,
    email_to: tuple[str, ...],
    connections: dict[str, bool] | None,
    state: ItemState,
    told: str,
) -> None:
    deployment = deploy(sections={"notifications": {"email_to": email_to}}, connections=connections)
    found = check_item("Somebody is told", deployment)
    assert found[0] is state
    assert told in found[1]


@pytest.mark.parametrize(
    ("host", "state", "told"),
    [
        (None, OPEN, "statsd.host is unset"),
        ("no-such-host.invalid", OPEN, "no-such-host.invalid does not resolve from here"),
        ("127.0.0.1", DONE, "by UDP to 127.0.0.1:8125"),
    ],
)
def test_the_statsd_host_must_resolve(deploy: Deploy, host: str | None, state: ItemState, told: str) -> None:
    found = check_item("Metrics are sent", deploy(sections={"statsd": {"host": host}}))
    assert found[0] is state
    assert told in found[1]
