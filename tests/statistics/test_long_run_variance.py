"""Long-run variance by cosines: against a slow sum, the law of independent values, and a known dependence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from apex_tasks.statistics.long_run_variance import long_run_variance


def slow(series: np.ndarray, cosines: int) -> float:
    n = len(series)
    total = 0.0
    for j in range(1, cosines + 1):
        weight = sum(z * math.cos(math.pi * j * (t - 0.5) / n) for t, z in enumerate(series, start=1))
        total += (math.sqrt(2 / n) * weight) ** 2
    return total / cosines


@pytest.mark.parametrize(("length", "cosines"), [(20, 4), (60, 6), (63, 6), (250, 15)])
def test_it_is_the_mean_of_the_squared_waves(length: int, cosines: int) -> None:
    series = np.random.default_rng(length).normal(size=(2, 3, length))
    found = long_run_variance(series)
    assert found.degrees == cosines
    assert found.value.shape == (2, 3)
    assert found.value[1, 2] == pytest.approx(slow(series[1, 2], cosines))
    assert long_run_variance(series[1, 2], 5).value == pytest.approx(slow(series[1, 2], 5))


def test_of_independent_values_it_is_the_variance_and_the_mean_follows_student() -> None:
    series = 3.0 * np.random.default_rng(1).normal(size=(20_000, 60))
    found = long_run_variance(series)
    assert found.value.mean() == pytest.approx(9.0, rel=0.02)
    t = series.mean(axis=1) / np.sqrt(found.value / 60)
    assert stats.kstest(t, stats.t(found.degrees).cdf).pvalue > 0.01


def test_the_dependence_of_neighbors_is_counted() -> None:
    """Of a first-order autoregression it is 1 / (1 - phi) ** 2 times the variance of the shocks."""
    shocks = np.random.default_rng(2).normal(size=(200, 2_500))
    series = lfilter([1.0], [1.0, -0.5], shocks)[:, 500:]
    assert long_run_variance(series, 20).value.mean() == pytest.approx(4.0, rel=0.05)


def test_a_constant_does_not_matter_and_few_values_are_refused() -> None:
    series = np.random.default_rng(3).normal(size=40)
    assert long_run_variance(series + 5.0).value == pytest.approx(long_run_variance(series).value)
    with pytest.raises(ValueError, match="at least 20 observations, received=19"):
        long_run_variance(np.zeros(19))
