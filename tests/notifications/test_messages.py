"""The texts of messages: complete, in one line where it counts, and harmless whatever an error says."""

from __future__ import annotations

import datetime as dt
import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.monitoring.alerts import Alert
from apex_tasks.monthly.summary import MonthOutcome, MonthSummary, TopName
from apex_tasks.notifications.messages import (
    NO_IMPACT,
    NOBODY_WATCHES_THE_BOOK,
    SUBJECT_CHARACTERS,
    Notification,
    Run,
    RunbookEntry,
    approval_wanted,
    deadline_passed,
    deviated,
    published,
    run_failed,
    task_failed,
)
from apex_tasks.performance import deviation
from apex_tasks.performance.benchmarks import Metric
from apex_tasks.performance.checks.check import Check, CheckName, CheckVerdict
from apex_tasks.performance.report import PerformanceReport, RebalanceTurnover
from apex_tasks.refusal import CheckFailed, Refusal, Rejected, ThresholdBroken, Unanswered
from apex_tasks.settings import Severity
from tests.support.paths import ROOT

REPORT_AT = "https://airflow.example.com/dags/apex/runs/1/plugin/portfolio"
RUN = Run("apex_monthly", "scheduled__2025-11-04", "http://airflow/dags/d/runs/r", "docs/runbook.md")
DUE = dt.datetime(2025, 11, 4, 1, 0, tzinfo=dt.UTC)
REFUSAL = Refusal(
    "checkpoint hash differs",
    expected="639c",
    received="ab12",
    where="m.pt",
    remedy="Fetch the bundle again.",
)
LATE = Refusal(
    "dataset has no rows for the as-of session 2025-10-31, awaited since 2025-11-04 09:00 JST",
    expected="rows of 2025-10-31",
    received="last date 2025-10-30",
    where="dataset.parquet",
    remedy="Check the data delivery.",
)
SUMMARY = MonthSummary(
    rebalance_date=dt.date(2025, 11, 4),
    as_of=dt.date(2025, 10, 31),
    verdict=MonthOutcome.PUBLISHED,
    portfolio="2025-11-04/v1",
    folder="/srv/apex/portfolio/2025-11-04/v1",
    parent="2025-10-01/v1",
    positions=49,
    turnover=0.35,
    cost_jpy=12_345.6,
    cost_bps=12.3456,
    portfolio_value_jpy=10_000_000.0,
    alerts=(),
    warnings=("three prices are old",),
    top=(TopName(code="69370", sector="3650", rank=1, score=0.1, weight=0.0204),),
)
COSTLY = Alert(
    metric="apex_daily_cost_bps",
    value=25.0,
    comparison=">",
    bound=20.0,
    severity=Severity.WARNING,
    remedy="Look in orders.csv.",
    runbook="docs/runbook.md#high-costs",
)


