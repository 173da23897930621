"""Deviations with figures that were reckoned by hand."""

from __future__ import annotations

from typing import Any

import pytest

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.performance.benchmarks import Benchmarks, Metric, read_benchmarks
from apex_tasks.performance.deviation import BenchmarkComparison, DeviationVerdict, compare_with_benchmarks
from apex_tasks.settings import PerformanceSettings
from apex_tasks.statistics.performance import Performance

CALENDAR = TseCalendar.load()
SETTINGS = PerformanceSettings()
BENCHMARKS = Benchmarks(
    {
        Metric.SHARPE: 1.5,
        Metric.RETURN: 21.0,  # over two years of 252 sessions: 10 % a year
        Metric.DRAWDOWN: 16.0,
        Metric.WIN_RATE: 55.0,
        Metric.COSTS: 4.0,  # 2 % a year
    },
    {},
    504,
    "two years",
    "",
    (),
)


def live(**changes: Any) -> Performance:
    """A year that does exactly what the benchmark says."""
    figures = {
        "total_return": 10.0,
        "annualized_return": 10.0,
        "sharpe_ratio": 1.5,
        "sortino_ratio": None,
        "max_drawdown": 16.0,
        "calmar_ratio": None,
        "win_rate": 0.55,
        "total_trades": 1,
        "total_cost_jpy": 200_000.0,
        "cost_pct_of_capital": 2.0,
        "avg_daily_cost_bps": 0.0,
    }
    return Performance.model_validate({**figures, **changes})


def compare(
    figures: Performance | None, sessions: int = 252, benchmarks: Benchmarks = BENCHMARKS
) -> dict[Metric, BenchmarkComparison]:
    return {found.metric: found for found in compare_with_benchmarks(figures, sessions, benchmarks, SETTINGS)}


def test_a_book_that_does_what_the_benchmark_says_deviates_nowhere() -> None:
    found = compare(live())
    assert list(found) == list(Metric)
    assert {one.verdict for one in found.values()} == {DeviationVerdict.WITHIN}
    assert [one.deviation for one in found.values()] == pytest.approx([0] * 5, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "figure", "deviation", "better"),
    [
        (Metric.SHARPE, {"sharpe_ratio": 1.05}, 0.30, False),
        (Metric.SHARPE, {"sharpe_ratio": 1.95}, 0.30, True),
        (Metric.SHARPE, {"sharpe_ratio": -1.5}, 2.00, False),
        (Metric.RETURN, {"annualized_return": 5.0}, 0.50, False),
        (Metric.RETURN, {"annualized_return": 14.0}, 0.40, True),
        (Metric.DRAWDOWN, {"max_drawdown": 20.0}, 0.25, False),
        (Metric.WIN_RATE, {"win_rate": 0.40}, 15 / 55, False),
        (Metric.WIN_RATE, {"win_rate": 0.70}, 15 / 55, True),
        (Metric.COSTS, {"cost_pct_of_capital": 3.0}, 0.50, False),
        (Metric.COSTS, {"cost_pct_of_capital": 1.0}, 0.50, True),
    ],
)
def test_a_deviation_counts_in_both_directions_and_says_which(
    metric: Metric, figure: dict[str, float], deviation: float, better: bool
) -> None:
    found = compare(live(**figure))
    assert found[metric].deviation == pytest.approx(deviation)
    assert (found[metric].better, found[metric].verdict) == (better, DeviationVerdict.DEVIATES)
    assert ("better" if better else "worse") in str(found[metric])
    assert [name for name in found if found[name].verdict is DeviationVerdict.DEVIATES] == [metric]


def test_the_bound_itself_is_within() -> None:
    settings = PerformanceSettings(max_deviation=0.25)
    at, beyond = (
        compare_with_benchmarks(live(sharpe_ratio=sharpe), 252, BENCHMARKS, settings)[0].verdict
        for sharpe in (1.125, 1.124)
    )
    assert (at, beyond) == (DeviationVerdict.WITHIN, DeviationVerdict.DEVIATES)


@pytest.mark.parametrize(
    ("sessions", "verdict"), [(59, DeviationVerdict.NOT_JUDGED), (60, DeviationVerdict.DEVIATES)]
)
def test_a_short_history_is_shown_and_not_judged(sessions: int, verdict: DeviationVerdict) -> None:
    found = compare(live(sharpe_ratio=0.1), sessions)[Metric.SHARPE]
    assert (found.verdict, found.deviation) == (verdict, pytest.approx(1.4 / 1.5))
    if verdict is DeviationVerdict.NOT_JUDGED:
        assert "59 of the 60 sessions" in str(found)


@pytest.mark.parametrize(
    ("sessions", "verdict"),
    [
        (252, DeviationVerdict.NOT_JUDGED),
        (503, DeviationVerdict.NOT_JUDGED),
        (504, DeviationVerdict.DEVIATES),
    ],
)
def test_a_smaller_drawdown_is_judged_once_it_had_as_long_to_grow(
    sessions: int, verdict: DeviationVerdict
) -> None:
    found = compare(live(max_drawdown=4.0), sessions)[Metric.DRAWDOWN]
    assert (found.verdict, found.better) == (verdict, True)


def test_costs_are_paced_by_the_length_of_either_period() -> None:
    found = compare(live(cost_pct_of_capital=0.5), sessions=63)[Metric.COSTS]
    assert (found.live, found.benchmark) == (pytest.approx(2.0), pytest.approx(2.0))


def test_the_real_claims_have_their_yearly_paces() -> None:
    block = {
        "total_return": 44.85,
        "max_drawdown": 16.40,
        "transaction_costs_pct": 3.70,
        "backtest_period": "2024-01-01 to 2025-10-31",
    }
    found = compare(live(), benchmarks=read_benchmarks(block, CALENDAR))
    assert found[Metric.RETURN].benchmark == pytest.approx((1.4485 ** (252 / 448) - 1) * 100)
    assert found[Metric.COSTS].benchmark == pytest.approx(3.70 * 252 / 448)
    assert found[Metric.SHARPE].verdict is DeviationVerdict.NOT_COMPARABLE


@pytest.mark.parametrize(
    ("figures", "changed", "metric", "reason"),
    [
        (None, {}, Metric.SHARPE, "no session has been marked yet"),
        (live(sharpe_ratio=None), {}, Metric.SHARPE, "undefined over 252 sessions"),
        (live(), {"values": {**BENCHMARKS.values, Metric.SHARPE: 0.0}}, Metric.SHARPE, "the benchmark is 0"),
        (live(), {"values": {Metric.SHARPE: 5e-324}}, Metric.SHARPE, "next to 0"),
        (live(), {"sessions": None, "period_problem": "no period"}, Metric.RETURN, "no period"),
        (live(), {"sessions": 1, "values": {Metric.RETURN: 1e300}}, Metric.RETURN, "beyond any number"),
    ],
)
def test_what_cannot_be_compared_says_why(
    figures: Performance | None, changed: dict[str, Any], metric: Metric, reason: str
) -> None:
    fields = {**BENCHMARKS.__dict__, "unreadable": dict.fromkeys(Metric, "none"), **changed}
    found = compare(figures, benchmarks=Benchmarks(**fields))[metric]
    assert (found.verdict, found.deviation) == (DeviationVerdict.NOT_COMPARABLE, None)
    assert reason in str(found)
