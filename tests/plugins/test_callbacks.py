"""The callbacks and the two channels, with Airflow's own notifiers and servers that listen, stall or are gone."""

from __future__ import annotations

import asyncio
import datetime as dt
import html
import importlib.util
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom
from apex_airflow import callbacks
from apex_airflow.channels import CHANNELS, EMAIL, SLACK, deliver
from apex_airflow.tasks import WAITING, fail_on_refusal, refusal_from

from apex_tasks.monitoring.alerts import INFERENCE_LATENCY
from apex_tasks.notifications.messages import Run, run_failed, task_failed
from apex_tasks.notifications.sent_log import SentLog, failure_of
from apex_tasks.performance.benchmarks import Metric
from apex_tasks.performance.deviation import BenchmarkComparison, DeviationVerdict
from apex_tasks.performance.report import PerformanceReport
from apex_tasks.refusal import Refusal
from apex_tasks.settings import DeadlineSettings
from apex_tasks.store import Store
from tests.support.message_servers import MessageServers, connections
from tests.support.paths import ROOT
from tests.support.small_market import AS_OF, JULY, SmallMarket, month

DAG_ID, RUN_ID = "apex_monthly_rebalance", "manual__1"
RUN = Run(DAG_ID, RUN_ID, "http://airflow/run", "docs/runbook.md")
NOTICE = run_failed(RUN, "timed_out")
FAILED = failure_of("infer")
BEGAN = dt.datetime(2025, 11, 4, tzinfo=dt.UTC)
REFUSAL = Refusal("it is wrong", expected="a", received="b", where="c", remedy="Mend it.")


@pytest.fixture
def ledger(tmp_path: Path) -> SentLog:
    return SentLog(str(tmp_path), DAG_ID, RUN_ID, 0)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MessageServers]:
    with MessageServers() as listening:
        use(monkeypatch, {**listening.environment, "APEX_HOME": str(tmp_path)})
        yield listening


