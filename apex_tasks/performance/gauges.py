"""What the live performance looks like from outside: gauges of the newest evaluation."""

from __future__ import annotations

from apex_tasks.monitoring.gauges import Gauge
from apex_tasks.performance.report import PerformanceReport


def performance_gauges(report: PerformanceReport) -> list[Gauge]:
    """Live figures in the units of their names, and how many of them deviate from their benchmarks."""
    live = report.performance
    figures: dict[str, float | None] = {
        "live_sharpe_ratio": None if live is None else live.sharpe_ratio,
        "live_total_return_pct": None if live is None else live.total_return,
        "live_yearly_return_pct": None if live is None else live.annualized_return,
        "live_max_drawdown_pct": None if live is None else live.max_drawdown,
        "live_win_rate": None if live is None else live.win_rate,
        "live_cost_pct": None if live is None else live.cost_pct_of_capital,
        "live_mean_turnover": report.mean_turnover,
        "live_sessions": report.sessions,
        "live_deviations": len(report.deviating),
    }
    return [Gauge(name, value) for name, value in figures.items()]