class _Text(HTMLParser):
    """The visible text of an e-mail and the addresses it links to."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.addresses, self.tags = "", [], set()
        self.feed(source)

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name == "href"]


def both(notice: Notification) -> tuple[str, str]:
    """What a reader of each channel sees."""
    return _Text(notice.html).text, html.unescape(notice.slack)


def test_a_refusal_tells_expected_received_where_and_what_to_do() -> None:
    notice = task_failed(RUN, "validate_bundle", REFUSAL, "http://airflow/log")
    assert notice.subject == "[APEX CRITICAL] apex_monthly failed at validate_bundle: checkpoint hash differs"
    for text in both(notice):
        for word in ("639c", "ab12", "m.pt", "Fetch the bundle again.", RUN.run_id, "always safe"):
            assert word in text
    assert _Text(notice.html).addresses == ["http://airflow/log", RUN.url]
    assert "<http://airflow/log|Log>" in notice.slack
    assert "Runbook: docs/runbook.md#a-task-refused-its-input" in notice.slack


@pytest.mark.parametrize(
    ("error", "task_id", "headline", "entry"),
    [
        (None, "infer", "failed at infer: its process was killed, or could not", RunbookEntry.KILLED),
        (MemoryError("no room"), "infer", "failed at infer: MemoryError: no room", RunbookEntry.BUG),
        (LATE, "dataset_fresh", "failed at dataset_fresh: dataset has no rows", RunbookEntry.DATASET_LATE),
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
    notice = task_failed(RUN, task_id, error, "http://airflow/log")
    assert headline in notice.subject
    assert notice.first
    assert dict(notice.links)["Runbook"] == f"docs/runbook.md#{entry}"


def test_a_failed_rehearsal_hits_nobody() -> None:
    rehearsal = Run("apex_rehearsal", RUN.run_id, RUN.url, RUN.runbook, NO_IMPACT)
    for run, hit in (
        (RUN, "no portfolio for the month"),
        (rehearsal, "Nobody: a rehearsal publishes nothing"),
    ):
        for notice in (task_failed(run, "handshake", REFUSAL, "log"), run_failed(run, "timed_out")):
            assert hit in dict(notice.facts)["Who is hit"]


def test_a_run_without_a_failed_task_gives_airflows_reason() -> None:
    notice = run_failed(RUN, "timed_out")
    assert notice.subject == "[APEX CRITICAL] apex_monthly failed without a failed task: timed_out"


def test_a_late_run_shows_what_is_missing_and_every_tasks_state() -> None:
    tasks = {"validate_bundle": "success", "dataset_fresh": "up_for_reschedule", "infer": None}
    notice = deadline_passed(RUN, Severity.WARNING, 60.0, DUE, tasks, failed=False, awaited=LATE)
    assert notice.subject == f"[APEX WARNING] apex_monthly is late: {LATE.what}"
    for text in both(notice):
        for word in (
            "2025-11-04 10:00 JST, 60 minutes after",
            "last date 2025-10-30",
            "validate_bundle success, dataset_fresh up_for_reschedule",
            "infer",
            "Check the data delivery.",
        ):
            assert word in text
    assert dict(notice.links)["Runbook"].endswith("#the-dataset-is-late")


def test_a_run_that_is_late_because_it_failed_says_so() -> None:
    tasks = {"dataset_fresh": "success", "infer": "failed"}
    notice = deadline_passed(RUN, Severity.CRITICAL, 180.0, DUE, tasks, failed=True, awaited=LATE)
    assert notice.subject == "[APEX CRITICAL] apex_monthly is late because it failed"
    assert "infer failed" in notice.slack
    assert "awaited" not in notice.slack
    assert "failed task's log" in notice.first


def test_a_run_that_is_late_and_works_shows_where() -> None:
    notice = deadline_passed(RUN, Severity.CRITICAL, 0.5, DUE, {"infer": None}, failed=False, awaited=None)
    assert notice.subject == "[APEX CRITICAL] apex_monthly is late"
    assert "none started" in notice.slack
    assert "0.5 minutes" in notice.slack


def test_a_published_month_is_summed_up() -> None:
    notice = published(RUN, SUMMARY, (), report_at=REPORT_AT)
    assert notice.subject == ("[APEX] 2025-11-04/v1 published: 49 positions, turnover 35.00%, cost 12.35 bps")
    assert notice.first == ""
    for text in both(notice):
        for word in (
            "2025-11-04, decided at the close of 2025-10-31",
            "2025-10-01/v1",
            "12,346 of 10,000,000 JPY",
            "69370 2.04%",
            "three prices are old",
            "/srv/apex/portfolio/2025-11-04/v1/report.html",
        ):
            assert word in text
    assert ("Report", REPORT_AT) in notice.links


def test_a_first_month_starts_from_cash_and_an_unchanged_one_says_so() -> None:
    summary = SUMMARY.model_copy(update={"parent": None, "verdict": MonthOutcome.UNCHANGED})
    notice = published(RUN, summary, (), report_at=REPORT_AT)
    assert "was published already, nothing changed" in notice.subject
    assert ("Starts from", "cash") in notice.facts


def test_alerts_that_did_not_stop_a_month_stand_in_its_message() -> None:
    notice = published(RUN, SUMMARY, (COSTLY,), report_at=REPORT_AT)
    assert notice.subject == (
        "[APEX WARNING] 2025-11-04/v1 published: WARNING: apex_daily_cost_bps = 25, alert when > 20"
    )
    for text in both(notice):
        assert "Look in orders.csv." in text
    assert ("Runbook apex_daily_cost_bps", "docs/runbook.md#high-costs") in notice.links


def wanted(*alerts: Alert, asked_before: bool = False, **changes: object) -> Notification:
    return approval_wanted(
        RUN,
        SUMMARY.model_copy(update={"verdict": MonthOutcome.PROPOSED, **changes}),
        alerts,
        until=DUE,
        report_at=f"{RUN.url}/plugin/portfolio",
        answer_at=f"{RUN.url}/tasks/approval/required_actions",
        asked_before=asked_before,
    )


def test_a_question_tells_what_is_asked_until_when_and_where() -> None:
    notice = wanted()
    book = "49 positions, turnover 35.00%, cost 12.35 bps"
    assert notice.subject == f"[APEX] 2025-11-04 awaits your approval: {book}"
    for text in both(notice):
        for word in (
            "2025-11-04 10:00 JST",
            "2025-10-31",
            "2025-10-01/v1",
            "three prices are old",
            RUN.run_id,
        ):
            assert word in text
    assert [label for label, _ in notice.links] == ["Report", "Approve or reject", "Runbook"]
    assert "asks again for your approval" in wanted(asked_before=True).headline
    warned = wanted(COSTLY)
    assert warned.severity is Severity.WARNING
    assert "Look in orders.csv." in both(warned)[0]


@given(st.text(max_size=200))
def test_nothing_from_data_marks_up_the_question(text: str) -> None:
    facts = wanted(warnings=(text,)).markdown.splitlines()
    (shown,) = [line for line in facts if line.startswith("- **Data warning:** ")]
    value = shown.removeprefix("- **Data warning:** ")
    assert not set(re.sub(r"\\[!-/:-@\[-`{-~]", "", value)) & set(r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~""")
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", value) == " ".join(text.split())