@pytest.fixture
def dag_states(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Airflow answers about the run: change it at will."""
    answers: dict[str, Any] = {"run": "running", "tasks": {}, "waiting": None}
    monkeypatch.setattr(RuntimeTaskInstance, "get_dagrun_state", lambda *_: answers["run"])
    monkeypatch.setattr(
        RuntimeTaskInstance, "get_task_states", lambda *_, run_ids: {run_ids[0]: answers["tasks"]}
    )

    def get_one(*, key: str, task_id: str, dag_id: str, run_id: str) -> Any:
        assert (key, task_id, dag_id, run_id) == (WAITING, "dataset_fresh", DAG_ID, RUN_ID)
        return answers["waiting"].pop() if isinstance(answers["waiting"], list) else answers["waiting"]

    monkeypatch.setattr(XCom, "get_one", get_one)
    return answers


def use(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def task_context(error: BaseException | None, attempt: int = 0, task_id: str = "infer") -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id=DAG_ID, run_id=RUN_ID, task_id=task_id, try_number=1, log_url="http://airflow/log"
    )
    return {"ti": ti, "exception": error, **run_context("task_failure", attempt)}


def run_context(reason: str, attempt: int = 0) -> dict[str, Any]:
    return {
        "dag": SimpleNamespace(dag_id=DAG_ID),
        "run_id": RUN_ID,
        "reason": reason,
        "dag_run": SimpleNamespace(clear_number=attempt),
    }


def deadline_context(number: int = 1) -> dict[str, Any]:
    """As the scheduler hands it to the triggerer."""
    return {
        "dag_run": {
            "dag_id": DAG_ID,
            "dag_run_id": RUN_ID,
            "queued_at": BEGAN.isoformat(),
            "start_date": BEGAN.isoformat(),
        },
        "deadline": {"id": f"id{number}", "deadline_time": BEGAN + dt.timedelta(hours=1)},
    }


def pass_deadline(number: int = 1) -> None:
    asyncio.run(callbacks.notify_deadline("WARNING", 60.0, context=deadline_context(number)))


def failing(error: Refusal) -> AirflowFailException:
    """A refusal as a task fails with it."""
    with pytest.raises(AirflowFailException) as failed, fail_on_refusal():
        raise error
    return failed.value


def headlines(servers: MessageServers) -> list[str]:
    """Subjects of what was told, having checked that both channels told the same."""
    mails = [mail.subject for mail in servers.mails]
    assert [html.unescape(post.text.splitlines()[0].strip("*")) for post in servers.posts] == mails
    return mails


def test_both_channels_tell_a_cause_once(servers: MessageServers, ledger: SentLog) -> None:
    deliver(NOTICE, ledger, FAILED)
    deliver(NOTICE, ledger, FAILED)
    assert headlines(servers) == [NOTICE.subject]
    [mail], [post] = servers.mails, servers.posts
    assert (mail.sender, mail.recipients) == ("apex@example.com", ("desk@example.com", "risk@example.com"))
    assert mail.html.strip() == NOTICE.html
    assert (post.path, post.text) == ("/services/T0/B0/secret", NOTICE.slack)


def test_braces_in_an_error_are_no_template(servers: MessageServers, ledger: SentLog) -> None:
    text = "{{ 6 * 7 }} {% raw %} {{ told }} {# gone #}"
    deliver(task_failed(RUN, "infer", ValueError(text), "http://airflow/log"), ledger, FAILED)
    assert text in servers.mails[0].subject
    assert text in servers.mails[0].html
    assert text in servers.posts[0].text


@pytest.mark.slow
def test_passwords_of_connections_are_masked(servers: MessageServers, ledger: SentLog) -> None:
    """In a fresh process: pytest switches Airflow's masking off in its own."""
    code = """
from airflow.sdk.log import mask_secret
from apex_tasks.notifications.sent_log import SentLog
from apex_tasks.notifications.messages import Run, task_failed
from apex_airflow.channels import deliver
import os
from tests.support.paths import ROOT
mask_secret("opensesame")
notice = task_failed(Run("d", "r", "u", "b"), "infer", ValueError("s3://opensesame@bucket"), "l")
deliver(notice, SentLog(str(os.environ["APEX_HOME"]), "d", "r", 0), "failure-infer")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60, capture_output=True)
    for text in (servers.mails[0].subject, servers.mails[0].html, servers.posts[0].text):
        assert "s3://***@bucket" in text
        assert "opensesame" not in text


@pytest.mark.parametrize("broken", CHANNELS)
def test_one_dead_server_keeps_nothing_from_the_other(
    monkeypatch: pytest.MonkeyPatch,
    servers: MessageServers,
    ledger: SentLog,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    dead = connections(closed_port(), closed_port())
    name = {SLACK: "AIRFLOW_CONN_APEX_SLACK", EMAIL: "AIRFLOW_CONN_APEX_SMTP"}[broken]
    monkeypatch.setenv(name, dead[name])
    deliver(NOTICE, ledger, FAILED)
    assert (len(servers.posts), len(servers.mails)) == ((0, 1) if broken == SLACK else (1, 0))
    assert f"No {broken} message was sent" in caplog.text
    # The next teller makes up for the dead server alone.
    use(monkeypatch, servers.environment)
    deliver(NOTICE, ledger, FAILED)
    assert headlines(servers) == [NOTICE.subject]


@pytest.mark.slow
def test_servers_that_never_answer_are_given_up(
    monkeypatch: pytest.MonkeyPatch, ledger: SentLog, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        use(monkeypatch, {**connections(port, port), "APEX_NOTIFICATIONS__TIMEOUT_SECONDS": "1"})
        began = time.monotonic()
        deliver(NOTICE, ledger, FAILED)
    assert time.monotonic() - began < 6.0
    assert "No slack message was sent" in caplog.text
    assert "No email message was sent" in caplog.text


def test_missing_connections_are_one_line_each(
    monkeypatch: pytest.MonkeyPatch, ledger: SentLog, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("APEX_NOTIFICATIONS__SLACK_CONNECTION", "nowhere_slack")
    monkeypatch.setenv("APEX_NOTIFICATIONS__SMTP_CONNECTION", "nowhere_smtp")
    with caplog.at_level(logging.INFO):
        deliver(NOTICE, ledger, FAILED)
    ours = [record for record in caplog.records if record.name == "apex_airflow.channels"]
    assert [record.levelname for record in ours] == ["WARNING", "WARNING"]
    assert "nowhere_slack" in ours[0].getMessage()
    assert "nowhere_smtp" in ours[1].getMessage()
    assert not any(record.exc_info for record in caplog.records)


def test_nobody_to_write_to_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    servers: MessageServers,
    ledger: SentLog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("APEX_NOTIFICATIONS__EMAIL_TO")
    deliver(NOTICE, ledger, FAILED)
    assert (len(servers.posts), len(servers.mails)) == (1, 0)
    assert "notifications.email_to names nobody" in caplog.text


def test_an_unreachable_store_does_not_silence_anybody(
    servers: MessageServers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    deliver(NOTICE, SentLog(str(tmp_path / "file"), DAG_ID, RUN_ID, 0), FAILED)
    assert headlines(servers) == [NOTICE.subject]
    assert "The store cannot remember what is told" in caplog.text


def test_a_refusal_behind_a_failure_is_told_in_full(servers: MessageServers) -> None:
    callbacks.notify_task_failure(task_context(failing(REFUSAL)))
    assert headlines(servers) == [f"[APEX CRITICAL] {DAG_ID} failed at infer: it is wrong"]
    for word in ("Expected", "Received", "Mend it.", "http://airflow/log", "a-task-refused-its-input"):
        assert word in servers.mails[0].html
        assert word in servers.posts[0].text


def test_only_a_refusal_is_one() -> None:
    assert refusal_from(failing(REFUSAL)) is REFUSAL
    assert refusal_from(ValueError()) is None
    assert refusal_from(None) is None


def test_worker_and_dag_processor_tell_the_same_failure_once(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    dag_states["tasks"] = {"infer": "failed", "publish": "upstream_failed"}
    callbacks.notify_task_failure(task_context(ValueError("no")))
    callbacks.notify_run_failure(run_context("task_failure"))
    assert headlines(servers) == [f"[APEX CRITICAL] {DAG_ID} failed at infer: ValueError: no"]


def test_the_run_tells_of_a_killed_task_beside_one_that_told_itself(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    dag_states["tasks"] = {"validate_bundle": "failed", "infer": "failed", "publish": "upstream_failed"}
    callbacks.notify_task_failure(task_context(ValueError("no"), task_id="validate_bundle"))
    callbacks.notify_run_failure(run_context("task_failure"))
    assert [line.split(": ")[0] for line in headlines(servers)] == [
        f"[APEX CRITICAL] {DAG_ID} failed at validate_bundle",
        f"[APEX CRITICAL] {DAG_ID} failed at infer",
    ]
    assert f"/dags/{DAG_ID}/runs/{RUN_ID}/tasks/infer" in servers.posts[1].text


def test_a_failure_after_clearing_is_told_again(servers: MessageServers, dag_states: dict[str, Any]) -> None:
    dag_states["tasks"] = {"infer": "failed"}
    for attempt in (0, 1):
        callbacks.notify_task_failure(task_context(ValueError("no"), attempt))
        callbacks.notify_run_failure(run_context("task_failure", attempt))
    assert len(headlines(servers)) == 2


def test_a_run_without_a_failed_task_is_told_even_when_airflow_knows_no_run(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    context = run_context("timed_out")
    del context["dag_run"]
    callbacks.notify_run_failure(context)
    assert headlines(servers) == [f"[APEX CRITICAL] {DAG_ID} failed without a failed task: timed_out"]


@pytest.mark.parametrize("warned", [False, True])
def test_a_published_month_is_told_with_its_alerts(
    monkeypatch: pytest.MonkeyPatch,
    servers: MessageServers,
    market: SmallMarket,
    tmp_path: Path,
    warned: bool,
) -> None:
    bounds = [{"metric": "positions", "bound": 1}, {"metric": INFERENCE_LATENCY, "bound": 0}]
    rest = {"comparison": ">", "severity": "WARNING", "remedy": "Look.", "runbook": "low-supply"}
    monkeypatch.setenv("APEX_THRESHOLDS", json.dumps([bound | rest for bound in bounds] if warned else []))
    monkeypatch.setenv("APEX_BUNDLE", str(market.bundle))
    monkeypatch.setenv("APEX_DATASET", str(market.dataset))
    run = month(market, tmp_path, JULY, cold_start=True)
    handshake = run.validate_bundle()
    panel = run.build_panel(handshake)
    run.infer(handshake, panel)
    scores = run.infer(handshake, panel)  # found in the store: only then has its latency a bound
    plan = run.apply_costs(handshake, panel, scores)
    left = {"infer": scores, "apply_costs": plan, "publish": run.publish(handshake, panel, scores, plan)}
    context = task_context(None, task_id="publish") | {
        "params": {"as_of": str(AS_OF[JULY]), "cold_start": True},
        "logical_date": BEGAN,
    }
    context["ti"].xcom_pull = lambda *, task_ids: left[task_ids].model_dump(mode="json")
    callbacks.notify_published(context)
    callbacks.notify_published(context)
    [subject] = headlines(servers)
    if warned:
        assert subject.startswith(
            f"[APEX WARNING] {JULY}/v1 published: WARNING: positions = 35, alert when > 1"
        )
        assert INFERENCE_LATENCY in servers.posts[0].text
        assert "runbook.md#low-supply" in servers.mails[0].html
    else:
        assert subject.startswith(f"[APEX] {JULY}/v1 published: 35 positions, turnover 50.00%, cost")


def test_a_retry_is_a_line_in_the_log(servers: MessageServers, caplog: pytest.LogCaptureFixture) -> None:
    callbacks.notify_retry(task_context(OSError("disk")))
    assert "Attempt 1 of infer failed and is repeated: disk" in caplog.text
    assert headlines(servers) == []


def test_a_late_run_is_told_once_for_each_deadline(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    dag_states["tasks"] = {"dataset_fresh": "success", "infer": "running", "publish": None}
    for number in (1, 1, 2):  # a triggerer that dies repeats what it was about to tell
        pass_deadline(number)
    assert headlines(servers) == [f"[APEX WARNING] {DAG_ID} is late"] * 2
    assert "infer running" in servers.posts[0].text


def test_a_late_run_that_waits_says_for_what(servers: MessageServers, dag_states: dict[str, Any]) -> None:
    dag_states["tasks"] = {"dataset_fresh": "up_for_reschedule"}
    dag_states["waiting"] = vars(REFUSAL)
    pass_deadline()
    assert headlines(servers) == [f"[APEX WARNING] {DAG_ID} is late: it is wrong"]


def test_a_late_run_that_awaits_a_person_says_so(servers: MessageServers, dag_states: dict[str, Any]) -> None:
    dag_states["tasks"] = {"apply_costs": "success", "approval": "awaiting_input"}
    pass_deadline(1)
    dag_states["tasks"]["approval"] = "queued"  # answered
    pass_deadline(2)
    assert headlines(servers) == [
        f"[APEX WARNING] {DAG_ID} is late: it awaits a person's approval",
        f"[APEX WARNING] {DAG_ID} is late",
    ]
    assert f"/runs/{RUN_ID}/tasks/approval/required_actions" in servers.posts[0].text


def test_a_sensor_that_is_just_looking_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    monkeypatch.setattr(callbacks, "LOOK_SECONDS", 0.01)
    dag_states["tasks"] = {"dataset_fresh": "running"}
    dag_states["waiting"] = [vars(REFUSAL), None, None]
    pass_deadline(1)
    dag_states["waiting"] = None
    pass_deadline(2)
    assert headlines(servers) == [
        f"[APEX WARNING] {DAG_ID} is late: it is wrong",
        f"[APEX WARNING] {DAG_ID} is late",
    ]


def test_what_was_awaited_before_is_no_news(servers: MessageServers, dag_states: dict[str, Any]) -> None:
    dag_states["tasks"] = {"dataset_fresh": "failed", "validate_bundle": "running"}
    dag_states["waiting"] = vars(REFUSAL)
    pass_deadline()
    assert headlines(servers) == [f"[APEX WARNING] {DAG_ID} is late"]


def test_a_run_that_has_published_since_is_not_late(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    dag_states["run"] = "success"
    pass_deadline()
    assert headlines(servers) == []


def test_a_failure_that_was_told_is_not_told_again_as_late(
    servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    callbacks.notify_task_failure(task_context(ValueError("no"), attempt=2))
    dag_states.update(run="failed", tasks={"infer": "failed"})
    pass_deadline()
    assert len(headlines(servers)) == 1


def test_a_failure_that_reached_only_one_channel_is_told_late_by_the_other(
    monkeypatch: pytest.MonkeyPatch, servers: MessageServers, dag_states: dict[str, Any]
) -> None:
    monkeypatch.setenv("APEX_NOTIFICATIONS__SMTP_CONNECTION", "nowhere")
    callbacks.notify_task_failure(task_context(ValueError("no")))
    monkeypatch.delenv("APEX_NOTIFICATIONS__SMTP_CONNECTION")
    dag_states.update(run="failed", tasks={"infer": "failed"})
    pass_deadline()
    assert len(servers.posts) == 1
    assert [mail.subject for mail in servers.mails] == [f"[APEX WARNING] {DAG_ID} is late because it failed"]


@pytest.fixture(scope="module")
def dag_file() -> Any:
    """The module of the DAG file."""
    path = ROOT / "dags" / f"{DAG_ID}.py"
    spec = importlib.util.spec_from_file_location("dag_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_monthly_dag_tells_by_these_callbacks(dag_file: Any) -> None:
    # By name: Airflow loads plugins anew in a process that fills a DagBag, and functions are then others.
    def names(*callbacks: Any) -> list[str]:
        return [f"{callback.__module__}.{callback.__name__}" for callback in callbacks]

    dag: DAG = dag_file.dag
    assert names(dag.on_failure_callback) == ["apex_airflow.callbacks.notify_run_failure"]
    assert dag.on_success_callback is None
    for task in dag.tasks:
        assert names(*task.on_failure_callback) == ["apex_airflow.callbacks.notify_task_failure"]
        assert names(*task.on_retry_callback) == ["apex_airflow.callbacks.notify_retry"]
        told = ["apex_airflow.callbacks.notify_published"] if task.task_id == "publish" else []
        assert names(*task.on_success_callback) == told


def test_the_monthly_dag_has_both_deadlines_and_can_be_built_without(dag_file: Any) -> None:
    assert [alert.interval for alert in dag_file.dag.deadline] == [
        dt.timedelta(hours=1),
        dt.timedelta(hours=3),
    ]
    assert not dag_file.monthly_rebalance([]).deadline


def test_deadlines_name_an_importable_coroutine_and_its_severity() -> None:
    alerts = callbacks.deadline_alerts(DeadlineSettings(warning_minutes=0.5, critical_minutes=2))
    assert [alert.interval for alert in alerts] == [dt.timedelta(seconds=30), dt.timedelta(minutes=2)]
    assert {alert.callback.path for alert in alerts} == {"apex_airflow.callbacks.notify_deadline"}
    assert [alert.callback.kwargs["severity"] for alert in alerts] == ["WARNING", "CRITICAL"]


# --- a deviation of the live performance --------------------------------------------------------------------


def judged_context(home: Path, name: str, *deviating: str) -> dict[str, Any]:
    """As the judging task leaves it."""
    reference = {"name": name, "content_hash": "0", "deviating": list(deviating), "cached": False}
    ti = SimpleNamespace(
        dag_id="apex_performance",
        run_id="scheduled__1",
        task_id="judge_performance",
        xcom_pull=lambda task_ids: reference,
    )
    return {"ti": ti, **run_context("success")}


def a_judgement(home: Path, portfolio: str, *deviating: str) -> str:
    """Store a judgement in which these metrics deviate; its name."""
    report = PerformanceReport(
        synthetic=False,
        portfolio=portfolio,
        first_marked=None,
        last_marked=None,
        sessions=0,
        last_session=BEGAN.date(),
        performance=None,
        intervals={},
        comparisons=tuple(
            BenchmarkComparison(
                metric=Metric(metric),
                measure=metric,
                live=2.0,
                benchmark=1.0,
                deviation=1.0,
                better=True,
                verdict=DeviationVerdict.DEVIATES,
            )
            for metric in deviating
        ),
        turnovers=(),
        mean_turnover=None,
        checks=(),
        benchmarks_of="",
        backtest_period="",
        ignored_benchmarks=(),
        ledger="",
        warnings=(),
    )
    name = "-".join(("judgement", portfolio[:10], *deviating))
    Store(home).write("performance", name, files={"performance.json": report.model_dump_json().encode()})
    return name


def tell_judged(home: Path, portfolio: str, *deviating: str) -> None:
    name = a_judgement(home, portfolio, *deviating)
    callbacks.notify_deviation(judged_context(home, name, *deviating))


def test_a_deviation_is_told_once_per_figure_and_month(servers: MessageServers, tmp_path: Path) -> None:
    tell_judged(tmp_path, "2025-10-01/v1")
    assert headlines(servers) == []
    tell_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio")
    tell_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio")
    assert len(headlines(servers)) == 1
    tell_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio", "win_rate")  # a new one, told with the old
    tell_judged(tmp_path, "2025-10-01/v1", "win_rate")
    tell_judged(tmp_path, "2025-10-01/v2", "sharpe_ratio")
    told = headlines(servers)
    assert len(told) == 2
    assert "sharpe_ratio" in told[1]
    assert "win_rate" in told[1]
    tell_judged(tmp_path, "2025-11-04/v1", "sharpe_ratio")  # a new month begins anew
    assert len(headlines(servers)) == 3


def test_a_deviation_that_could_not_be_sent_is_told_the_next_day(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with MessageServers() as listening:
        environment = {**listening.environment, "APEX_HOME": str(tmp_path)}
    use(monkeypatch, environment)  # nobody listens there any more
    tell_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio", "win_rate")
    with MessageServers() as listening:
        use(monkeypatch, listening.environment)
        tell_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio", "win_rate")
        tell_judged(tmp_path, "2025-10-01/v1", "sharpe_ratio", "win_rate")
        assert len(headlines(listening)) == 1
