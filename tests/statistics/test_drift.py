"""Drift: golden answers, plain-loop oracles, ties and gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from apex_tasks.statistics.drift import (
    feature_drift,
    kolmogorov_smirnov,
    population_stability_index,
)


def test_golden_index_by_hand():
    """Halves before; a quarter and three quarters now."""
    got = population_stability_index([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 9.0, 9.0], bins=2)
    assert got == pytest.approx(-0.25 * math.log(0.5) + 0.25 * math.log(1.5))


def test_an_empty_bin_counts_as_one_in_ten_thousand():
    got = population_stability_index([1.0, 2.0, 3.0, 4.0], [9.0] * 4, bins=2)
    assert got == pytest.approx((1e-4 - 0.5) * math.log(1e-4 / 0.5) + 0.5 * math.log(2))


def test_values_beyond_the_reference_are_counted():
    reference = np.linspace(0, 1, 1000)
    inside = population_stability_index(reference, np.linspace(0, 1, 500))
    for beyond in (-5.0, 5.0):
        moved = np.where(np.arange(1000) % 2, beyond, reference)
        assert population_stability_index(reference, moved) > 0.25 > 0.1 > inside


@pytest.mark.parametrize("bins", [2, 3, 10, 20])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.5, 0.7, 0.95, 0.99])
def test_a_flag_that_is_set_more_or_less_often_is_seen(share, bins):
    reference = (np.arange(1000) < 1000 * share).astype(float)
    same = population_stability_index(reference, reference[::-1], bins=bins)
    other = (np.arange(1000) < (900 if share < 0.5 else 200)).astype(float)
    assert same == 0.0
    p, q = reference.mean(), other.mean()
    expected = (q - p) * math.log(q / p) + (p - q) * math.log((1 - q) / (1 - p))
    assert population_stability_index(reference, other, bins=bins) == pytest.approx(expected)


@pytest.mark.parametrize("moved", [-1.0, 1.0])
def test_a_constant_reference_sees_both_directions(moved):
    constant = np.full(100, 0.25)
    assert population_stability_index(constant, constant) == 0.0
    tenth = np.where(np.arange(100) < 10, 0.25 + moved, 0.25)
    expected = (0.1 - 1e-4) * math.log(0.1 / 1e-4) + (0.9 - 1) * math.log(0.9)
    assert population_stability_index(constant, tenth) == pytest.approx(expected)


def test_chance_alone_gives_the_documented_index():
    random = np.random.default_rng(1)
    for m, n in ((3900, 3900), (3900, 70)):
        drawn = [population_stability_index(random.normal(size=m), random.normal(size=n)) for _ in range(100)]
        assert np.mean(drawn) == pytest.approx(9 * (1 / m + 1 / n), rel=0.25)


def test_the_statistic_is_that_of_scipy():
    random = np.random.default_rng(6)
    for m, n in ((40, 60), (500, 70), (3900, 3800)):
        old, new = random.normal(size=m), random.normal(0.1, 1, size=n)
        assert kolmogorov_smirnov(old, new) == pytest.approx(stats.ks_2samp(old, new).statistic)
    assert kolmogorov_smirnov([1.0], [1.0]) == 0.0


def _index_by_loops(old, new, bins):
    """Bins as predicates over all distinct values; no cut is ever sorted into."""
    ordered = sorted(old)

    def quantile(share):
        place = share * (len(ordered) - 1)
        low = min(math.floor(place), len(ordered) - 1)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    tied = {value for value in old if old.count(value) > len(old) / bins}
    lower = tied | {quantile(k / bins) for k in range(1, bins)}
    total, names = 0.0, {}
    for value in [*old, *new]:
        names[value] = ("equal", value) if value in tied else ("above", sum(value >= cut for cut in lower))
    for name in sorted(set(names.values())):
        p = max(sum(names[v] == name for v in old) / len(old), 1e-4)
        q = max(sum(names[v] == name for v in new) / len(new), 1e-4)
        total += (q - p) * math.log(q / p)
    return total


# Quarters, and bins that are powers of two: quantiles come out exact in both.
_values = st.lists(st.integers(-6, 6).map(lambda k: k / 4), min_size=1, max_size=33)


@given(_values, _values, st.sampled_from([2, 4, 8]))
def test_index_agrees_with_the_oracle(old, new, bins):
    got = population_stability_index(old, new, bins=bins)
    assert got == pytest.approx(_index_by_loops(old, new, bins), abs=1e-9)
    assert got >= 0


@given(_values, _values)
def test_statistic_agrees_with_the_oracle(old, new):
    def below(sample, value):
        return sum(one <= value for one in sample) / len(sample)

    largest = max(abs(below(old, value) - below(new, value)) for value in [*old, *new])
    assert kolmogorov_smirnov(old, new) == pytest.approx(largest, abs=1e-12)


@given(_values, _values, st.randoms(use_true_random=False))
def test_order_scale_and_sign_of_gaps_are_irrelevant(old, new, random):
    shuffled = [*old, math.nan, -math.inf]
    random.shuffle(shuffled)
    for measure in (population_stability_index, kolmogorov_smirnov):
        assert measure(old, new) == measure(shuffled, [*new, math.inf])
        assert measure(old, new) == measure([4 * v for v in old], [4 * v for v in new])


def test_each_feature_stands_for_itself():
    random = np.random.default_rng(4)
    old, new = random.normal(size=(500, 4)), random.normal(size=(300, 4))
    new[:, 1] += 1
    new[:, 2] = math.nan
    old[:100, 3], new[:30, 3] = math.nan, math.inf
    got = feature_drift(old.astype(np.float32), new.astype(np.float32))
    assert got.missing_reference == pytest.approx([0, 0, 0, 0.2])
    assert got.missing_current == pytest.approx([0, 0, 1, 0.1])
    assert got.psi[1] > 0.25 > 0.1 > got.psi[0]
    assert got.ks_statistic[1] > 0.3 > got.ks_statistic[0]
    for figure in (got.psi, got.ks_statistic):
        assert np.isnan(figure).tolist() == [False, False, True, False]
    alone = population_stability_index(old.astype(np.float32)[100:, 3], new.astype(np.float32)[30:, 3])
    assert got.psi[3] == alone


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="bins"):
        population_stability_index([1.0], [1.0], bins=1)
    for one, two in (((3, 2), (3, 1)), ((0, 2), (3, 2)), ((3,), (3,))):
        with pytest.raises(ValueError, match="rows x features"):
            feature_drift(np.zeros(one), np.zeros(two))
    assert feature_drift(np.zeros((3, 0)), np.zeros((3, 0))).psi.shape == (0,)
