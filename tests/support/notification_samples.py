"""One message of every kind, and some that try to break the renderings."""

from __future__ import annotations

import datetime as dt

from apex_tasks.monthly.summary import MonthOutcome, MonthSummary, TopName
from apex_tasks.notifications.messages import (
    Run,
    approval_wanted,
    deadline_passed,
    deviated,
    published,
    run_failed,
    task_failed,
)
from apex_tasks.notifications.notification import Notification
from apex_tasks.performance import deviation
from apex_tasks.performance.benchmarks import Metric
from apex_tasks.performance.checks.check import Check, CheckName, CheckVerdict
from apex_tasks.performance.report import PerformanceReport, RebalanceTurnover
from apex_tasks.published.run_document import Alert
from apex_tasks.refusal import DatasetLate, Refusal
from apex_tasks.settings import Severity

RUN = Run("apex_monthly", "scheduled__2025-11-04", "http://airflow/dags/d/runs/r", "docs/runbook.md")
REPORT_AT = "https://airflow.example.com/dags/apex/runs/1/plugin/portfolio"
ANSWER_AT = f"{RUN.url}/tasks/approval/required_actions"
DUE = dt.datetime(2025, 11, 4, 1, 0, tzinfo=dt.UTC)
REFUSAL = Refusal(
    "checkpoint hash differs",
    expected="639c",
    received="ab12",
    where="m.pt",
    remedy="Fetch the bundle again.",
)
LATE = DatasetLate(
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
HOSTILE = (
    "<script>alert('x')</script> & \"quoted\" {{ 6 * 7 }} {% raw %} {# gone #} *bold* _it_ `code` [a](b) <http://x|y>\n"
    "# heading\r\n- item\n\n> quote &amp; &#39; \\ 東京 … \u2028 end\n"
)


def question(*alerts: Alert, asked_before: bool = False, **changes: object) -> Notification:
    """The question whether the sample month is published."""
    return approval_wanted(
        RUN,
        SUMMARY.model_copy(update={"verdict": MonthOutcome.PROPOSED, **changes}),
        alerts,
        until=DUE,
        report_at=f"{RUN.url}/plugin/portfolio",
        answer_at=ANSWER_AT,
        asked_before=asked_before,
    )


def performance_report(*attention: CheckName) -> PerformanceReport:
    """A deviating Sharpe ratio, and these checks with something to do."""
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
            _comparison(Metric.SHARPE, 0.5, deviation.DeviationVerdict.DEVIATES, (-0.5, 0.9)),
            _comparison(Metric.WIN_RATE, 1.1, deviation.DeviationVerdict.WITHIN),
        ),
        turnovers=(RebalanceTurnover(portfolio="2025-10-01/v1", turnover=0.35),),
        mean_turnover=0.35,
        checks=tuple(
            Check(
                name=name,
                verdict=CheckVerdict.ATTENTION if name in attention else CheckVerdict.OK,
                finding=f"finding of {name}",
                remedy=f"Do {name} first." if name in attention else "",
            )
            for name in CheckName
        ),
        benchmarks_of="a" * 64,
        backtest_period="",
        ignored_benchmarks=(),
        ledger="ledger/2025-10-10-key",
        warnings=(),
    )


def _comparison(
    metric: Metric,
    live: float,
    verdict: deviation.DeviationVerdict,
    interval: tuple[float, float] | None = None,
) -> deviation.BenchmarkComparison:
    return deviation.BenchmarkComparison(
        metric=metric,
        measure="Sharpe ratio" if metric is Metric.SHARPE else "winning days in %",
        live=live,
        benchmark=1.0,
        deviation=abs(live - 1.0),
        better=live > 1.0,
        verdict=verdict,
        interval=interval,
    )


def sample_notifications() -> dict[str, Notification]:
    """Every kind of message by a name of its own."""
    hostile = Refusal(HOSTILE, expected=HOSTILE, received=HOSTILE, where=HOSTILE, remedy=HOSTILE)
    states = {"validate_bundle": "success", "dataset_fresh": "up_for_reschedule", "infer": None}
    elsewhere = Run(RUN.dag_id, RUN.run_id, "http://airflow/r?a=1&b='2'", 'https://wiki/apex?x="1"&y=2')
    return {
        "refused": task_failed(RUN, "validate_bundle", REFUSAL, "http://airflow/log?try=1&map=-1"),
        "killed": task_failed(RUN, "infer", None, "http://airflow/log"),
        "bug": task_failed(RUN, "infer", ValueError("x" * 5000), "http://airflow/log"),
        "hostile": task_failed(elsewhere, "infer", hostile, "no <url> & 'so'"),
        "run failed": run_failed(RUN, "timed_out"),
        "late": deadline_passed(RUN, Severity.WARNING, 60.0, DUE, states, failed=False, awaited=LATE),
        "late, unanswered": deadline_passed(
            RUN, Severity.CRITICAL, 0.5, DUE, {}, failed=False, awaited=None, answer_at=ANSWER_AT
        ),
        "late, failed": deadline_passed(RUN, Severity.CRITICAL, 180, DUE, states, failed=True, awaited=LATE),
        "question": question(),
        "question with an alert": question(COSTLY, asked_before=True),
        "published": published(RUN, SUMMARY, (), report_at=REPORT_AT),
        "published with an alert": published(elsewhere, SUMMARY, (COSTLY,), report_at=REPORT_AT),
        "deviated": deviated(RUN, performance_report(CheckName.INTEGRITY, CheckName.DRIFT)),
        "deviated without a cause": deviated(RUN, performance_report()),
        "empty": Notification(None, "nothing", (), "", ()),
        "without links": Notification(Severity.WARNING, " two \n lines ", (("A", HOSTILE),), HOSTILE, ()),
        "without facts": Notification(None, HOSTILE, (), "Do it.\n", (("Here", "http://x"), ("There", "y"))),
    }
