"""The texts of messages: complete, in one line where it counts, with a remedy and a heading of the runbook."""

from __future__ import annotations

import re

import pytest

from apex_tasks.monthly.summary import MonthOutcome
from apex_tasks.notifications.messages import (
    NO_IMPACT,
    NOBODY_WATCHES_THE_BOOK,
    Run,
    RunbookEntry,
    deadline_passed,
    deviated,
    published,
    run_failed,
    task_failed,
)
from apex_tasks.notifications.notification import Notification
from apex_tasks.performance.checks.check import CheckName
from apex_tasks.refusal import CheckFailed, Refusal, Rejected, ThresholdBroken, Unanswered
from apex_tasks.settings import Severity
from tests.support.notification_samples import (
    COSTLY,
    DUE,
    LATE,
    REFUSAL,
    REPORT_AT,
    RUN,
    SUMMARY,
    performance_report,
    question,
)
from tests.support.paths import ROOT
from tests.support.visible_text import VisibleText, shown_by_both


def test_a_refusal_tells_expected_received_where_and_what_to_do() -> None:
    notification = task_failed(RUN, "validate_bundle", REFUSAL, "http://airflow/log")
    assert (
        notification.subject
        == "[APEX CRITICAL] apex_monthly failed at validate_bundle: checkpoint hash differs"
    )
    for text in shown_by_both(notification):
        for word in ("639c", "ab12", "m.pt", "Fetch the bundle again.", RUN.run_id, "always safe"):
            assert word in text
    assert VisibleText(notification.html).addresses == ["http://airflow/log", RUN.url]
    assert "<http://airflow/log|Log>" in notification.slack
    assert "Runbook: docs/runbook.md#a-task-refused-its-input" in notification.slack


@pytest.mark.parametrize("ask", [True, False])
def test_what_a_run_changed_is_told_with_who_triggered_it(ask: bool) -> None:
    def told(**changes: object) -> Notification:
        summary = SUMMARY.model_copy(update=changes)
        return question(**changes) if ask else published(RUN, summary, [], report_at=REPORT_AT)

    usual = dict(told(triggered_by="ada, run 7").facts)
    assert not usual.keys() & {"Overrides", "Off-cycle", "Triggered by"}
    overrides = ("top_k 20 instead of 35", "policy capped instead of baseline")
    facts = dict(told(overrides=overrides, triggered_by="ada, run 7").facts)
    assert facts["Overrides"] == "top_k 20 instead of 35; policy capped instead of baseline"
    assert facts["Triggered by"] == "ada, run 7"
    facts = dict(told(off_cycle="index change", triggered_by="ada, run 7").facts)
    assert facts["Off-cycle"] == "belongs to no month: index change"
    assert facts["Triggered by"] == "ada, run 7"


@pytest.mark.parametrize(
    ("error", "task_id", "headline", "entry"),
    [
        (None, "infer", "failed at infer: its process was killed, or could not", RunbookEntry.KILLED),
        (MemoryError("no room"), "infer", "failed at infer: MemoryError: no room", RunbookEntry.BUG),
        (LATE, "dataset_fresh", "failed at dataset_fresh: dataset has no rows", RunbookEntry.DATASET_LATE),
        # Refused at once: what the run asks for is at fault, not the delivery.
        (REFUSAL, "dataset_fresh", "failed at dataset_fresh: checkpoint hash differs", RunbookEntry.REFUSED),
        (
            ThresholdBroken("stopped", expected="not m < 5", received="m = 4", where="w", remedy="Look."),
            "apply_costs",
            "failed at apply_costs: m = 4, stopped",
            RunbookEntry.THRESHOLD,
        ),
        (
            CheckFailed("a part failed", expected="-", received="a differs", where="w", remedy="Look."),
            "smoke_test",
            "failed at smoke_test: a part failed: a differs",
            RunbookEntry.REHEARSAL,
        ),
    ],
)
def test_each_kind_of_failure_has_its_words_and_its_heading(
    error: BaseException | None, task_id: str, headline: str, entry: RunbookEntry
) -> None:
    notification = task_failed(RUN, task_id, error, "http://airflow/log")
    assert headline in notification.subject
    assert notification.remedy
    assert dict(notification.links)["Runbook"] == f"docs/runbook.md#{entry}"


