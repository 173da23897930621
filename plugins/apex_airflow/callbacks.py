"""Who is told what, and when: the callbacks of the DAGs.

| callback | runs in | tells |
|---|---|---|
| `notify_task_failure` | worker | why the task failed, at once |
| `notify_retry` | worker | nobody: one line in the log |
| `request_approval` | worker | that a person must approve the month, once for each time the task asks |
| `notify_published` | worker | the month's portfolio and the alerts that did not stop it |
| `notify_deviation` | worker | live figures that deviate from their benchmarks, each once a month |
| `notify_run_failure` | DAG processor | only what no task could tell, such as a killed process |
| `notify_deadline` | triggerer | that the run is late, unless its failure was told |

Each cause is told once by each channel; `apex_tasks.notifications.sent_log` keeps count.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import AsyncCallback, DeadlineAlert
from airflow.sdk.configuration import conf

from apex_airflow.channels import CHANNELS, deliver
from apex_airflow.queued_at_deadline import QueuedAtDeadline
from apex_airflow.tasks import APPROVAL, DATASET_FRESH, WAITING, refusal_from, run_request_from
from apex_tasks.settings import DeadlineSettings, Severity, load_settings

if TYPE_CHECKING:
    from apex_tasks.notifications.messages import Notification, Run
    from apex_tasks.notifications.sent_log import SentLog
    from apex_tasks.refusal import Refusal

log = logging.getLogger(__name__)

PUBLISHED = "published"
ASKED_PREFIX = "approval-asked-"
DEVIATION_PREFIX = "deviation-"
REPORT_TAB = "portfolio"
"""Route of the run page's tab that shows the report."""
PERFORMANCE, REHEARSAL = "apex_performance", "apex_rehearsal"
"""The DAG that no order waits for."""
STATES_OF_WAITING = ("up_for_reschedule", "scheduled", "queued", "running")
AWAITING_INPUT = "awaiting_input"
"""State of a task that waits for a person."""
LOOKS, LOOK_SECONDS = 10, 0.5


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


def notify_task_failure(context: Any) -> None:
    """Tell why a task failed; called once its last attempt has."""
    from apex_tasks.notifications.messages import task_failed
    from apex_tasks.notifications.sent_log import failure_of

    ti, error = context["ti"], context.get("exception")
    notice = task_failed(_run(ti.dag_id, ti.run_id), ti.task_id, refusal_from(error) or error, ti.log_url)
    deliver(notice, _ledger(context), failure_of(ti.task_id))


def notify_retry(context: Any) -> None:
    """Leave a line in the log: the next attempt may succeed."""
    ti = context["ti"]
    error = context.get("exception")
    log.warning("Attempt %d of %s failed and is repeated: %s", ti.try_number, ti.task_id, error)


def approval_question(context: Any, plan: Any, until: dt.datetime) -> Notification:
    """Build the question whether a month is published, for Airflow's page and for the message that leads there.

    Parameters
    ----------
    context
        Of the task that asks.
    plan
        Reference of the plan, as its task left it.
    until
        When the question is withdrawn.
    """
    from apex_tasks.monthly.apply_costs import PlanReference
    from apex_tasks.monthly.summary import alerts_of, summarise_month
    from apex_tasks.notifications.messages import approval_wanted
    from apex_tasks.store import Store

    ti, request = context["ti"], run_request_from(context)
    store, plan = Store(request.settings.home), PlanReference.model_validate(plan)
    run = _run(ti.dag_id, ti.run_id)
    return approval_wanted(
        run,
        summarise_month(request, plan, None, store),
        alerts_of(plan, store),
        until=until,
        report_at=_report_at(run),
        answer_at=_answer_at(run),
        asked_before=ti.try_number > 1,
    )


def request_approval(context: Any, question: Notification) -> None:
    """Send the question; every attempt of the task asks anew, because the page knows only its newest question."""
    deliver(question, _ledger(context), f"{ASKED_PREFIX}{context['ti'].try_number}")


def notify_published(context: Any) -> None:
    """Tell of the published month; a callback of the publish task."""
    from apex_tasks.monitoring.alerts import evaluate_latency
    from apex_tasks.monthly.apply_costs import PlanReference
    from apex_tasks.monthly.infer import ScoresReference
    from apex_tasks.monthly.publish import PublishReference
    from apex_tasks.monthly.summary import alerts_of, summarise_month
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
    summary = summarise_month(request, plan, publication, store)
    run = _run(ti.dag_id, ti.run_id)
    notice = published(run, summary, alerts, report_at=_report_at(run))
    deliver(notice, _ledger(context), PUBLISHED)


