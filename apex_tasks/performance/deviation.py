"""Live figures against their benchmarks: by how much they deviate, in which direction, and whether that is judged."""

from __future__ import annotations

import math
from enum import StrEnum

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.performance.benchmarks import Benchmarks, Metric
from apex_tasks.settings import PerformanceSettings
from apex_tasks.statistics.performance import SESSIONS_PER_YEAR, Performance

PACED = (Metric.RETURN, Metric.COSTS)
"""Figures that grow with the length of a period: their yearly paces are compared."""
LOWER_IS_BETTER = (Metric.DRAWDOWN, Metric.COSTS)


class DeviationVerdict(StrEnum):
    """What a comparison says."""

    WITHIN = "within bounds"
    DEVIATES = "deviates"
    NOT_JUDGED = "not judged"
    NOT_COMPARABLE = "not comparable"


class BenchmarkComparison(FrozenModel):
    """One live figure and its benchmark.

    Attributes
    ----------
    metric
        The manifest's key.
    measure
        What is compared, with its unit.
    live, benchmark
        The two figures; None where there is none.
    deviation
        ``|live - benchmark| / |benchmark|``; None where either is missing or the benchmark is 0.
    better
        Whether the live figure is on the good side of its benchmark; None without a deviation.
    verdict, reason
        What follows, and why nothing does where nothing does.
    """

    metric: Metric
    measure: str
    live: float | None
    benchmark: float | None
    deviation: float | None
    better: bool | None
    verdict: DeviationVerdict
    reason: str = ""

    def __str__(self) -> str:
        if self.live is None or self.benchmark is None or self.deviation is None:
            return f"{self.measure}: {self.verdict}, {self.reason}"
        side = "above" if self.live > self.benchmark else "below"
        direction = "better" if self.better else "worse"
        figures = f"{self.live:.3g} against {self.benchmark:.3g}, {self.deviation:.0%} {side} ({direction})"
        text = f"{self.measure} {figures}"
        return f"{text}: {self.reason}" if self.reason else text


MEASURES = {
    Metric.SHARPE: "Sharpe ratio",
    Metric.RETURN: "return a year in %",
    Metric.DRAWDOWN: "largest drawdown in %",
    Metric.WIN_RATE: "winning days in %",
    Metric.COSTS: "costs a year in % of the capital",
}


def compare_with_benchmarks(
    live: Performance | None, sessions: int, benchmarks: Benchmarks, settings: PerformanceSettings
) -> tuple[BenchmarkComparison, ...]:
    """Compare every metric; a deviation beyond `max_deviation` counts in both directions.

    Being far better than the benchmark deviates as well: it can mean that the future has leaked into the data. Total
    return and costs are compared at their yearly paces, over 252 sessions a year: ``(1 + T) ** (252 / n) - 1`` and
    ``cost * 252 / n``. A drawdown smaller than that of a longer period is shown and not judged: it has had
    less time to grow.

    Parameters
    ----------
    live
        Figures of the ledger; None before the first session is marked.
    sessions
        Sessions of live history.

    Returns
    -------
    tuple of BenchmarkComparison
        One per `Metric`, in its order.
    """
    return tuple(_compare(metric, live, sessions, benchmarks, settings) for metric in Metric)


def _compare(
    metric: Metric,
    live: Performance | None,
    sessions: int,
    benchmarks: Benchmarks,
    settings: PerformanceSettings,
) -> BenchmarkComparison:
    now = None if live is None else _live(metric, live, sessions)
    claimed, problem = _claimed(metric, benchmarks)
    if now is None:
        problem = problem or (
            "no session has been marked yet" if live is None else f"undefined over {sessions} sessions"
        )
    if claimed == 0:
        problem = problem or "the benchmark is 0, so there is no share of it"
    if problem or now is None or claimed is None:
        return _comparison(metric, now, claimed, None, None, DeviationVerdict.NOT_COMPARABLE, problem)
    deviation = abs(now - claimed) / abs(claimed)
    if not math.isfinite(deviation):
        reason = "the benchmark is next to 0, and the deviation beyond any number"
        return _comparison(metric, now, claimed, None, None, DeviationVerdict.NOT_COMPARABLE, reason)
    better = (now < claimed) if metric in LOWER_IS_BETTER else (now > claimed)
    verdict, reason = _verdict(metric, deviation, better, sessions, benchmarks, settings)
    return _comparison(metric, now, claimed, deviation, better, verdict, reason)


def _verdict(
    metric: Metric,
    deviation: float,
    better: bool,
    sessions: int,
    benchmarks: Benchmarks,
    settings: PerformanceSettings,
) -> tuple[DeviationVerdict, str]:
    if sessions < settings.min_sessions:
        return (
            DeviationVerdict.NOT_JUDGED,
            f"{sessions} of the {settings.min_sessions} sessions that a judgement needs",
        )
    if deviation <= settings.max_deviation:
        return DeviationVerdict.WITHIN, ""
    if (
        metric is Metric.DRAWDOWN
        and better
        and (benchmarks.sessions is None or sessions < benchmarks.sessions)
    ):
        longer = (
            "a period of unknown length" if benchmarks.sessions is None else f"{benchmarks.sessions} sessions"
        )
        return DeviationVerdict.NOT_JUDGED, f"the benchmark is of {longer}, and a drawdown grows with time"
    return DeviationVerdict.DEVIATES, ""


def _claimed(metric: Metric, benchmarks: Benchmarks) -> tuple[float | None, str]:
    """Benchmark, at its yearly pace where it has one, or why there is none."""
    value = benchmarks.values.get(metric)
    if value is None:
        return None, benchmarks.unreadable[metric]
    if metric not in PACED:
        return value, ""
    if benchmarks.sessions is None:
        return None, benchmarks.period_problem
    if metric is Metric.COSTS:
        return value * SESSIONS_PER_YEAR / benchmarks.sessions, ""
    try:
        return ((1 + value / 100) ** (SESSIONS_PER_YEAR / benchmarks.sessions) - 1) * 100, ""
    except OverflowError:
        return None, f"its yearly pace over {benchmarks.sessions} sessions is beyond any number"


def _live(metric: Metric, live: Performance, sessions: int) -> float | None:
    match metric:
        case Metric.SHARPE:
            return live.sharpe_ratio
        case Metric.RETURN:
            return live.annualized_return
        case Metric.DRAWDOWN:
            return live.max_drawdown
        case Metric.WIN_RATE:
            return None if live.win_rate is None else live.win_rate * 100
        case Metric.COSTS:
            return live.cost_pct_of_capital * SESSIONS_PER_YEAR / sessions


def _comparison(
    metric: Metric,
    live: float | None,
    benchmark: float | None,
    deviation: float | None,
    better: bool | None,
    verdict: DeviationVerdict,
    reason: str,
) -> BenchmarkComparison:
    return BenchmarkComparison(
        metric=metric,
        measure=MEASURES[metric],
        live=live,
        benchmark=benchmark,
        deviation=deviation,
        better=better,
        verdict=verdict,
        reason=reason,
    )