def test_a_failed_rehearsal_hits_nobody() -> None:
    rehearsal = Run("apex_rehearsal", RUN.run_id, RUN.url, RUN.runbook, NO_IMPACT)
    for run, hit in (
        (RUN, "no portfolio for the month"),
        (rehearsal, "Nobody: a rehearsal publishes nothing"),
    ):
        for notification in (task_failed(run, "handshake", REFUSAL, "log"), run_failed(run, "timed_out")):
            assert hit in dict(notification.facts)["Who is hit"]


def test_a_run_without_a_failed_task_gives_airflows_reason() -> None:
    notification = run_failed(RUN, "timed_out")
    assert notification.subject == "[APEX CRITICAL] apex_monthly failed without a failed task: timed_out"


def test_a_late_run_shows_what_is_missing_and_every_tasks_state() -> None:
    tasks = {"validate_bundle": "success", "dataset_fresh": "up_for_reschedule", "infer": None}
    notification = deadline_passed(RUN, Severity.WARNING, 60.0, DUE, tasks, failed=False, awaited=LATE)
    assert notification.subject == f"[APEX WARNING] apex_monthly is late: {LATE.what}"
    for text in shown_by_both(notification):
        for word in (
            "2025-11-04 10:00 JST, 60 minutes after",
            "last date 2025-10-30",
            "validate_bundle success, dataset_fresh up_for_reschedule",
            "infer",
            "Check the data delivery.",
        ):
            assert word in text
    assert dict(notification.links)["Runbook"].endswith("#the-dataset-is-late")


def test_a_run_that_is_late_because_it_failed_says_so() -> None:
    tasks = {"dataset_fresh": "success", "infer": "failed"}
    notification = deadline_passed(RUN, Severity.CRITICAL, 180.0, DUE, tasks, failed=True, awaited=LATE)
    assert notification.subject == "[APEX CRITICAL] apex_monthly is late because it failed"
    assert "infer failed" in notification.slack
    assert "awaited" not in notification.slack
    assert "failed task's log" in notification.remedy


def test_a_run_that_is_late_and_works_shows_where() -> None:
    notification = deadline_passed(
        RUN, Severity.CRITICAL, 0.5, DUE, {"infer": None}, failed=False, awaited=None
    )
    assert notification.subject == "[APEX CRITICAL] apex_monthly is late"
    assert "none started" in notification.slack
    assert "0.5 minutes" in notification.slack


def test_a_published_month_is_summed_up() -> None:
    notification = published(RUN, SUMMARY, (), report_at=REPORT_AT)
    assert notification.subject == (
        "[APEX] 2025-11-04/v1 published: 49 positions, turnover 35.00%, cost 12.35 bps"
    )
    assert notification.remedy == ""
    for text in shown_by_both(notification):
        for word in (
            "2025-11-04, decided at the close of 2025-10-31",
            "2025-10-01/v1",
            "12,346 of 10,000,000 JPY",
            "69370 2.04%",
            "three prices are old",
            "/srv/apex/portfolio/2025-11-04/v1/report.html",
        ):
            assert word in text
    assert ("Report", REPORT_AT) in notification.links


def test_a_first_month_starts_from_cash_and_an_unchanged_one_says_so() -> None:
    summary = SUMMARY.model_copy(update={"parent": None, "verdict": MonthOutcome.UNCHANGED})
    notification = published(RUN, summary, (), report_at=REPORT_AT)
    assert "was published already, nothing changed" in notification.subject
    assert ("Starts from", "cash") in notification.facts


def test_alerts_that_did_not_stop_a_month_stand_in_its_message() -> None:
    notification = published(RUN, SUMMARY, (COSTLY,), report_at=REPORT_AT)
    assert notification.subject == (
        "[APEX WARNING] 2025-11-04/v1 published: WARNING: apex_daily_cost_bps = 25, alert when > 20"
    )
    for text in shown_by_both(notification):
        assert "Look in orders.csv." in text
    assert ("Runbook apex_daily_cost_bps", "docs/runbook.md#high-costs") in notification.links


