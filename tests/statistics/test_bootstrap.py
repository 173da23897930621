"""Block bootstrap: coverage where days depend on each other, pairing, the seed, and what is refused."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.refusal import Refusal
from apex_tasks.statistics.bootstrap import bootstrap_difference, bootstrap_interval
from apex_tasks.statistics.performance import annualized_sharpe


def _autoregressive(random, n, coefficient):
    """Series of mean 0 and variance 1 whose neighbors correlate by the coefficient."""
    shocks = random.normal(size=n) * math.sqrt(1 - coefficient**2)
    series = [random.normal()]
    for shock in shocks[1:]:
        series.append(coefficient * series[-1] + shock)
    return np.array(series)


def _width(interval):
    return interval.high - interval.low


@pytest.mark.slow
def test_blocks_cover_the_mean_of_a_dependent_series_and_single_days_do_not():
    random = np.random.default_rng(11)
    covered = {None: 0, 1: 0}
    for trial in range(150):
        series = _autoregressive(random, 400, 0.6)
        for block in covered:
            got = bootstrap_interval(series, np.mean, seed=trial, repetitions=300, block_sessions=block)
            covered[block] += got.low <= 0 <= got.high
    # The variance of the mean is 4 times that of independent days: their interval covers 2 Phi(0.98) - 1 = 67 %.
    assert covered[1] / 150 == pytest.approx(0.67, abs=0.1)
    assert 0.85 <= covered[None] / 150 <= 0.98


def test_the_interval_of_independent_days_is_that_of_the_normal_law():
    series = np.random.default_rng(5).normal(0.1, 1, 500)
    got = bootstrap_interval(series, np.mean, seed=1, repetitions=4000, block_sessions=1)
    half = 1.96 * series.std() / math.sqrt(500)
    assert got.estimate == pytest.approx(series.mean())
    assert (got.low, got.high) == pytest.approx((series.mean() - half, series.mean() + half), abs=0.05 * half)
    narrow = bootstrap_interval(series, np.mean, seed=1, repetitions=4000, block_sessions=1, level=0.5)
    assert _width(narrow) / _width(got) == pytest.approx(0.6745 / 1.96, abs=0.03)


def test_the_data_choose_longer_blocks_where_days_depend_more():
    random = np.random.default_rng(3)
    independent, dependent = random.normal(size=500), _autoregressive(random, 500, 0.8)
    short, long = (bootstrap_interval(series, np.mean, seed=1) for series in (independent, dependent))
    assert short.block_sessions < 6 < long.block_sessions
    assert _width(long) > 1.8 * _width(bootstrap_interval(dependent, np.mean, seed=1, block_sessions=1))


def test_the_block_length_is_that_of_theory():
    """Politis and White: (6 n)^(1/3) * (phi / (1 - phi^2))^(2/3) for neighbors that correlate by phi."""
    random = np.random.default_rng(12)
    chosen = [
        bootstrap_interval(
            _autoregressive(random, 20_000, 0.6), np.mean, seed=1, repetitions=200
        ).block_sessions
        for _ in range(5)
    ]
    assert np.median(chosen) == pytest.approx(120_000 ** (1 / 3) * (0.6 / 0.64) ** (2 / 3), rel=0.05)


def test_the_blocks_are_runs_of_the_circle():
    days = np.arange(50.0)
    seen = []

    def remember(series):
        seen.append(series.copy())
        return series.mean()

    bootstrap_interval(days, remember, seed=2, repetitions=200, block_sessions=7)
    drawn = seen[-200:]
    for resampled in drawn:
        assert len(resampled) == 50
        for start in range(0, 50, 7):
            block = resampled[start : start + 7]
            assert np.array_equal(block, (block[0] + np.arange(len(block))) % 50)
    first_days = {int(resampled[0]) for resampled in drawn}
    assert len(first_days) > 40  # the last days begin a block as often as the first


@pytest.mark.parametrize("statistic", [np.mean, annualized_sharpe, np.median])
def test_the_same_seed_gives_the_same_numbers(statistic):
    series = np.random.default_rng(8).normal(0.05, 1, 250)
    one = bootstrap_interval(series, statistic, seed=42, repetitions=300)
    assert asdict(one) == asdict(bootstrap_interval(series.tolist(), statistic, seed=42, repetitions=300))
    other = bootstrap_interval(series, statistic, seed=43, repetitions=300)
    assert (other.low, other.high) != (one.low, one.high)
    assert (one.level, one.repetitions, one.seed) == (0.95, 300, 42)


def test_the_random_numbers_of_others_are_left_alone():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    bootstrap_interval(np.random.default_rng(8).normal(size=50), np.mean, seed=42)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_pairs_are_drawn_together():
    """What moves both series cancels, as in no interval of two series drawn apart."""
    random = np.random.default_rng(4)
    market, own = random.normal(0, 1, 400), random.normal(0.03, 0.05, 400)
    got = bootstrap_difference(market + own, market, np.mean, seed=9, block_sessions=1)
    assert got.estimate == pytest.approx(own.mean())
    assert got.low > 0
    assert _width(got) == pytest.approx(4 * 0.05 / 20, rel=0.15)
    mean = bootstrap_interval(own, np.mean, seed=9, block_sessions=1)
    assert (mean.low, mean.high) == pytest.approx((got.low, got.high))


def test_a_difference_has_its_sign():
    random = np.random.default_rng(6)
    one, two = random.normal(0.2, 1, 200), random.normal(0, 1, 200)
    forth = bootstrap_difference(one, two, annualized_sharpe, seed=1)
    back = bootstrap_difference(two, one, annualized_sharpe, seed=1)
    assert forth.estimate == pytest.approx(annualized_sharpe(one) - annualized_sharpe(two))
    assert (back.estimate, back.low, back.high) == pytest.approx((-forth.estimate, -forth.high, -forth.low))


def test_a_pair_has_the_longest_blocks_that_any_of_it_asks_for():
    random = np.random.default_rng(7)
    calm, trending = random.normal(size=400), _autoregressive(random, 400, 0.9)
    block = bootstrap_interval(trending, np.mean, seed=1).block_sessions
    assert bootstrap_difference(calm, trending, np.mean, seed=1).block_sessions >= block > 10
    hidden = 100 * calm + trending  # only the difference shows the trend
    assert bootstrap_interval(hidden, np.mean, seed=1).block_sessions < block
    assert bootstrap_difference(hidden, 100 * calm, np.mean, seed=1).block_sessions == block


def test_a_series_against_itself_differs_by_nothing():
    series = np.random.default_rng(1).normal(size=60)
    got = bootstrap_difference(series, series, np.mean, seed=1)
    assert (got.estimate, got.low, got.high) == (0.0, 0.0, 0.0)


def test_blocks_are_at_least_the_overlap():
    series = np.random.default_rng(1).normal(size=100)
    free = bootstrap_interval(series, np.mean, seed=1)
    assert free.block_sessions < 20
    bound = bootstrap_interval(series, np.mean, seed=1, least_block_sessions=20)
    assert (bound.block_sessions, bound.estimate) == (20, free.estimate)


@settings(max_examples=25)
@given(st.lists(st.integers(-5, 5), min_size=12, max_size=40), st.integers(0, 9), st.sampled_from([1, 3, 6]))
def test_the_mean_moves_with_the_series(values, seed, block):
    series = np.array(values, dtype=float)
    if np.ptp(series) == 0:
        series[0] += 1
    got = bootstrap_interval(series, np.mean, seed=seed, repetitions=200, block_sessions=block)
    moved = bootstrap_interval(3 * series + 7, np.mean, seed=seed, repetitions=200, block_sessions=block)
    assert series.min() <= got.low <= got.high <= series.max()
    assert (moved.low, moved.high) == pytest.approx((3 * got.low + 7, 3 * got.high + 7))


@pytest.mark.parametrize(
    ("series", "received"),
    [
        ([], "received=0"),
        (range(11), "received=11"),
        ([0.1] * 50, "50 times 0.1"),
        ([*range(20), math.nan, math.inf], "2 of 22 not finite"),
    ],
)
def test_degenerate_series_are_refused(series, received):
    for measure in (
        lambda: bootstrap_interval(series, np.mean, seed=1),
        lambda: bootstrap_difference(np.arange(50.0), series, np.mean, seed=1),
    ):
        with pytest.raises(Refusal, match=received):
            measure()


def test_fewer_than_two_blocks_are_refused():
    bootstrap_interval(np.arange(40.0), np.mean, seed=1, block_sessions=20)
    with pytest.raises(Refusal, match=r"two blocks of 21.*received=40"):
        bootstrap_interval(np.arange(40.0), np.mean, seed=1, block_sessions=21)
    with pytest.raises(Refusal, match="two blocks of 21"):
        bootstrap_interval(np.arange(40.0), np.mean, seed=1, least_block_sessions=21)


def test_a_statistic_that_resampling_loses_is_refused():
    rare = np.zeros(30)
    rare[3] = 1.0  # a third of the resampled series holds zeros only
    with pytest.raises(Refusal, match=r"no number for \d+ of 200 resampled"):
        bootstrap_interval(rare, annualized_sharpe, seed=1, repetitions=200, block_sessions=1)
    with pytest.raises(Refusal, match="nan for the series"):
        bootstrap_interval(np.arange(30.0), lambda _: math.nan, seed=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"level": 0.0}, "level"),
        ({"level": 95}, "level"),
        ({"repetitions": 199}, "repetitions"),
        ({"block_sessions": 0}, "block length"),
        ({"least_block_sessions": 0}, "block length"),
        ({"block_sessions": 4, "least_block_sessions": 5}, "block length"),
    ],
)
def test_wrong_use_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(np.arange(50.0), np.mean, seed=1, **wrong)


def test_pairs_have_equal_lengths():
    with pytest.raises(ValueError, match="50 and 49"):
        bootstrap_difference(np.arange(50.0), np.arange(49.0), np.mean, seed=1)
    with pytest.raises(ValueError, match="one dimension"):
        bootstrap_interval(np.ones((3, 20)), np.mean, seed=1)
