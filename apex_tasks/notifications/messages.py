"""The texts that operators are sent: what broke, expected and received, what to do first, where to look."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from apex_tasks.market.calendar import TOKYO
from apex_tasks.notifications.notification import Notification
from apex_tasks.performance.checks.check import CheckVerdict
from apex_tasks.published.run_document import Alert
from apex_tasks.refusal import (
    CheckFailed,
    DatasetLate,
    DatasetUnsound,
    Refusal,
    Rejected,
    ThresholdBroken,
    Unanswered,
)
from apex_tasks.settings import Severity

if TYPE_CHECKING:
    from apex_tasks.monthly.summary import MonthSummary
    from apex_tasks.performance.report import PerformanceReport

RERUN_IS_SAFE = (
    "The fund has no portfolio for the month until publish succeeds. Clearing failed tasks is always safe."
)
NOBODY_WATCHES_THE_BOOK = (
    "No order depends on it, but until it succeeds nobody watches the live performance. Clearing is safe."
)
NO_IMPACT = "Nobody: a rehearsal publishes nothing. Clearing failed tasks is always safe."


class RunbookEntry(StrEnum):
    """Headings of the runbook that messages link to."""

    REFUSED = "a-task-refused-its-input"
    BUG = "a-task-failed-with-an-unexpected-error"
    KILLED = "a-task-was-killed"
    RUN = "a-run-failed-without-a-failed-task"
    DATASET_LATE = "the-dataset-is-late"
    DATASET_UNSOUND = "the-dataset-is-refused"
    THRESHOLD = "a-critical-threshold-is-broken"
    DEADLINE = "a-run-is-late"
    DEVIATION = "live-performance-deviates"
    REHEARSAL = "a-rehearsal-failed"
    APPROVAL = "a-portfolio-awaits-approval"
    REJECTED = "a-portfolio-was-rejected"
    UNANSWERED = "an-approval-was-not-given-in-time"


@dataclass(frozen=True)
class Run:
    """The run that a message is about.

    Attributes
    ----------
    dag_id, run_id
        Its name.
    url
        Its page in Airflow.
    runbook
        Path or URL of the runbook.
    impact
        What does not happen while the run fails.
    """

    dag_id: str
    run_id: str
    url: str
    runbook: str
    impact: str = RERUN_IS_SAFE


def task_failed(run: Run, task_id: str, error: BaseException | None, log_url: str) -> Notification:
    """Describe a failed task.

    Parameters
    ----------
    error
        What it failed with: a refusal says what to do; None when the cause is unknown.
    log_url
        Address of the task's log.
    """
    return Notification(
        Severity.CRITICAL,
        f"{run.dag_id} failed at {task_id}: {_story(error)}",
        (*_details(error), ("Run", run.run_id), ("Who is hit", run.impact)),
        _remedy(error),
        (("Log", log_url), ("Run", run.url), ("Runbook", _runbook(run, _entry(error)))),
    )


def run_failed(run: Run, reason: str) -> Notification:
    """Describe a failed run without a failed task.

    Parameters
    ----------
    reason
        Why Airflow gave the run up, in its own words.
    """
    return Notification(
        Severity.CRITICAL,
        f"{run.dag_id} failed without a failed task: {reason}",
        (("Airflow's reason", reason), ("Run", run.run_id), ("Who is hit", run.impact)),
        "Open the run's page and look for tasks that never started or never ended.",
        (("Run", run.url), ("Runbook", _runbook(run, RunbookEntry.RUN))),
    )


def deadline_passed(
    run: Run,
    severity: Severity,
    minutes: float,
    due: dt.datetime,
    tasks: Mapping[str, str | None],
    *,
    failed: bool,
    awaited: Refusal | None,
    answer_at: str | None = None,
) -> Notification:
    """Describe a run that has not published in time.

    Parameters
    ----------
    minutes, due
        Length of the deadline, and when it passed.
    tasks
        State of every task, None for one that has not started.
    failed
        Whether the run has failed; else it still runs.
    awaited
        What the dataset's sensor waits for, and since when; None when it does not wait.
    answer_at
        Where a person can approve or reject, when that is what the run waits for.
    """
    if failed:
        story, remedy = " because it failed", "Open the failed task's log: its last line says what to do."
    elif awaited is not None:
        story, remedy = f": {awaited.what}", awaited.remedy
    elif answer_at is not None:
        story, remedy = ": it awaits a person's approval", "Read the report, then approve or reject."
    else:
        story = ""
        remedy = "Open the log of the task that is running; look whether scheduler and workers are alive."
    started = [f"{name} {state}" for name, state in tasks.items() if state is not None]
    idle = [name for name, state in tasks.items() if state is None]
    waits = awaited is not None and not failed
    asks = answer_at is not None and not failed
    entry = RunbookEntry.DATASET_LATE if waits else RunbookEntry.APPROVAL if asks else RunbookEntry.DEADLINE
    return Notification(
        severity,
        f"{run.dag_id} is late{story}",
        (
            (
                "Due",
                f"{due.astimezone(TOKYO):%Y-%m-%d %H:%M} JST, {minutes:g} minutes after the run was queued",
            ),
            *(_details(awaited) if waits else ()),
            ("Tasks", ", ".join(started) or "none started"),
            ("Not started", ", ".join(idle) or "none"),
            ("Run", run.run_id),
            ("Who is hit", run.impact),
        ),
        remedy,
        (
            *((("Approve or reject", answer_at),) if answer_at is not None and asks else ()),
            ("Run", run.url),
            ("Runbook", _runbook(run, entry)),
        ),
    )


def approval_wanted(
    run: Run,
    summary: MonthSummary,
    alerts: Sequence[Alert],
    *,
    until: dt.datetime,
    report_at: str,
    answer_at: str,
    asked_before: bool,
) -> Notification:
    """Ask for a person's approval of a month that is not published yet.

    Parameters
    ----------
    until
        When the question is withdrawn and the month stays unpublished.
    report_at, answer_at
        Where to read the month's report, and where to answer.
    asked_before
        Whether this run has asked before, and asks again because its tasks were cleared or repeated.
    """
    asks = "asks again for" if asked_before else "awaits"
    return Notification(
        Severity.WARNING if alerts else None,
        f"{summary.rebalance_date} {asks} your approval: {_book(summary)}",
        (
            ("Answer until", f"{until.astimezone(TOKYO):%Y-%m-%d %H:%M} JST; then nothing is published"),
            *_plan_facts(summary),
            *_deviations(summary),
            *((alert.metric, f"{alert}. {alert.remedy}") for alert in alerts),
            *(("Data warning", warning) for warning in summary.warnings),
            ("Run", run.run_id),
        ),
        "Read the report, then approve or reject.",
        (
            ("Report", report_at),
            ("Approve or reject", answer_at),
            ("Runbook", _runbook(run, RunbookEntry.APPROVAL)),
        ),
    )


def _book(summary: MonthSummary) -> str:
    return f"{summary.positions} positions, turnover {summary.turnover:.2%}, cost {summary.cost_bps:.2f} bps"


def _plan_facts(summary: MonthSummary) -> tuple[tuple[str, str], ...]:
    best = ", ".join(f"{name.code} {name.weight:.2%}" for name in summary.top)
    return (
        ("Trades on", f"{summary.rebalance_date}, decided at the close of {summary.as_of}"),
        ("Starts from", summary.parent or "cash"),
        ("Book", _book(summary)),
        ("Largest scores", best),
        ("Cost", f"{summary.cost_jpy:,.0f} of {summary.portfolio_value_jpy:,.0f} JPY"),
    )


def _deviations(summary: MonthSummary) -> tuple[tuple[str, str], ...]:
    """In what the run went another way than the settings, and who started it; nothing for a usual month."""
    told = (
        ("Off-cycle", "" if summary.off_cycle is None else f"belongs to no month: {summary.off_cycle}"),
        ("Overrides", "; ".join(summary.overrides)),
    )
    facts = tuple((label, text) for label, text in told if text)
    return (*facts, ("Triggered by", summary.triggered_by)) if facts and summary.triggered_by else facts


def published(run: Run, summary: MonthSummary, alerts: Sequence[Alert], *, report_at: str) -> Notification:
    """Describe a month that ended well, and the alerts that did not stop it; `report_at`: where to read it."""
    # The published portfolios import NumPy: whoever describes a failure does not wait for that.
    from apex_tasks.published.portfolio import REPORT_FILE

    return Notification(
        Severity.WARNING if alerts else None,
        f"{summary.portfolio} {summary.verdict}: {'; '.join(map(str, alerts)) or _book(summary)}",
        (
            *_plan_facts(summary),
            *_deviations(summary),
            *((alert.metric, f"{alert}. {alert.remedy}") for alert in alerts),
            *(("Data warning", warning) for warning in summary.warnings),
            ("Folder", f"{summary.folder}"),
            ("Report", f"{summary.folder}/{REPORT_FILE}"),
            ("Run", run.run_id),
        ),
        "Look at the alerts before the orders are sent." if alerts else "",
        (
            ("Report", report_at),
            ("Run", run.url),
            *(
                (f"Runbook {alert.metric}", _runbook(run, alert.runbook.partition("#")[2]))
                for alert in alerts
            ),
        ),
    )


def deviated(run: Run, report: PerformanceReport) -> Notification:
    """Describe live figures that deviate from their benchmarks, with the four checks answered."""
    deviating = report.deviating
    return Notification(
        Severity.WARNING,
        f"live performance deviates: {'; '.join(map(str, deviating))}",
        (
            *((f"{found.metric}", str(found)) for found in deviating),
            *((f"{found.metric}", str(found)) for found in report.comparisons if found not in deviating),
            (
                "Ledger",
                f"{report.sessions} sessions from {report.first_marked} to {report.last_marked}, newest month "
                f"{report.portfolio}, {report.ledger}",
            ),
            *(
                (check.name.capitalize(), f"{check.verdict.upper()}: {check.finding}")
                for check in report.checks
            ),
            ("Run", run.run_id),
        ),
        " ".join(check.remedy for check in report.checks if check.verdict is CheckVerdict.ATTENTION)
        or "No check names a cause: compare the fills with the broker's, then the book with its market.",
        (("Run", run.url), ("Runbook", _runbook(run, RunbookEntry.DEVIATION))),
    )


def _story(error: BaseException | None) -> str:
    match error:
        case None:
            return "its process was killed, or could not send its own message"
        case ThresholdBroken():
            return f"{error.received}, {error.what}"
        case CheckFailed():
            return f"{error.what}: {error.received}"
        case Refusal():
            return error.what
        case _:
            return f"{type(error).__name__}: {error}"


def _details(error: BaseException | None) -> tuple[tuple[str, str], ...]:
    if isinstance(error, Refusal):
        return ("Expected", error.expected), ("Received", error.received), ("Where", error.where)
    return () if error is None else (("Error", _story(error)),)


def _remedy(error: BaseException | None) -> str:
    match error:
        case None:
            return (
                "Read the end of the task's log. Where it breaks off, the process was killed, mostly for lack of "
                "memory: look at the worker, then clear the task."
            )
        case Refusal():
            return error.remedy
        case _:
            return "Open the log: the traceback stands at its end. Clear the task once its cause is gone."


def _entry(error: BaseException | None) -> RunbookEntry:
    if isinstance(error, ThresholdBroken):
        return RunbookEntry.THRESHOLD
    if isinstance(error, CheckFailed):
        return RunbookEntry.REHEARSAL
    if isinstance(error, Rejected):
        return RunbookEntry.REJECTED
    if isinstance(error, Unanswered):
        return RunbookEntry.UNANSWERED
    if isinstance(error, DatasetLate):
        return RunbookEntry.DATASET_LATE
    if isinstance(error, DatasetUnsound):
        return RunbookEntry.DATASET_UNSOUND
    if isinstance(error, Refusal):
        return RunbookEntry.REFUSED
    return RunbookEntry.KILLED if error is None else RunbookEntry.BUG


def _runbook(run: Run, heading: str) -> str:
    return f"{run.runbook}#{heading}"
