"""Who is notified of what, and when: the callbacks of the DAGs.

| callback | runs in | sends |
|---|---|---|
| `notify_task_failure` | worker | why the task failed, at once |
| `notify_retry` | worker | nothing: one line in the log |
| `request_approval` | worker | that a person must approve the month, once for each time the task asks |
| `notify_published` | worker | the month's portfolio and the alerts that did not stop it |
| `notify_deviation` | worker | live figures that deviate from their benchmarks, each once a month |
| `notify_run_failure` | DAG processor | only what no task could send, such as a killed process |
| `notify_deadline` | triggerer | that the run is late, unless its failure was sent |

Each cause is sent once by each channel; `apex_tasks.notifications.sent_log` keeps count.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import quote

from airflow.sdk.configuration import conf
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert

from apex_airflow.channels import CHANNELS, deliver
from apex_airflow.queued_at_deadline import QueuedAtDeadline
from apex_airflow.tasks import (
    APPROVAL,
    DATASET_FRESH,
    WAITING,
    StepResult,
    attempt_of,
    refusal_from,
    run_request_from,
    triggered_by,
)
from apex_tasks.settings import DeadlineSettings, Severity, load_settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from apex_tasks.notifications.messages import Run
    from apex_tasks.notifications.notification import Notification
    from apex_tasks.notifications.sent_log import SentLog
    from apex_tasks.refusal import Refusal

log = logging.getLogger(__name__)

PUBLISHED = "published"
ASKED_PREFIX = "approval-asked-"
DEVIATION_PREFIX = "deviation-"
REPORT_TAB = "portfolio"
"""Route of the run page's tab that shows the report."""
PERFORMANCE, REHEARSAL = "apex_performance", "apex_rehearsal"
"""The DAGs that no order waits for."""
STATES_OF_WAITING = ("up_for_reschedule", "scheduled", "queued", "running")
AWAITING_INPUT = "awaiting_input"
"""State of a task that waits for a person."""
LOOKS, LOOK_SECONDS = 10, 0.5


class LateRun(TypedDict):
    """A run as the triggerer describes it; its times are texts."""

    dag_id: str
    dag_run_id: str
    queued_at: str
    start_date: str | None


class PassedDeadline(TypedDict):
    """A deadline as the triggerer describes it."""

    id: str
    deadline_time: dt.datetime


class DeadlineContext(TypedDict):
    """What the triggerer hands to the callback of a deadline."""

    dag_run: LateRun
    deadline: PassedDeadline


def deadline_alerts(deadlines: DeadlineSettings) -> list[DeadlineAlert]:
    """The deadlines of a run, counted from the moment it was first queued."""
    return [
        DeadlineAlert(
            reference=QueuedAtDeadline(),
            interval=timedelta(minutes=minutes),
            callback=AsyncCallback(notify_deadline, kwargs={"severity": str(severity), "minutes": minutes}),
            name=f"not published after {minutes:g} minutes ({severity})",
        )
        for severity, minutes in (
            (Severity.WARNING, deadlines.warning_minutes),
            (Severity.CRITICAL, deadlines.critical_minutes),
        )
    ]


def notify_task_failure(context: Context) -> None:
    """Send why a task failed; called once its last attempt has."""
    from apex_tasks.notifications.messages import task_failed
    from apex_tasks.notifications.sent_log import failure_of

    ti, error = context["ti"], context.get("exception")
    raised = error if isinstance(error, BaseException) else None  # Airflow's type allows a text, too
    cause = refusal_from(raised) or raised
    notification = task_failed(_run(ti.dag_id, ti.run_id), ti.task_id, cause, ti.log_url)
    deliver(notification, _sent_log(context), failure_of(ti.task_id))


def notify_retry(context: Context) -> None:
    """Leave a line in the log: the next attempt may succeed."""
    ti = context["ti"]
    error = context.get("exception")
    log.warning("Attempt %d of %s failed and is repeated: %s", ti.try_number, ti.task_id, error)


