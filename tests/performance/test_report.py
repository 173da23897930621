"""The report of a performance run: what deviates, and what an interval says of it."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    ("interval", "note"),
    [
        ((-0.5, 2.0), "95 % interval -0.5 to 2: may be chance"),
        ((-0.5, 1.5), "95 % interval -0.5 to 1.5: may be chance"),
        ((-0.5, 1.25), "95 % interval -0.5 to 1.25: more than chance"),
        ((1.75, 3.0), "95 % interval 1.75 to 3: more than chance"),
    ],
)
def test_an_interval_says_whether_chance_could_explain_it(interval: tuple[float, float], note: str) -> None:
    assert report(sharpe_ratio=interval).interval_note(COMPARISON) == note


def test_without_an_interval_or_a_benchmark_there_is_nothing_to_say() -> None:
    assert report().interval_note(COMPARISON) == ""
    unknown = COMPARISON.model_copy(update={"benchmark": None})
    assert report(sharpe_ratio=(0.0, 1.0)).interval_note(unknown) == ""
