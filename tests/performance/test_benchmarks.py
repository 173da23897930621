"""Benchmarks as manifests write them: numbers and words, per cent and fractions, and what cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.performance.benchmarks import Metric, read_benchmarks

CALENDAR = TseCalendar.load()
CLAIMED = {
    Metric.SHARPE: 1.439,
    Metric.RETURN: 44.85,
    Metric.DRAWDOWN: 16.4,
    Metric.WIN_RATE: 56.9,
    Metric.COSTS: 3.7,
}
PERIOD = {"backtest_period": "2024-01-01 to 2025-10-31", "rebalances": 22}
BLOCKS: dict[str, dict[str, Any]] = {
    "per cent": {"total_return": 44.85, "max_drawdown": 16.40, "win_rate": 56.9},
    "fractions": {"total_return": 0.4485, "max_drawdown": 0.164, "win_rate": 0.569},
    "as v0.1.0 prints them": {"total_return": 44.85, "max_drawdown": 16.40, "win_rate": 0.569},
    "words": {"total_return": "+44.85%", "max_drawdown": "16.40 %", "win_rate": "56.9%"},
    "signs": {"total_return": "+44.85 %", "max_drawdown": "-16.4%", "win_rate": "56.9 per cent"},
    "typography": {"total_return": "44.85％", "max_drawdown": "−16.4 %", "win_rate": "0.569"},
    "numbers as text": {"total_return": "44.85", "max_drawdown": "16.4", "win_rate": "56.9"},
    "no drawdown": {"total_return": 44.85, "max_drawdown": "16.4 %", "win_rate": 56.9},
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("costs", [3.7, "3.70", "3.70 %"])
def test_every_way_to_write_the_claims_is_read_as_the_same(block: dict[str, Any], costs: Any) -> None:
    found = read_benchmarks(
        {"sharpe_ratio": 1.439, **block, "transaction_costs_pct": costs, **PERIOD}, CALENDAR
    )
    assert found.values == pytest.approx(CLAIMED)
    assert found.unreadable == {}
    assert (found.ignored, found.period) == ((), "2024-01-01 to 2025-10-31")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("sharpe_ratio", None, "has none"),
        ("sharpe_ratio", "high", "neither a number nor a percentage: 'high'"),
        ("sharpe_ratio", "144 %", "no percentage"),
        ("sharpe_ratio", True, "neither a number"),
        ("sharpe_ratio", {"value": 1.4}, "neither a number"),
        ("sharpe_ratio", float("nan"), "not a finite number"),
        ("sharpe_ratio", 10**400, "not a finite number"),
        ("sharpe_ratio", "1.4e3", "neither a number"),
        ("max_drawdown", 116.4, "not between 0 and 100 %"),
        ("win_rate", -0.4, "not between 0 and 100 %"),
        ("total_return", -120.0, "a loss of all"),
        ("transaction_costs_pct", -1, "costs below 0"),
        ("transaction_costs_pct", "370,429 JPY", "neither a number"),
    ],
)
def test_what_cannot_be_read_has_a_reason_and_takes_nothing_with_it(
    key: str, value: Any, reason: str
) -> None:
    good = {"sharpe_ratio": 1.439, **BLOCKS["per cent"], "transaction_costs_pct": 3.7, **PERIOD}
    found = read_benchmarks({**good, key: value}, CALENDAR)
    assert set(found.unreadable) == {Metric(key)}
    assert reason in found.unreadable[Metric(key)]
    assert set(found.values) == set(Metric) - {Metric(key)}


@pytest.mark.parametrize(
    "beside", [{}, {"win_rate": 0.569}, {"max_drawdown": "16.4 %"}, {"max_drawdown": 0}, {"win_rate": "good"}]
)
def test_a_total_return_of_unknown_unit_is_not_guessed(beside: dict[str, Any]) -> None:
    found = read_benchmarks({"total_return": 44.85, **beside}, CALENDAR)
    assert "per cent sign" in found.unreadable[Metric.RETURN]


@pytest.mark.parametrize(
    "period",
    [
        "2024-01-01 to 2025-10-31",
        "2024-01-01..2025-10-31",
        "2024/01/01 – 2025/10/31 (22 months)",
        ["2024-01-01", "2025-10-31"],
        {"start": "2024-01-01", "end": "2025-10-31"},
    ],
)
def test_the_period_is_counted_in_sessions_of_the_exchange(period: Any) -> None:
    found = read_benchmarks({"backtest_period": period}, CALENDAR)
    assert found.sessions == 245 + 203  # sessions of 2024, and of 2025 up to October
    assert found.period_problem == ""


@pytest.mark.parametrize(
    "period",
    [
        None,
        "22 months",
        2024,
        "2024-01-01",
        "2025-10-31 to 2024-01-01",
        "2024-13-01 to 2025-01-01",
        "1980-01-01 to 1981-01-01",
        "2025-01-01 to 2025-01-02",
        ["2024-01-01", "2024-06-01", "2025-01-01"],
    ],
)
def test_a_period_that_names_no_two_days_has_a_reason(period: Any) -> None:
    found = read_benchmarks({"backtest_period": period}, CALENDAR)
    assert found.sessions is None
    assert "backtest_period" in found.period_problem


def test_unknown_keys_are_named() -> None:
    assert read_benchmarks({"sortino": 1.81, "calmar": 1.4, **PERIOD}, CALENDAR).ignored == (
        "calmar",
        "sortino",
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*map(str, Metric), "backtest_period"]), JSON))
def test_no_manifest_breaks_it(block: dict[str, Any]) -> None:
    found = read_benchmarks(block, CALENDAR)
    assert found.values.keys() | found.unreadable.keys() == set(Metric)
    assert not found.values.keys() & found.unreadable.keys()
    assert (found.sessions is None) == bool(found.period_problem)


AFTER = {"backtest_period": "2024-01-04 to 2025-10-31"}


@pytest.mark.parametrize(
    ("training", "problem"),
    [
        (["2014-01-06", "2023-12-29"], ""),
        ({"first": "2014-01-06", "last": "2024-01-03"}, ""),
        ("2014/01/06 to 2023/12/29", ""),
        ("2023-12-29 back to 2014-01-06", ""),
        (None, "the manifest has no training_period"),
        ("", "names no two days"),
        (2023, "names no two days: '2023'"),
        ({"last": "2023-12-29"}, "names no two days"),
        (["2014-01-06", "2023-13-29"], "names no two days"),
        (
            ["2014-01-06", "2024-01-04"],
            "2024-01-04, and the benchmark's period begins on 2024-01-04",
        ),
        (["2014-01-06", "2025-10-31"], "training ends on 2025-10-31"),
        (["2024-01-06", "2014-12-29"], "training ends on 2024-01-06"),
    ],
)
def test_only_a_period_after_the_training_is_out_of_sample(training: Any, problem: str) -> None:
    found = read_benchmarks(AFTER, CALENDAR, training)
    assert problem in found.in_sample_problem
    assert bool(found.in_sample_problem) is bool(problem)


def test_a_held_out_fold_makes_nothing_out_of_sample() -> None:
    validation = {"method": "purged k-fold", "folds": 5, "fold": 0}
    found = read_benchmarks(AFTER, CALENDAR, None, validation)
    assert found.in_sample_problem
    assert found.validation == '{"fold": 0, "folds": 5, "method": "purged k-fold"}'
    assert read_benchmarks({}, CALENDAR, ["2014-01-06", "2023-12-29"]).in_sample_problem