def approval_question(context: Context, plan: StepResult, until: dt.datetime) -> Notification:
    """Build the question whether a month is published, for Airflow's page and for the message that leads there.

    Parameters
    ----------
    context
        Of the task that asks.
    plan
        Reference of the plan, as its task returned it.
    until
        When the question is withdrawn.
    """
    from apex_tasks.monthly.apply_costs import PlanReference
    from apex_tasks.monthly.summary import alerts_of, summarize_month
    from apex_tasks.notifications.messages import approval_wanted
    from apex_tasks.store import Store

    ti, request = context["ti"], run_request_from(context)
    store, planned = Store(request.settings.home), PlanReference.model_validate(plan)
    run = _run(ti.dag_id, ti.run_id)
    return approval_wanted(
        run,
        summarize_month(request, planned, None, store, triggered_by(context)),
        alerts_of(planned, store),
        until=until,
        report_at=_report_at(run),
        answer_at=_answer_at(run),
        asked_before=ti.try_number > 1,
    )


def request_approval(context: Context, question: Notification) -> None:
    """Send the question; every attempt of the task asks again, because the page knows only its newest question."""
    deliver(question, _sent_log(context), f"{ASKED_PREFIX}{context['ti'].try_number}")


def notify_published(context: Context) -> None:
    """Send the published month; a callback of the publish task."""
    from apex_tasks.monitoring.alerts import evaluate_latency
    from apex_tasks.monthly.apply_costs import PlanReference
    from apex_tasks.monthly.infer import ScoresReference
    from apex_tasks.monthly.publish import PublishReference
    from apex_tasks.monthly.summary import alerts_of, summarize_month
    from apex_tasks.notifications.messages import published
    from apex_tasks.store import Store

    ti, request = context["ti"], run_request_from(context)
    store = Store(request.settings.home)
    plan = PlanReference.model_validate(ti.xcom_pull(task_ids="apply_costs"))
    scores = ScoresReference.model_validate(ti.xcom_pull(task_ids="infer"))
    publication = PublishReference.model_validate(ti.xcom_pull(task_ids=ti.task_id))
    alerts = [
        *alerts_of(plan, store),
        *evaluate_latency(request.settings.thresholds, scores.latency_ms, cached=scores.cached),
    ]
    summary = summarize_month(request, plan, publication, store, triggered_by(context))
    run = _run(ti.dag_id, ti.run_id)
    notification = published(run, summary, alerts, report_at=_report_at(run))
    deliver(notification, _sent_log(context), PUBLISHED)


def notify_deviation(context: Context) -> None:
    """Send the figures that deviate; a callback of the judging task.

    The runs of a month share one mark per figure, so that what stays broken is not sent every day again; the next
    published month starts over.
    """
    from apex_tasks.notifications.messages import deviated
    from apex_tasks.performance.judge_performance import PerformanceReference
    from apex_tasks.performance.stored_reports import read_report
    from apex_tasks.store import Store

    ti, store = context["ti"], Store(load_settings().home)
    judged = PerformanceReference.model_validate(ti.xcom_pull(task_ids=ti.task_id))
    if not judged.deviating:
        return
    report = read_report(store, judged.name)
    sent_log = _sent_log_of(ti.dag_id, f"month {report.portfolio.partition('/')[0]}", attempt=0)
    causes = [f"{DEVIATION_PREFIX}{metric}" for metric in judged.deviating]
    deliver(deviated(_run(ti.dag_id, ti.run_id), report), sent_log, *causes)


def notify_run_failure(context: Context) -> None:
    """Send what the tasks of a failed run could not: a killed process runs no callback of its own."""
    from apex_tasks.notifications.messages import run_failed, task_failed
    from apex_tasks.notifications.sent_log import failure_of

    sent_log, run = _sent_log(context), _run(context["dag"].dag_id, context["run_id"])
    failed = [task for task, state in _task_states(run.dag_id, run.run_id).items() if state == "failed"]
    for task_id in failed:
        notification = task_failed(run, task_id, None, f"{run.url}/tasks/{task_id}")
        deliver(notification, sent_log, failure_of(task_id))
    if not failed:
        deliver(run_failed(run, str(context["reason"])), sent_log, failure_of(run.run_id))


