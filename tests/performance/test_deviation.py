"""Deviations with figures that were reckoned by hand."""

from __future__ import annotations

import dataclasses
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


INTERVALS = {
    Metric.SHARPE: (1.2, 1.8),
    Metric.RETURN: (8.0, 12.0),
    Metric.DRAWDOWN: (12.0, 18.0),
    Metric.WIN_RATE: (50.0, 60.0),
}


def compare(
    figures: Performance | None,
    sessions: int = 252,
    benchmarks: Benchmarks = BENCHMARKS,
    **intervals: tuple[float, float],
) -> dict[Metric, BenchmarkComparison]:
    allowed = {**INTERVALS, **{Metric(metric): ends for metric, ends in intervals.items()}}
    return {
        found.metric: found
        for found in compare_with_benchmarks(figures, sessions, benchmarks, allowed, SETTINGS)
    }


def test_a_book_that_does_what_the_benchmark_says_deviates_nowhere() -> None:
    found = compare(live())
    assert list(found) == list(Metric)
    assert {one.verdict for one in found.values()} == {DeviationVerdict.WITHIN, DeviationVerdict.NOT_JUDGED}
    assert found[Metric.COSTS].verdict is DeviationVerdict.NOT_JUDGED
    assert [one.deviation for one in found.values()] == pytest.approx([0] * 5, abs=1e-12)
    assert not any(one.large for one in found.values())


@pytest.mark.parametrize(
    ("metric", "interval", "figure", "deviation", "better"),
    [
        (Metric.SHARPE, (0.2, 1.4), {"sharpe_ratio": 1.05}, 0.30, False),
        (Metric.SHARPE, (1.6, 2.2), {"sharpe_ratio": 1.95}, 0.30, True),
        (Metric.SHARPE, (-3.0, 0.0), {"sharpe_ratio": -1.5}, 2.00, False),
        (Metric.RETURN, (4.0, 6.0), {"annualized_return": 5.0}, 0.50, False),
        (Metric.RETURN, (11.0, 17.0), {"annualized_return": 14.0}, 0.40, True),
        (Metric.DRAWDOWN, (17.0, 30.0), {"max_drawdown": 20.0}, 0.25, False),
        (Metric.DRAWDOWN, (2.0, 9.0), {"max_drawdown": 4.0}, 0.75, True),
        (Metric.WIN_RATE, (30.0, 50.0), {"win_rate": 0.40}, 15 / 55, False),
        (Metric.WIN_RATE, (60.0, 80.0), {"win_rate": 0.70}, 15 / 55, True),
    ],
)
def test_a_benchmark_outside_its_interval_deviates_on_either_side(
    metric: Metric, interval: tuple[float, float], figure: dict[str, float], deviation: float, better: bool
) -> None:
    found = compare(live(**figure), **{str(metric): interval})
    assert found[metric].deviation == pytest.approx(deviation)
    assert (found[metric].better, found[metric].verdict) == (better, DeviationVerdict.DEVIATES)
    assert found[metric].interval == interval
    assert f"({'better' if better else 'worse'}); chance allows {interval[0]:.3g} to " in str(found[metric])
    assert [name for name in found if found[name].verdict is DeviationVerdict.DEVIATES] == [metric]


def test_a_large_deviation_within_the_interval_is_marked_and_alarms_on_nothing() -> None:
    found = compare(live(sharpe_ratio=0.1), sharpe_ratio=(-3.0, 3.0))[Metric.SHARPE]
    assert (found.verdict, found.large) == (DeviationVerdict.WITHIN, True)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((1.5, 2.0), DeviationVerdict.WITHIN),
        ((1.0, 1.5), DeviationVerdict.WITHIN),
        ((1.501, 2.0), DeviationVerdict.DEVIATES),
        ((1.0, 1.499), DeviationVerdict.DEVIATES),
    ],
)
def test_the_ends_of_the_interval_are_within(
    interval: tuple[float, float], verdict: DeviationVerdict
) -> None:
    assert compare(live(), sharpe_ratio=interval)[Metric.SHARPE].verdict is verdict


@pytest.mark.parametrize(
    ("sessions", "verdict"), [(59, DeviationVerdict.NOT_JUDGED), (60, DeviationVerdict.DEVIATES)]
)
def test_a_short_history_is_shown_and_not_judged(sessions: int, verdict: DeviationVerdict) -> None:
    found = compare(live(sharpe_ratio=0.1), sessions, sharpe_ratio=(-1.0, 1.0))[Metric.SHARPE]
    assert (found.verdict, found.deviation) == (verdict, pytest.approx(1.4 / 1.5))
    if verdict is DeviationVerdict.NOT_JUDGED:
        assert "59 of the 60 sessions" in str(found)


def test_benchmarks_that_the_model_may_have_learned_are_shown_and_alarm_on_nothing() -> None:
    learned = dataclasses.replace(BENCHMARKS, in_sample_problem="the manifest has no training_period")
    for one in compare(live(sharpe_ratio=-5.0, max_drawdown=60.0), benchmarks=learned).values():
        assert one.verdict is DeviationVerdict.NOT_COMPARABLE
        assert one.interval is None
        assert one.deviation is not None
        assert str(one).endswith("in-sample or unknown: the manifest has no training_period")


def test_a_figure_without_an_interval_is_not_judged() -> None:
    (found, *_) = compare_with_benchmarks(live(sharpe_ratio=-5.0), 252, BENCHMARKS, {}, SETTINGS)
    assert found.verdict is DeviationVerdict.NOT_JUDGED
    assert "no interval follows from these 252 sessions" in str(found)


@pytest.mark.parametrize("benchmark", [0.0, 5e-324])
def test_a_benchmark_next_to_0_has_no_share_and_is_judged_all_the_same(benchmark: float) -> None:
    none = dataclasses.replace(BENCHMARKS, values={**BENCHMARKS.values, Metric.SHARPE: benchmark})
    found = compare(live(), benchmarks=none, sharpe_ratio=(1.0, 2.0))[Metric.SHARPE]
    assert (found.verdict, found.deviation, found.large) == (DeviationVerdict.DEVIATES, None, None)
    assert "1.5 against" in str(found)
    assert "above (better)" in str(found)


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