def notify_deviation(context: Any) -> None:
    """Tell of figures that deviate; a callback of the judging task.

    The runs of a month share one mark per figure, so that what stays broken is not told every day again; the next
    published month begins anew.
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
    ledger = _ledger_of(ti.dag_id, f"month {report.portfolio.partition('/')[0]}", attempt=0)
    causes = [f"{DEVIATION_PREFIX}{metric}" for metric in judged.deviating]
    deliver(deviated(_run(ti.dag_id, ti.run_id), report), ledger, *causes)


def notify_run_failure(context: Any) -> None:
    """Tell of a failed run what its tasks could not: a killed process runs no callback of its own."""
    from apex_tasks.notifications.messages import run_failed, task_failed
    from apex_tasks.notifications.sent_log import failure_of

    ledger, run = _ledger(context), _run(context["dag"].dag_id, context["run_id"])
    failed = [task for task, state in _task_states(run.dag_id, run.run_id).items() if state == "failed"]
    for task_id in failed:
        notice = task_failed(run, task_id, None, f"{run.url}/tasks/{task_id}")
        deliver(notice, ledger, failure_of(task_id))
    if not failed:
        deliver(run_failed(run, context["reason"]), ledger, failure_of(run.run_id))


async def notify_deadline(severity: str, minutes: float, context: Any) -> None:
    """Tell that a run has not published in time, by its state at this moment."""
    await asyncio.to_thread(_notify_deadline, Severity(severity), minutes, context)


def _notify_deadline(severity: Severity, minutes: float, context: Any) -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    from apex_tasks.notifications.messages import deadline_passed

    run, deadline = context["dag_run"], context["deadline"]
    dag_id, run_id = run["dag_id"], run["dag_run_id"]
    state = RuntimeTaskInstance.get_dagrun_state(dag_id, run_id)
    if state == "success":
        log.info("%s %s passed its deadline of %g minutes and has published since", dag_id, run_id, minutes)
        return
    ledger, channels, tasks = _ledger_of(dag_id, run_id, attempt=0), CHANNELS, _task_states(dag_id, run_id)
    if state == "failed":
        began = dt.datetime.fromisoformat(run["start_date"] or run["queued_at"])
        channels = tuple(channel for channel in CHANNELS if not _failure_sent(ledger, began, channel))
    notice = deadline_passed(
        _run(dag_id, run_id),
        severity,
        minutes,
        deadline["deadline_time"],
        tasks,
        failed=state == "failed",
        awaited=_awaited(dag_id, run_id) if tasks.get(DATASET_FRESH) in STATES_OF_WAITING else None,
        answer_at=_answer_at(_run(dag_id, run_id)) if tasks.get(APPROVAL) == AWAITING_INPUT else None,
    )
    deliver(notice, ledger, f"deadline-{deadline['id']}", channels=channels)


def _run(dag_id: str, run_id: str) -> Run:
    from apex_tasks.notifications.messages import NO_IMPACT, NOBODY_WATCHES_THE_BOOK, RERUN_IS_SAFE, Run

    airflow = conf.get("api", "base_url", fallback="http://localhost:8080/").rstrip("/")
    url = f"{airflow}/dags/{dag_id}/runs/{quote(run_id)}"
    hit = {PERFORMANCE: NOBODY_WATCHES_THE_BOOK, REHEARSAL: NO_IMPACT}.get(dag_id, RERUN_IS_SAFE)
    return Run(dag_id, run_id, url, load_settings().notifications.runbook, hit)


def _report_at(run: Run) -> str:
    return f"{run.url}/plugin/{REPORT_TAB}"


def _answer_at(run: Run) -> str:
    return f"{run.url}/tasks/{APPROVAL}/required_actions"


def _ledger(context: Any) -> SentLog:
    # Airflow leaves the run out of a DAG callback's context when it knows no task to blame.
    attempt = context["dag_run"].clear_number if "dag_run" in context else 0
    return _ledger_of(context["dag"].dag_id, context["run_id"], attempt)


def _ledger_of(dag_id: str, run_id: str, attempt: int) -> SentLog:
    from apex_tasks.notifications.sent_log import SentLog

    return SentLog(load_settings().home, dag_id, run_id, attempt)


def _failure_sent(ledger: SentLog, since: dt.datetime, channel: str) -> bool:
    try:
        return ledger.failure_sent_since(since, channel)
    except OSError as error:
        log.warning("The store does not say what was told: %s", error)
        return False


def _task_states(dag_id: str, run_id: str) -> dict[str, str | None]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return dict(RuntimeTaskInstance.get_task_states(dag_id, run_ids=[run_id]).get(run_id, {}))


def _awaited(dag_id: str, run_id: str) -> Refusal | None:
    """What the sensor found missing when it looked last.

    Airflow takes the XCom away when the sensor starts to look anew: until it has looked, ask again.
    """
    from airflow.sdk.execution_time.xcom import XCom

    from apex_tasks.refusal import Refusal

    for _ in range(LOOKS):
        if left := XCom.get_one(key=WAITING, dag_id=dag_id, task_id=DATASET_FRESH, run_id=run_id):
            return Refusal(**left)
        time.sleep(LOOK_SECONDS)
    return None
