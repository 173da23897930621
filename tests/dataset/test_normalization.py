"""The z-score of one day, against plain loops and at its edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tests.support.oracle_ranker as oracle
from apex_tasks.dataset.normalization import cross_sectional_zscore

ODD = st.sampled_from([math.nan, math.inf, -math.inf])
# Above 1e-100 so that a square is no denormal, below float32's end.
REAL = st.floats(-1e30, 1e30).filter(lambda value: value == 0 or abs(value) > 1e-100)


def days(elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    shape = st.tuples(st.integers(1, 3), st.integers(1, 12))
    return arrays(np.float64, shape, elements=elements)


@given(days(st.one_of(st.floats(-1_000, 1_000).map(lambda value: round(value, 3)), ODD)))
def test_like_plain_loops(features: np.ndarray) -> None:
    ours = cross_sectional_zscore(features, 5.0)
    expected = [oracle.zscore(row.tolist(), 5.0) for row in features]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


@given(days(st.one_of(REAL, ODD)), st.floats(0.5, 10))
def test_always_finite_bounded_and_zero_where_missing(features: np.ndarray, clip: float) -> None:
    before = features.copy()
    z = cross_sectional_zscore(features, clip)
    assert z.dtype == np.float64
    assert np.abs(z).max() <= clip
    assert (z[~np.isfinite(features)] == 0).all()
    np.testing.assert_array_equal(features, before, err_msg="the input is not touched")


@given(REAL, st.integers(1, 50), st.lists(st.integers(0, 49), max_size=5))
def test_a_constant_becomes_exactly_zero(value: float, n: int, missing: list[int]) -> None:
    features = np.full((1, n), value)
    features[0, [place for place in missing if place < n]] = np.nan
    assert (cross_sectional_zscore(features, 5.0) == 0).all()


@settings(max_examples=30)
@given(st.integers(0, 2**20))
def test_a_feature_does_not_see_the_others_nor_the_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.standard_normal((3, 40))
    features[random.random((3, 40)) < 0.1] = np.nan
    order = random.permutation(40)
    z = cross_sectional_zscore(features, 5.0)
    np.testing.assert_array_equal(cross_sectional_zscore(features[1:2], 5.0), z[1:2])
    np.testing.assert_allclose(cross_sectional_zscore(features[:, order], 5.0), z[:, order], atol=1e-13)


def test_golden_day() -> None:
    day = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, np.nan, 3.0, np.inf], [7.0, 7.0, 7.0, 7.0]])
    z = cross_sectional_zscore(day, 5.0)
    step = 1 / math.sqrt(5 / 3)
    half = math.sqrt(0.5)
    np.testing.assert_allclose(z[0], [-1.5 * step, -0.5 * step, 0.5 * step, 1.5 * step], rtol=1e-15)
    np.testing.assert_allclose(z[1], [-half, 0, half, 0], rtol=1e-15)
    assert z[2].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("std", "expected"), [(0.99e-8, 0.99e-8), (1.01e-8, 1.0)])
def test_a_tiny_std_divides_by_one(std: float, expected: float) -> None:
    day = np.array([[-1.0, 0.0, 1.0]]) * std
    np.testing.assert_allclose(cross_sectional_zscore(day, 5.0), [[-expected, 0, expected]], rtol=1e-12)


def test_one_stock_of_a_day_is_average() -> None:
    assert cross_sectional_zscore(np.array([[3.0], [np.nan]]), 5.0).tolist() == [[0.0], [0.0]]


def test_clipping() -> None:
    day = np.zeros((1, 100))
    day[0, 7] = 1.0  # z = 9.9 before clipping
    assert cross_sectional_zscore(day, 5.0)[0, 7] == 5.0
    assert cross_sectional_zscore(-day, 2.5)[0, 7] == -2.5
    assert cross_sectional_zscore(day, 10.0)[0, 7] == pytest.approx(9.9)


@pytest.mark.parametrize("level", [1e6, 1e12])
def test_large_levels_lose_no_digits(level: float) -> None:
    spread = np.linspace(-1, 1, 9)[None, :] * 256
    np.testing.assert_allclose(
        cross_sectional_zscore(level + spread, 5.0), cross_sectional_zscore(spread, 5.0), rtol=1e-12
    )


def test_float32_input_is_summed_in_float64() -> None:
    day = (np.random.default_rng(3).random((1, 4_000)) + 1e4).astype(np.float32)
    expected = [oracle.zscore(day[0].tolist(), 5.0)]
    np.testing.assert_allclose(cross_sectional_zscore(day, 5.0), expected, atol=1e-11)