def test_a_question_tells_what_is_asked_until_when_and_where() -> None:
    notification = question()
    book = "49 positions, turnover 35.00%, cost 12.35 bps"
    assert notification.subject == f"[APEX] 2025-11-04 awaits your approval: {book}"
    for text in shown_by_both(notification):
        for word in (
            "2025-11-04 10:00 JST",
            "2025-10-31",
            "2025-10-01/v1",
            "three prices are old",
            RUN.run_id,
        ):
            assert word in text
    assert [label for label, _ in notification.links] == ["Report", "Approve or reject", "Runbook"]
    assert "asks again for your approval" in question(asked_before=True).headline
    warned = question(COSTLY)
    assert warned.severity is Severity.WARNING
    assert "Look in orders.csv." in shown_by_both(warned)[0]


@pytest.mark.parametrize(
    ("kind", "entry"), [(Rejected, RunbookEntry.REJECTED), (Unanswered, RunbookEntry.UNANSWERED)]
)
def test_what_was_not_approved_leads_to_its_own_heading(kind: type[Refusal], entry: RunbookEntry) -> None:
    error = kind("it was not approved", expected="e", received="r", where="w", remedy="Ask.")
    notification = task_failed(RUN, "approval", error, "http://airflow/log")
    assert dict(notification.links)["Runbook"] == f"docs/runbook.md#{entry}"


def test_a_late_run_that_awaits_a_person_says_so_unless_it_has_failed() -> None:
    page = f"{RUN.url}/tasks/approval/required_actions"

    def late(*, failed: bool) -> Notification:
        return deadline_passed(
            RUN,
            Severity.WARNING,
            60.0,
            DUE,
            {"approval": "awaiting_input", "publish": None},
            failed=failed,
            awaited=None,
            answer_at=page,
        )

    notification = late(failed=False)
    assert notification.subject == "[APEX WARNING] apex_monthly is late: it awaits a person's approval"
    assert dict(notification.links)["Approve or reject"] == page
    assert dict(notification.links)["Runbook"] == "docs/runbook.md#a-portfolio-awaits-approval"
    assert "Approve or reject" not in dict(late(failed=True).links)


def test_the_runbook_may_lie_anywhere() -> None:
    run = Run(RUN.dag_id, RUN.run_id, RUN.url, "https://wiki/apex")
    notification = published(run, SUMMARY, (COSTLY,), report_at=REPORT_AT)
    assert "https://wiki/apex#high-costs" in VisibleText(notification.html).addresses
    assert "<https://wiki/apex#high-costs|Runbook apex_daily_cost_bps>" in notification.slack


def test_every_heading_that_messages_link_to_is_in_the_runbook() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert {str(entry) for entry in RunbookEntry} - anchors == set()


def test_a_deviation_tells_the_figures_and_answers_the_four_checks() -> None:
    notification = deviated(RUN, performance_report(CheckName.INTEGRITY, CheckName.DRIFT))
    assert notification.subject == (
        "[APEX WARNING] live performance deviates: Sharpe ratio 0.5 against 1, 50% below (worse); "
        "chance allows -0.5 to 0.9"
    )
    for text in shown_by_both(notification):
        for name in CheckName:
            verdict = "ATTENTION" if name in (CheckName.INTEGRITY, CheckName.DRIFT) else "OK"
            assert f"{verdict}: finding of {name}" in text
        for words in (
            "chance allows -0.5 to 0.9",
            "winning days in % 1.1",
            "70 sessions",
            "ledger/2025-10-10-key",
        ):
            assert words in text
    assert notification.remedy == "Do checkpoint integrity first. Do drift of features and scores first."
    assert dict(notification.links)["Runbook"] == "docs/runbook.md#live-performance-deviates"


def test_a_deviation_without_a_cause_says_what_is_left_to_do() -> None:
    assert deviated(RUN, performance_report()).remedy.startswith("No check names a cause: compare the fills")


def test_a_failure_of_the_watching_hits_nobodys_orders() -> None:
    watching = Run("apex_performance", "r", "http://airflow/r", "docs/runbook.md", NOBODY_WATCHES_THE_BOOK)
    for notification in (
        task_failed(watching, "mark_ledger", REFUSAL, "log"),
        run_failed(watching, "timed_out"),
    ):
        assert NOBODY_WATCHES_THE_BOOK in dict(notification.facts).values()