@pytest.mark.parametrize(
    ("kind", "entry"), [(Rejected, RunbookEntry.REJECTED), (Unanswered, RunbookEntry.UNANSWERED)]
)
def test_what_was_not_approved_leads_to_its_own_heading(kind: type[Refusal], entry: RunbookEntry) -> None:
    error = kind("it was not approved", expected="e", received="r", where="w", remedy="Ask.")
    notice = task_failed(RUN, "approval", error, "http://airflow/log")
    assert dict(notice.links)["Runbook"] == f"docs/runbook.md#{entry}"


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

    notice = late(failed=False)
    assert notice.subject == "[APEX WARNING] apex_monthly is late: it awaits a person's approval"
    assert dict(notice.links)["Approve or reject"] == page
    assert dict(notice.links)["Runbook"] == "docs/runbook.md#a-portfolio-awaits-approval"
    assert "Approve or reject" not in dict(late(failed=True).links)


def test_the_runbook_may_lie_anywhere() -> None:
    run = Run(RUN.dag_id, RUN.run_id, RUN.url, "https://wiki/apex")
    notice = published(run, SUMMARY, (COSTLY,), report_at=REPORT_AT)
    assert "https://wiki/apex#high-costs" in _Text(notice.html).addresses
    assert "<https://wiki/apex#high-costs|Runbook apex_daily_cost_bps>" in notice.slack


@given(st.text(st.characters(codec="utf-8", categories=("L", "P", "S", "Zs", "Cc")), max_size=300))
def test_no_text_of_an_error_becomes_markup(text: str) -> None:
    error = Refusal(text, expected=text, received=text, where=text, remedy=text)
    notice = task_failed(RUN, "infer", error, "http://airflow/log")
    plain = task_failed(RUN, "infer", REFUSAL, "http://airflow/log")
    assert "\n" not in notice.subject
    assert "\r" not in notice.subject
    assert _Text(notice.html).tags <= {*_Text(plain.html).tags, "br"}
    assert _Text(notice.html).addresses == _Text(plain.html).addresses
    assert re.findall(r"<[^>]*>", notice.slack) == re.findall(r"<[^>]*>", plain.slack)
    assert re.search(r"&(?!amp;|lt;|gt;)", notice.slack) is None


