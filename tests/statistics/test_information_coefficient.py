"""Information coefficients: what is summarised, what is counted, and how overlap weighs."""

from __future__ import annotations

import datetime as dt
import math
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.dataset.forward_returns import ForwardReturns
from apex_tasks.refusal import Refusal
from apex_tasks.statistics.information_coefficient import (
    DatedScores,
    information_coefficients,
    summarise_coefficients,
)

DAY = dt.date(2025, 1, 6)
EPOCH = dt.date(1970, 1, 1)


def _returns(by_day, horizons=(1, 5)):
    """Forward returns of day -> code -> one return per horizon."""
    rows = [
        ((day - EPOCH).days, code, values)
        for day in sorted(by_day)
        for code, values in sorted(by_day[day].items())
    ]
    days, codes, values = zip(*rows, strict=True)
    return ForwardReturns(horizons, np.array(days, dtype=np.int32), np.array(codes), np.array(values))


def _dated(offset, scores):
    return DatedScores(
        DAY + dt.timedelta(days=offset),
        np.array(list(scores)),
        np.array(list(scores.values()), dtype=np.float32),
    )


def _summary(coefficients, horizon=1, spacing=1, **changes):
    arguments = {"seed": 1, "repetitions": 200} | changes
    return summarise_coefficients(
        coefficients, horizon_sessions=horizon, spacing_sessions=spacing, **arguments
    )


def test_each_date_meets_its_own_returns_of_its_horizon():
    nan = math.nan
    returns = _returns(
        {
            DAY: {"1": [0.1, 0.3], "2": [0.2, 0.2], "3": [0.3, 0.1]},
            DAY + dt.timedelta(days=1): {"1": [0.3, nan], "2": [0.1, nan], "3": [0.2, nan]},
        }
    )
    dated = [
        _dated(0, {"3": 3.0, "1": 1.0, "2": 2.0}),  # codes in any order
        _dated(1, {"1": 1.0, "2": 2.0, "3": 3.0, "9": 9.0}),  # 9 has no row
        _dated(2, {"1": 1.0, "2": 2.0}),  # a date without rows
    ]
    assert information_coefficients(dated, returns, 1) == pytest.approx([1.0, -0.5, math.nan], nan_ok=True)
    assert information_coefficients(dated, returns, 5) == pytest.approx(
        [-1.0, math.nan, math.nan], nan_ok=True
    )
    assert information_coefficients([], returns, 5).shape == (0,)


def test_golden_answer_by_hand():
    got = _summary([0.1, math.nan, 0.3, -0.1, 0.1, math.nan])
    assert (got.dates, got.undefined_dates) == (4, 2)
    assert got.mean == pytest.approx(0.1)
    assert got.std == pytest.approx(math.sqrt(0.08 / 3))
    assert got.information_ratio == pytest.approx(0.1 / math.sqrt(0.08 / 3))
    assert got.t_statistic == got.t_statistic_overlap == pytest.approx(0.2 / math.sqrt(0.08 / 3))
    assert got.share_positive == 0.75
    assert got.interval is None
    assert "at least 12 observations" in got.no_interval_because


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([-0.2, -0.1, 0.0, 0.05, 0.1, 0.3, math.nan]), max_size=40),
    st.integers(1, 6),
    st.integers(1, 3),
)
def test_agrees_with_plain_loops(coefficients, horizon, spacing):
    got = _summary(coefficients, horizon, spacing)
    known = [value for value in coefficients if value == value]
    n, overlap = len(known), -(-horizon // spacing)
    assert (got.dates, got.undefined_dates, got.overlap_dates) == (n, len(coefficients) - n, overlap)
    if n == 0:
        assert got.mean is got.share_positive is None
        return
    assert got.mean == pytest.approx(fmean(known))
    assert got.share_positive == sum(value > 0 for value in known) / n
    if len(set(known)) < 2:
        assert got.information_ratio is got.t_statistic is got.t_statistic_overlap is None
        return
    assert got.std == pytest.approx(stdev(known))
    assert got.t_statistic == pytest.approx(fmean(known) / (stdev(known) / math.sqrt(n)), abs=1e-12)
    variance = 0.0
    for i in range(n):
        for j in range(n):
            weight = max(0.0, 1 - abs(i - j) / overlap)
            variance += weight * (known[i] - fmean(known)) * (known[j] - fmean(known)) / n / (n - 1)
    if overlap <= n and variance > 1e-12:
        assert got.t_statistic_overlap == pytest.approx(fmean(known) / math.sqrt(variance), abs=1e-9)
    if n >= max(12, 2 * overlap):
        assert got.interval.estimate == got.mean
        assert got.interval.low <= got.mean <= got.interval.high
        assert got.interval.block_sessions >= overlap
        assert got.no_interval_because is None
    else:
        assert got.interval is None
        assert got.no_interval_because


def test_overlap_makes_daily_coefficients_less_certain():
    """Means over 20 shared days: the naive t is about sqrt(20) times too large."""
    random = np.random.default_rng(2)
    shocks = random.normal(0, 0.1, 1020)
    coefficients = 0.02 + np.convolve(shocks, np.full(20, 1 / 20), mode="valid")
    daily, apart = _summary(coefficients, 20, 1), _summary(coefficients, 20, 20)
    assert (daily.overlap_dates, apart.overlap_dates) == (20, 1)
    assert daily.t_statistic == apart.t_statistic
    assert 2.5 < daily.t_statistic / daily.t_statistic_overlap < 4.5
    assert daily.interval.block_sessions >= 20
    naive = 2 * 1.96 * daily.mean / daily.t_statistic
    assert daily.interval.high - daily.interval.low > 2.5 * naive


def test_months_of_twenty_sessions_do_not_overlap_and_shorter_ones_do():
    assert _summary([0.1, 0.2], 20, 20).overlap_dates == 1
    assert _summary([0.1, 0.2], 20, 18).overlap_dates == 2


def test_the_same_seed_gives_the_same_interval():
    coefficients = np.random.default_rng(1).normal(0.05, 0.1, 60)
    assert _summary(coefficients) == _summary(coefficients)
    assert _summary(coefficients).interval != _summary(coefficients, seed=2).interval


def test_equal_coefficients_have_no_spread():
    got = _summary([0.1] * 20)
    assert (got.information_ratio, got.t_statistic, got.interval) == (None, None, None)
    assert "values that differ" in got.no_interval_because
    assert _summary([]).dates == 0
    assert _summary([0.1]).std is None


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_scores_are_refused(broken):
    returns = _returns({DAY: {"1": [0.1, 0.3], "2": [0.2, 0.2]}})
    with pytest.raises(Refusal, match=r"1 of 2 not finite.*2025-01-06"):
        information_coefficients([_dated(0, {"1": 1.0, "2": broken})], returns, 1)


def test_wrong_use_is_refused():
    returns = _returns({DAY: {"1": [0.1, 0.3], "2": [0.2, 0.2]}})
    one = _dated(0, {"1": 1.0, "2": 2.0})
    with pytest.raises(ValueError, match="received=20"):
        information_coefficients([one], returns, 20)
    with pytest.raises(ValueError, match="oldest first"):
        information_coefficients([one, one], returns, 1)
    with pytest.raises(ValueError, match="from -1 to 1"):
        _summary([0.1, 1.1])
    for horizon, spacing in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="sessions"):
            _summary([0.1], horizon, spacing)
