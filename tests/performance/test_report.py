"""The report of a performance run: what deviates, and that older ones stay readable."""

from __future__ import annotations

from apex_tasks.performance.benchmarks import Metric
from apex_tasks.performance.deviation import BenchmarkComparison, DeviationVerdict
from apex_tasks.performance.report import PerformanceReport

COMPARISON = BenchmarkComparison(
    metric=Metric.SHARPE,
    measure="Sharpe ratio",
    live=0.5,
    benchmark=1.5,
    deviation=2 / 3,
    better=False,
    verdict=DeviationVerdict.DEVIATES,
)


def report(*comparisons: BenchmarkComparison, **intervals: tuple[float, float]) -> PerformanceReport:
    return PerformanceReport(
        synthetic=False,
        portfolio="2025-10-01/v1",
        first_marked=None,
        last_marked=None,
        sessions=0,
        last_session="2025-10-10",
        performance=None,
        intervals=intervals,
        comparisons=comparisons,
        turnovers=(),
        mean_turnover=None,
        checks=(),
        benchmarks_of="b",
        backtest_period="",
        ignored_benchmarks=(),
        ledger="ledger/x",
        warnings=(),
    )


def test_only_what_deviates_and_is_judged_is_deviating() -> None:
    others = [COMPARISON.model_copy(update={"verdict": verdict}) for verdict in DeviationVerdict]
    assert report(*others).deviating == (COMPARISON,)
    assert report().deviating == ()


def test_a_report_of_an_older_version_is_read() -> None:
    """Reports before the intervals of the benchmarks have none, and no rate of false alarms."""
    stored = report(COMPARISON).model_dump(mode="json")
    for field in ("training_period", "validation", "false_alarm_rate"):
        del stored[field]
    for field in ("interval", "large"):
        del stored["comparisons"][0][field]
    old = PerformanceReport.model_validate(stored)
    assert old == report(COMPARISON)
    assert (old.false_alarm_rate, old.comparisons[0].interval) == (None, None)
