"""Rank correlation against its definition, scipy and pandas."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from apex_tasks.statistics.rank_ic import rank_ic

values = st.integers(-3, 3).map(float)  # few values, hence many ties


@given(st.lists(st.tuples(values, values), min_size=2, max_size=30))
def test_equals_the_correlation_of_average_ranks(pairs):
    scores, returns = map(list, zip(*pairs, strict=True))

    def ranks(column):
        return [
            sum(other < value for other in column) + (sum(other == value for other in column) + 1) / 2
            for value in column
        ]

    if len({*scores}) == 1 or len({*returns}) == 1:
        assert math.isnan(rank_ic(scores, returns))
    else:
        assert rank_ic(scores, returns) == pytest.approx(np.corrcoef(ranks(scores), ranks(returns))[0, 1])


def test_order_is_all_that_counts():
    assert rank_ic([1, 2, 3, 4], [-9, 0.1, 0.2, 1e9]) == pytest.approx(1)
    assert rank_ic([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_ic([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)


def test_stocks_without_a_return_are_left_out():
    assert rank_ic([1, 99, 2, 3], [1, np.nan, 2, 3]) == pytest.approx(1)
    assert math.isnan(rank_ic([1, 2], [np.nan, 1]))
    assert math.isnan(rank_ic([], []))


def test_is_that_of_scipy_but_for_the_last_bit():
    rng = np.random.default_rng(0)
    for stocks in (3, 70, 3300):
        a, b = rng.normal(size=stocks), rng.normal(size=stocks).round(1)
        assert rank_ic(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-15)
    left, right = pd.Series([3.0, 1, 4, 1, 5]), pd.Series([2.0, 7, 1, 8, 2])
    assert rank_ic(left, right) == pytest.approx(left.rank().corr(right.rank()))
