"""Probabilistic and deflated Sharpe ratios: the published example, the standard library, luck alone."""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, pstdev, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.refusal import Refusal
from apex_tasks.statistics.deflated_sharpe import (
    PerPeriodSharpe,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    per_period_sharpe,
    probabilistic_sharpe_ratio,
)

NORMAL = NormalDist()
EULER = 0.577215664901532860606512


def _psr(returns, benchmark):
    """From the standard library alone."""
    mean, spread = fmean(returns), pstdev(returns)
    scaled = [(value - mean) / spread for value in returns]
    skewness, kurtosis = fmean(z**3 for z in scaled), fmean(z**4 for z in scaled)
    ratio = mean / spread
    error = math.sqrt((1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2) / (len(returns) - 1))
    return NORMAL.cdf((ratio - benchmark) / error)


def _luck(ratios, number):
    quantiles = NORMAL.inv_cdf(1 - 1 / number), NORMAL.inv_cdf(1 - 1 / (number * math.e))
    return stdev(ratios) * ((1 - EULER) * quantiles[0] + EULER * quantiles[1])


def _two_valued(lows, highs, sharpe):
    """Series of two values with the given ratio per period."""
    values = np.r_[np.full(lows, -1.0), np.full(highs, 1.0)]
    return values + sharpe * values.std() - values.mean()


def test_the_published_example():
    """Bailey and Lopez de Prado (2014): 5 years of daily returns, an annualized ratio of 2.5, skewness -3,
    kurtosis 10, the best of 100 trials whose annualized ratios have a variance of 1/2. Expected by luck: 0.1132 a
    day; deflated Sharpe ratio: 0.9004.
    """
    # Skewness -3 and kurtosis 10 belong to two values, the low one on 1 day in 11.9.
    best = _two_valued(105, 1145, 2.5 / math.sqrt(250))
    spread = math.sqrt(0.5 / 250)
    ratios = spread * np.sqrt(99 / 100) * np.where(np.arange(100) % 2, 1, -1)
    trials = [_two_valued(100, 100, ratio) for ratio in ratios]
    assert float(expected_maximum_sharpe(trials)) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe_ratio(best, trials) == pytest.approx(0.9004, abs=1e-4)


def test_a_ratio_of_the_benchmark_is_even_odds():
    returns = np.random.default_rng(1).normal(0.05, 1, 300)
    assert probabilistic_sharpe_ratio(returns, benchmark=per_period_sharpe(returns)) == 0.5


def test_ratios_are_per_period_and_have_no_unit():
    returns = np.random.default_rng(1).normal(0.05, 1, 300)
    assert per_period_sharpe(returns) == pytest.approx(fmean(returns) / pstdev(returns))
    assert per_period_sharpe(100 * returns) == pytest.approx(per_period_sharpe(returns))
    assert probabilistic_sharpe_ratio(100 * returns) == pytest.approx(probabilistic_sharpe_ratio(returns))


def test_rare_large_losses_cost_certainty():
    """Same ratio, same length: only the tail differs."""
    losses, gains = _two_valued(40, 360, 0.1), -_two_valued(40, 360, -0.1)
    assert per_period_sharpe(losses) == pytest.approx(per_period_sharpe(gains))
    assert probabilistic_sharpe_ratio(losses) + 0.02 < probabilistic_sharpe_ratio(gains)


def _returns(least=3):
    return (
        st.lists(st.integers(-9, 9), min_size=least, max_size=30)
        .map(lambda values: [float(value) for value in values])
        .filter(lambda values: len(set(values)) > 2)
    )


@given(_returns(), st.floats(-0.5, 0.5))
def test_agrees_with_the_standard_library(returns, benchmark):
    got = probabilistic_sharpe_ratio(returns, benchmark=PerPeriodSharpe(benchmark))
    assert got == pytest.approx(_psr(returns, benchmark), rel=1e-9, abs=1e-12)


