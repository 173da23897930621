"""Information coefficients: what is summarized, what is counted, and how overlap weighs."""

from __future__ import annotations

import datetime as dt
import math
from statistics import fmean, stdev

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data.rank_ic_summary import rank_ic_summary, shortest_spacing, summarize_coefficients


def _summary(coefficients, horizon=1, spacing=1, **changes):
    arguments = {"seed": 1, "repetitions": 200} | changes
    return summarize_coefficients(
        coefficients, horizon_sessions=horizon, spacing_sessions=spacing, **arguments
    )


def test_golden_answer_by_hand():
    got = _summary([0.1, math.nan, 0.3, -0.1, 0.1, math.nan])
    assert got.dates == 4
    assert got.mean == pytest.approx(0.1)
    assert got.std == pytest.approx(math.sqrt(0.08 / 3))
    assert got.t_statistic == got.t_statistic_overlap == pytest.approx(0.2 / math.sqrt(0.08 / 3))
    assert got.share_positive == 0.75
    assert got.interval is None


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
    assert (got.dates, got.overlap_dates) == (n, overlap)
    if n == 0:
        assert got.mean is got.share_positive is None
        return
    assert got.mean == pytest.approx(fmean(known))
    assert got.share_positive == sum(value > 0 for value in known) / n
    if len(set(known)) < 2:
        assert got.t_statistic is got.t_statistic_overlap is None
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
    else:
        assert got.interval is None


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
    assert (got.t_statistic, got.interval) == (None, None)
    assert _summary([]).dates == 0
    assert _summary([0.1]).std is None


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="from -1 to 1"):
        _summary([0.1, 1.1])
    for horizon, spacing in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="sessions"):
            _summary([0.1], horizon, spacing)


def test_rank_ic_summary_is_that_of_a_mean_with_blocks_as_long_as_months_overlap() -> None:
    values = 0.05 + 0.1 * np.random.default_rng(5).standard_normal(24)
    table = pd.DataFrame({"as_of": range(24), "stocks": 5, "at_last_price": 0, "model": values})
    (row,) = rank_ic_summary(table, 19).to_dict("records")
    assert (row["scores"], row["months"]) == ("model", 24)
    assert row["mean"] == pytest.approx(values.mean())
    assert row["t"] == pytest.approx(values.mean() / (values.std(ddof=1) / math.sqrt(24)))
    assert row["positive"] == (values > 0).mean()
    assert row["mean_low"] < row["mean"] < row["mean_high"]
    assert row["block_months"] >= 2  # 20 sessions reach past a month of 19
    few = rank_ic_summary(table[:4], 19)
    assert few["mean_low"].isna().all()


def test_the_shortest_month_counts_sessions() -> None:
    days = [dt.date(2012, 1, 1) + dt.timedelta(days=n) for n in range(60)]
    assert shortest_spacing(days, [days[3], days[23], days[42]]) == 19
