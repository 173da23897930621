"""Live figures against their benchmarks: by how much they deviate, and whether by more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.performance.benchmarks import Benchmarks, Metric
from apex_tasks.performance.intervals import JUDGED
from apex_tasks.settings import PerformanceSettings
from apex_tasks.statistics.performance import SESSIONS_PER_YEAR, Performance

PACED = (Metric.RETURN, Metric.COSTS)
"""Figures that grow with the length of a period: their yearly paces are compared."""
LOWER_IS_BETTER = (Metric.DRAWDOWN, Metric.COSTS)
IN_SAMPLE_OR_UNKNOWN = "in-sample or unknown"


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
        ``|live - benchmark| / |benchmark|``; None where either is missing or the benchmark is 0 or next to it.
    better
        Whether the live figure is on the good side of its benchmark; None where either is missing.
    verdict, reason
        What follows, and why nothing does where nothing does.
    interval
        Where the benchmark is expected if nothing differs but by chance; None where that is not known.
    large
        Whether the deviation is above `max_deviation`: shown, and alarms on nothing; None without a deviation.
    """

    metric: Metric
    measure: str
    live: float | None
    benchmark: float | None
    deviation: float | None
    better: bool | None
    verdict: DeviationVerdict
    reason: str = ""
    interval: tuple[float, float] | None = None
    large: bool | None = None

    def __str__(self) -> str:
        if self.live is None or self.benchmark is None or self.better is None:
            return f"{self.measure}: {self.verdict}, {self.reason}"
        side = "above" if self.live > self.benchmark else "below"
        direction = "better" if self.better else "worse"
        share = "" if self.deviation is None else f"{self.deviation:.0%} "
        figures = f"{self.live:.3g} against {self.benchmark:.3g}, {share}{side} ({direction})"
        expected = "" if self.interval is None else "; chance allows {:.3g} to {:.3g}".format(*self.interval)
        text = f"{self.measure} {figures}{expected}"
        return f"{text}: {self.reason}" if self.reason else text


MEASURES = {
    Metric.SHARPE: "Sharpe ratio",
    Metric.RETURN: "return a year in %",
    Metric.DRAWDOWN: "largest drawdown in %",
    Metric.WIN_RATE: "winning days in %",
    Metric.COSTS: "costs a year in % of the capital",
}


def compare_with_benchmarks(
    live: Performance | None,
    sessions: int,
    benchmarks: Benchmarks,
    intervals: Mapping[Metric, tuple[float, float]],
    settings: PerformanceSettings,
) -> tuple[BenchmarkComparison, ...]:
    """Compare every metric; a benchmark outside its interval deviates, on either side.

    Being far better than the benchmark deviates as well: it can mean that the future has leaked into the data. Total
    return and costs are compared at their yearly paces, over 252 sessions a year: ``(1 + T) ** (252 / n) - 1`` and
    ``cost * 252 / n``. Benchmarks whose period is not known to be after the training are shown and compared with
    nothing: what a model does on days that it has learned says nothing of those that follow.

    Parameters
    ----------
    live
        Figures of the ledger; None before the first session is marked.
    sessions
        Sessions of live history.
    intervals
        Where each benchmark is expected, in the unit of its comparison.

    Returns
    -------
    tuple of BenchmarkComparison
        One per `Metric`, in its order.
    """
    return tuple(
        _compare(metric, live, sessions, benchmarks, intervals.get(metric), settings) for metric in Metric
    )


def _compare(
    metric: Metric,
    live: Performance | None,
    sessions: int,
    benchmarks: Benchmarks,
    interval: tuple[float, float] | None,
    settings: PerformanceSettings,
) -> BenchmarkComparison:
    now = None if live is None else _live(metric, live, sessions)
    claimed, problem = _claimed(metric, benchmarks)
    if now is None:
        problem = problem or (
            "no session has been marked yet" if live is None else f"undefined over {sessions} sessions"
        )
    if problem or now is None or claimed is None:
        return BenchmarkComparison(
            metric=metric,
            measure=MEASURES[metric],
            live=now,
            benchmark=claimed,
            deviation=None,
            better=None,
            verdict=DeviationVerdict.NOT_COMPARABLE,
            reason=problem,
        )
    share = abs(now - claimed) / abs(claimed) if claimed else math.inf
    deviation = share if math.isfinite(share) else None
    if benchmarks.in_sample_problem:
        interval = None
    verdict, reason = _verdict(metric, claimed, sessions, benchmarks, interval, settings)
    return BenchmarkComparison(
        metric=metric,
        measure=MEASURES[metric],
        live=now,
        benchmark=claimed,
        deviation=deviation,
        better=(now < claimed) if metric in LOWER_IS_BETTER else (now > claimed),
        verdict=verdict,
        reason=reason,
        interval=interval,
        large=None if deviation is None else deviation > settings.max_deviation,
    )


def _verdict(
    metric: Metric,
    claimed: float,
    sessions: int,
    benchmarks: Benchmarks,
    interval: tuple[float, float] | None,
    settings: PerformanceSettings,
) -> tuple[DeviationVerdict, str]:
    if benchmarks.in_sample_problem:
        return (
            DeviationVerdict.NOT_COMPARABLE,
            f"{IN_SAMPLE_OR_UNKNOWN}: {benchmarks.in_sample_problem}",
        )
    if metric not in JUDGED:
        return DeviationVerdict.NOT_JUDGED, "a few rebalances do not say how much it varies"
    if sessions < settings.min_sessions:
        return (
            DeviationVerdict.NOT_JUDGED,
            f"{sessions} of the {settings.min_sessions} sessions that a judgement needs",
        )
    if interval is None:
        return DeviationVerdict.NOT_JUDGED, f"no interval follows from these {sessions} sessions"
    low, high = interval
    return (DeviationVerdict.WITHIN if low <= claimed <= high else DeviationVerdict.DEVIATES), ""


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