async def notify_deadline(severity: str, minutes: float, context: DeadlineContext) -> None:
    """Send that a run has not published in time, with its state at this moment."""
    await asyncio.to_thread(_notify_deadline, Severity(severity), minutes, context)


def _notify_deadline(severity: Severity, minutes: float, context: DeadlineContext) -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    from apex_tasks.notifications.messages import deadline_passed

    run, deadline = context["dag_run"], context["deadline"]
    dag_id, run_id = run["dag_id"], run["dag_run_id"]
    state = RuntimeTaskInstance.get_dagrun_state(dag_id, run_id)
    if state == "success":
        log.info("%s %s passed its deadline of %g minutes and has published since", dag_id, run_id, minutes)
        return
    sent_log, tasks = _sent_log_of(dag_id, run_id, attempt=0), _task_states(dag_id, run_id)
    channels: Sequence[str] = CHANNELS
    if state == "failed":
        began = dt.datetime.fromisoformat(run["start_date"] or run["queued_at"])
        channels = [channel for channel in CHANNELS if not _failure_sent(sent_log, began, channel)]
    notification = deadline_passed(
        _run(dag_id, run_id),
        severity,
        minutes,
        deadline["deadline_time"],
        tasks,
        failed=state == "failed",
        awaited=_awaited(dag_id, run_id) if tasks.get(DATASET_FRESH) in STATES_OF_WAITING else None,
        answer_at=_answer_at(_run(dag_id, run_id)) if tasks.get(APPROVAL) == AWAITING_INPUT else None,
    )
    deliver(notification, sent_log, f"deadline-{deadline['id']}", channels=channels)


def _run(dag_id: str, run_id: str) -> Run:
    from apex_tasks.notifications.messages import NO_IMPACT, NOBODY_WATCHES_THE_BOOK, RERUN_IS_SAFE, Run

    airflow = conf.get("api", "base_url", fallback="http://localhost:8080/").rstrip("/")
    url = f"{airflow}/dags/{dag_id}/runs/{quote(run_id)}"
    impact = {PERFORMANCE: NOBODY_WATCHES_THE_BOOK, REHEARSAL: NO_IMPACT}.get(dag_id, RERUN_IS_SAFE)
    return Run(dag_id, run_id, url, load_settings().notifications.runbook, impact)


def _report_at(run: Run) -> str:
    return f"{run.url}/plugin/{REPORT_TAB}"


def _answer_at(run: Run) -> str:
    return f"{run.url}/tasks/{APPROVAL}/required_actions"


def _sent_log(context: Context) -> SentLog:
    return _sent_log_of(context["dag"].dag_id, context["run_id"], attempt_of(context))


def _sent_log_of(dag_id: str, run_id: str, attempt: int) -> SentLog:
    from apex_tasks.notifications.sent_log import SentLog

    return SentLog(load_settings().home, dag_id, run_id, attempt)


def _failure_sent(sent_log: SentLog, since: dt.datetime, channel: str) -> bool:
    try:
        return sent_log.failure_sent_since(since, channel)
    except OSError as error:
        log.warning("The store does not say what was sent: %s", error)
        return False


def _task_states(dag_id: str, run_id: str) -> dict[str, str | None]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return dict(RuntimeTaskInstance.get_task_states(dag_id, run_ids=[run_id]).get(run_id, {}))


def _awaited(dag_id: str, run_id: str) -> Refusal | None:
    """What the sensor found missing when it looked last.

    Airflow deletes the XCom when the sensor starts to look again: until it has looked, ask again.
    """
    from airflow.sdk.execution_time.xcom import XCom

    from apex_tasks.refusal import Refusal

    for _ in range(LOOKS):
        if waiting := XCom.get_one(key=WAITING, dag_id=dag_id, task_id=DATASET_FRESH, run_id=run_id):
            return Refusal(**waiting)
        time.sleep(LOOK_SECONDS)
    return None