def test_an_overlong_error_is_cut_and_says_so() -> None:
    notice = task_failed(RUN, "infer", ValueError("x" * 5000), "http://airflow/log")
    assert len(notice.subject) < SUBJECT_CHARACTERS + 50
    assert "more characters in the log)" in notice.subject
    assert len(notice.slack) < 3000
    assert "(3512 more characters in the log)" in notice.slack


def test_every_heading_that_messages_link_to_is_in_the_runbook() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert {str(entry) for entry in RunbookEntry} - anchors == set()


def _comparison(
    metric: Metric, live: float, verdict: deviation.DeviationVerdict
) -> deviation.BenchmarkComparison:
    return deviation.BenchmarkComparison(
        metric=metric,
        measure="Sharpe ratio" if metric is Metric.SHARPE else "winning days in %",
        live=live,
        benchmark=1.0,
        deviation=abs(live - 1.0),
        better=live > 1.0,
        verdict=verdict,
    )


def _report(*attention: CheckName) -> PerformanceReport:
    return PerformanceReport(
        synthetic=False,
        portfolio="2025-10-01/v1",
        first_marked=dt.date(2025, 7, 1),
        last_marked=dt.date(2025, 10, 10),
        sessions=70,
        last_session=dt.date(2025, 10, 10),
        performance=None,
        intervals={"sharpe_ratio": (-0.5, 1.5)},
        comparisons=(
            _comparison(Metric.SHARPE, 0.5, deviation.DeviationVerdict.DEVIATES),
            _comparison(Metric.WIN_RATE, 1.1, deviation.DeviationVerdict.WITHIN),
        ),
        turnovers=(RebalanceTurnover(portfolio="2025-10-01/v1", turnover=0.35),),
        mean_turnover=0.35,
        checks=tuple(
            Check(
                name=name,
                verdict=CheckVerdict.ATTENTION if name in attention else CheckVerdict.OK,
                finding=f"finding of {name}",
                first=f"Do {name} first." if name in attention else "",
            )
            for name in CheckName
        ),
        benchmarks_of="a" * 64,
        backtest_period="",
        ignored_benchmarks=(),
        ledger="ledger/2025-10-10-key",
        warnings=(),
    )


def test_a_deviation_tells_the_figures_and_answers_the_four_checks() -> None:
    notice = deviated(RUN, _report(CheckName.INTEGRITY, CheckName.DRIFT))
    assert notice.subject == (
        "[APEX WARNING] live performance deviates: Sharpe ratio 0.5 against 1, 50% below (worse)"
    )
    for text in both(notice):
        for name in CheckName:
            verdict = "ATTENTION" if name in (CheckName.INTEGRITY, CheckName.DRIFT) else "OK"
            assert f"{verdict}: finding of {name}" in text
        for words in ("may be chance", "winning days in % 1.1", "70 sessions", "ledger/2025-10-10-key"):
            assert words in text
    assert notice.first == "Do checkpoint integrity first. Do drift of features and scores first."
    assert dict(notice.links)["Runbook"] == "docs/runbook.md#live-performance-deviates"


def test_a_deviation_without_a_cause_says_what_is_left_to_do() -> None:
    assert deviated(RUN, _report()).first.startswith("No check names a cause: compare the fills")


def test_a_failure_of_the_watching_hits_nobodys_orders() -> None:
    watching = Run("apex_performance", "r", "http://airflow/r", "docs/runbook.md", NOBODY_WATCHES_THE_BOOK)
    for notice in (task_failed(watching, "mark_ledger", REFUSAL, "log"), run_failed(watching, "timed_out")):
        assert NOBODY_WATCHES_THE_BOOK in dict(notice.facts).values()
