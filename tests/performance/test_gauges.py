"""Gauges of the live performance: every figure in the unit of its name."""

from __future__ import annotations

from apex_tasks.performance.deviation import BenchmarkComparison, DeviationVerdict
from apex_tasks.performance.gauges import performance_gauges
from apex_tasks.performance.report import PerformanceReport
from apex_tasks.statistics.performance import measure_performance


def report(**changes: object) -> PerformanceReport:
    deviating = BenchmarkComparison.model_validate(
        {
            "metric": "sharpe_ratio",
            "measure": "Sharpe ratio",
            "live": 0.5,
            "benchmark": 1.5,
            "deviation": 0.67,
            "better": False,
            "verdict": DeviationVerdict.DEVIATES,
        }
    )
    within = deviating.model_copy(update={"verdict": DeviationVerdict.WITHIN})
    fields = {
        "synthetic": False,
        "portfolio": "2025-10-01/v1",
        "first_marked": None,
        "last_marked": None,
        "sessions": 3,
        "last_session": "2025-10-10",
        "performance": measure_performance(
            [101.0, 99.0, 102.0], initial_capital_jpy=100.0, total_trades=2, total_cost_jpy=1.0
        ),
        "intervals": {},
        "comparisons": (deviating, within),
        "turnovers": (),
        "mean_turnover": 0.25,
        "checks": (),
        "benchmarks_of": "b",
        "backtest_period": "",
        "ignored_benchmarks": (),
        "ledger": "ledger/x",
        "warnings": (),
    }
    return PerformanceReport.model_validate({**fields, **changes})


def test_every_figure_has_its_gauge() -> None:
    shown = {gauge.name: gauge.value for gauge in performance_gauges(report())}
    performance = report().performance
    assert performance is not None
    assert shown == {
        "live_sharpe_ratio": performance.sharpe_ratio,
        "live_total_return_pct": performance.total_return,
        "live_yearly_return_pct": performance.annualized_return,
        "live_max_drawdown_pct": performance.max_drawdown,
        "live_win_rate": 0.5,
        "live_cost_pct": 1.0,
        "live_mean_turnover": 0.25,
        "live_sessions": 3,
        "live_deviations": 1,
    }


def test_before_the_first_session_only_the_counts_have_a_value() -> None:
    early = report(performance=None, mean_turnover=None, sessions=0, comparisons=())
    shown = {gauge.name: gauge.value for gauge in performance_gauges(early) if gauge.value is not None}
    assert shown == {"live_sessions": 0, "live_deviations": 0}
