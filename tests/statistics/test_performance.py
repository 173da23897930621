"""Performance figures: a golden answer by hand, a plain-loop oracle, and what is left undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.refusal import Refusal
from apex_tasks.statistics.performance import (
    annualized_sharpe,
    annualized_sortino,
    daily_returns_pct,
    measure_performance,
)


def _measure(values, capital=100.0, trades=4, cost=0.5):
    return measure_performance(values, initial_capital_jpy=capital, total_trades=trades, total_cost_jpy=cost)


def test_golden_answer_by_hand():
    """Returns +10 %, -10 %, -20 %, +25 %: mean 1.25, squares about it 76.5625, 126.5625, 451.5625, 564.0625."""
    result = _measure([100.0, 110.0, 99.0, 79.2, 99.0])
    assert result.total_return == pytest.approx(-1.0)
    assert result.annualized_return == pytest.approx((0.99**50.4 - 1) * 100)
    assert result.sharpe_ratio == pytest.approx(1.25 / math.sqrt(1218.75 / 4) * math.sqrt(252))
    assert result.sortino_ratio == pytest.approx(1.25 / 5 * math.sqrt(252))  # -10 and -20: 5 about -15
    assert result.max_drawdown == pytest.approx(28.0)  # 110 -> 79.2
    assert result.calmar_ratio == pytest.approx((0.99**50.4 - 1) / 0.28)
    assert result.win_rate == 0.5
    assert (result.total_trades, result.total_cost_jpy) == (4, 0.5)
    assert result.cost_pct_of_capital == pytest.approx(0.5)
    assert result.avg_daily_cost_bps == pytest.approx(10.0)  # 0.5 / 5 states / 100 = 0.001


def test_the_benchmark_of_v0_1_0_agrees_with_itself():
    """442 states, +44.85 %, costs of 370,429 JPY on 10 M: its documents say +23.52 %, 3.70 % and 0.84 bps."""
    states = np.full(442, 1e7)
    states[-1] = 1.4485e7
    result = _measure(states, capital=1e7, cost=370_429.0)
    assert result.annualized_return == pytest.approx(23.52, abs=0.01)
    assert result.cost_pct_of_capital == pytest.approx(3.70, abs=0.005)
    assert result.avg_daily_cost_bps == pytest.approx(0.84, abs=0.005)


def test_the_first_state_counts_in_the_total_and_the_drawdown_only():
    returns = [5.0, -3.0, 2.0]
    calm = 100.0 * np.cumprod([1.0, *(1 + r / 100 for r in returns)])
    fallen = 0.5 * calm
    assert daily_returns_pct(fallen)[0] == 0.0
    assert daily_returns_pct(fallen)[1:] == pytest.approx(returns)
    for name in ("sharpe_ratio", "sortino_ratio", "win_rate"):
        assert getattr(_measure(fallen), name) == getattr(_measure(calm), name)
    assert _measure(fallen).max_drawdown == pytest.approx(50.0)
    assert _measure(calm).max_drawdown == pytest.approx(3.0)


def test_one_state_has_a_return_but_no_spread():
    result = _measure([101.0])
    assert result.total_return == pytest.approx(1.0)
    assert result.annualized_return == pytest.approx((1.01**252 - 1) * 100)
    assert (result.sharpe_ratio, result.sortino_ratio, result.win_rate) == (None, None, None)
    assert (result.max_drawdown, result.calmar_ratio) == (0.0, None)
    assert daily_returns_pct([101.0]).tolist() == [0.0]


def test_equal_returns_have_no_spread_though_float64_rounds_them():
    values = 100 * 1.01 ** np.arange(50)
    assert np.ptp(daily_returns_pct(values)[1:]) > 0
    result = _measure(values)
    assert (result.sharpe_ratio, result.sortino_ratio, result.calmar_ratio) == (None, None, None)
    assert result.win_rate == 1.0


def test_one_negative_return_has_no_spread_of_its_own():
    result = _measure([100.0, 110.0, 99.0, 101.0])
    assert result.sharpe_ratio is not None
    assert result.sortino_ratio is None


def test_a_yearly_pace_beyond_float64_is_left_out():
    result = _measure([100.0, 90.0, 1e7])
    assert result.annualized_return is None
    assert result.calmar_ratio is None
    assert result.total_return == pytest.approx((1e5 - 1) * 100)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [1.0, 0.0], [-1.0]])
def test_what_is_no_value_is_refused(values):
    with pytest.raises(Refusal, match="portfolio values cannot be measured"):
        _measure(values)
    with pytest.raises(Refusal, match="portfolio values"):
        daily_returns_pct(values)


@pytest.mark.parametrize("capital", [0.0, -1.0, math.nan])
def test_what_is_no_capital_is_refused(capital):
    with pytest.raises(Refusal, match="initial capital"):
        _measure([1.0], capital=capital)


@pytest.mark.parametrize("wrong", [{"cost": -1.0}, {"cost": math.inf}, {"cost": math.nan}, {"trades": -1}])
def test_what_is_no_cost_is_refused(wrong):
    with pytest.raises(ValueError, match=r"cost|trades"):
        _measure([100.0, 101.0], **wrong)


def test_values_are_one_series():
    with pytest.raises(ValueError, match="one dimension"):
        _measure([[1.0, 2.0]])


def test_a_result_is_frozen_and_closed():
    result = _measure([100.0, 101.0])
    with pytest.raises(ValueError, match="frozen"):
        result.total_return = 1.0
    with pytest.raises(ValueError, match="extra"):
        type(result)(**result.model_dump(), alpha=1.0)


def _oracle(values, capital):
    """Every figure by loops over the states."""
    returns = [100 * (values[t] - values[t - 1]) / values[t - 1] for t in range(1, len(values))]

    def spread(numbers):
        center = math.fsum(numbers) / len(numbers)
        return math.sqrt(math.fsum((number - center) ** 2 for number in numbers) / len(numbers))

    figures = dict.fromkeys(("sharpe_ratio", "sortino_ratio", "calmar_ratio", "win_rate"))
    figures["total_return"] = 100 * (values[-1] - capital) / capital
    figures["annualized_return"] = 100 * (math.exp(math.log(values[-1] / capital) * 252 / len(values)) - 1)
    if returns:
        mean = math.fsum(returns) / len(returns)
        figures["win_rate"] = sum(r > 0 for r in returns) / len(returns)
        if spread(returns) > 1e-9:
            figures["sharpe_ratio"] = mean / spread(returns) * 252**0.5
        losses = [r for r in returns if r < 0]
        if losses and spread(losses) > 1e-9:
            figures["sortino_ratio"] = mean / spread(losses) * 252**0.5
    deepest, peak = 0.0, capital
    for value in values:
        peak = max(peak, value)
        deepest = max(deepest, (peak - value) / peak * 100)
    figures["max_drawdown"] = deepest
    if deepest > 0:
        figures["calmar_ratio"] = figures["annualized_return"] / deepest
    return figures


@given(st.lists(st.integers(50, 150), min_size=1, max_size=40), st.integers(60, 140))
def test_agrees_with_the_oracle(values, capital):
    values, capital = [float(value) for value in values], float(capital)
    result = _measure(values, capital).model_dump()
    for name, expected in _oracle(values, capital).items():
        if expected is None:
            assert result[name] is None, name
        else:
            assert result[name] == pytest.approx(expected, rel=1e-9, abs=1e-9), name


@given(st.lists(st.integers(50, 150), min_size=2, max_size=40), st.sampled_from([1e-3, 7.0, 1e6]))
def test_the_currency_is_irrelevant(values, scale):
    one, other = (
        _measure(np.array(values, dtype=float) * factor, 100.0 * factor, cost=0.5 * factor).model_dump(
            exclude={"total_cost_jpy"}
        )
        for factor in (1.0, scale)
    )
    assert one.keys() == other.keys()
    for name, figure in one.items():
        expected = None if figure is None else pytest.approx(figure, rel=1e-6, abs=1e-9)
        assert other[name] == expected, name


def test_the_ratios_of_nothing_are_not_a_number():
    assert math.isnan(annualized_sharpe([]))
    assert math.isnan(annualized_sortino([1.0, 2.0]))