@given(st.lists(_returns(), min_size=2, max_size=12), st.data())
def test_luck_agrees_with_the_standard_library(trials, data):
    number = data.draw(st.integers(2, len(trials)))
    expected = _luck([fmean(trial) / pstdev(trial) for trial in trials], number)
    got = expected_maximum_sharpe(trials, independent_trials=number)
    assert float(got) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert deflated_sharpe_ratio(trials[0], trials, independent_trials=number) == pytest.approx(
        _psr(trials[0], expected), rel=1e-9, abs=1e-12
    )


def test_more_trials_ask_for_more():
    random = np.random.default_rng(2)
    trials = list(random.normal(0, 1, (60, 250)))
    best = max(trials, key=per_period_sharpe)
    judged = [deflated_sharpe_ratio(best, trials, independent_trials=n) for n in (2, 5, 20, 60)]
    assert judged == sorted(judged, reverse=True)
    assert judged[0] > judged[-1] + 0.1
    assert expected_maximum_sharpe(trials) == expected_maximum_sharpe(trials, independent_trials=60)


@pytest.mark.slow
def test_one_trial_without_skill_has_any_probability_alike():
    random = np.random.default_rng(3)
    skewed = random.gamma(2.0, 1.0, (2000, 250)) - 2.0  # true ratio 0, skewness 1.4
    judged = np.array([probabilistic_sharpe_ratio(returns) for returns in skewed])
    shares = np.histogram(judged, bins=10, range=(0, 1))[0] / 2000
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.03)


@pytest.mark.slow
def test_the_best_of_many_without_skill_is_luck_to_the_deflated_ratio_alone():
    random = np.random.default_rng(4)
    plain, deflated = [], []
    for _ in range(300):
        trials = list(random.normal(0, 0.01, (50, 120)))
        best = max(trials, key=per_period_sharpe)
        plain.append(probabilistic_sharpe_ratio(best))
        deflated.append(deflated_sharpe_ratio(best, trials))
    assert np.mean(np.array(plain) > 0.95) > 0.9
    assert np.mean(deflated) == pytest.approx(0.5, abs=0.05)
    # The best of 50 varies less than one ratio does, so the deflated ratio is narrower than uniform.
    assert np.mean(np.array(deflated) > 0.95) < 0.05
    assert 0.1 < np.std(deflated) < math.sqrt(1 / 12)


def test_skill_is_seen_among_many():
    random = np.random.default_rng(5)
    trials = list(random.normal(0, 0.01, (50, 1000)))
    trials[7] = trials[7] + 0.0025  # 4 a year
    assert deflated_sharpe_ratio(trials[7], trials) > 0.99


@pytest.mark.parametrize(
    ("returns", "received"),
    [([], "received=0"), ([1.0, 2.0], "received=2"), ([0.1] * 9, "9 times"), ([1, 2, math.nan], "1 of 3")],
)
def test_degenerate_returns_are_refused(returns, received):
    fine = [1.0, 2.0, 4.0]
    for measure in (
        lambda: per_period_sharpe(returns),
        lambda: probabilistic_sharpe_ratio(returns),
        lambda: expected_maximum_sharpe([fine, returns]),
        lambda: deflated_sharpe_ratio(returns, [fine, fine]),
    ):
        with pytest.raises(Refusal, match=received):
            measure()


def test_returns_without_a_standard_error_are_refused():
    """Two values whose skewness is 2 / s: for them the variance of the ratio is 0."""
    with pytest.raises(Refusal, match="standard error"):
        probabilistic_sharpe_ratio(_two_valued(3, 1, math.sqrt(3)))


@pytest.mark.parametrize("number", [None, 0, 1, 4])
def test_trials_are_two_or_more(number):
    trials = [[1.0, 2.0, 4.0]] * (1 if number is None else 3)
    with pytest.raises(ValueError, match="trials"):
        expected_maximum_sharpe(trials, independent_trials=number)


def test_returns_are_one_series():
    with pytest.raises(ValueError, match="one dimension"):
        per_period_sharpe(np.ones((3, 3)))
