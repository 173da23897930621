"""Trading costs against hand-computed examples, a plain-loop oracle and the shape of the cost curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.support.oracle_portfolio as oracle
from apex_tasks.market.costs import CommissionTier, CostModel

COSTS = CostModel()
VALUES = (
    st.just(0.0)
    | st.floats(1e-3, 1e9)
    | st.sampled_from([5e6, 5_000_001.0, 1e7, 10_000_001.0, 2e7, 20_000_001.0])
)


@pytest.mark.parametrize(
    ("value", "commission"),
    [
        (0, 0),
        (1, 55),
        (50_000, 55),
        (100_000, 55),
        (200_000, 110),
        (285_714.29, 157.1428595),
        (1_000_000, 550),
        (5_000_000, 550),
        (5_000_001, 1_650),
        (10_000_000, 1_650),
        (10_000_001, 2_200.00022),
        (15_000_000, 3_300),
        (20_000_000, 3_300),
        (20_000_001, 2_200.00011),
        (100_000_000, 11_000),
        (1_000_000_000, 11_000),
    ],
)
def test_commission_of_each_tier(value, commission):
    assert COSTS.commission_jpy(value) == pytest.approx(commission, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "adv", "bps"),
    [
        (285_714.29, 1e9, 10.528571),
        (285_714.29, 0.0, 11.5),
        (285_714.29, -1.0, 11.5),
        (285_714.29, math.nan, 11.5),
        (285_714.29, 100 * 285_714.29, 11.5),
        (285_714.29, 1.0, 25.5),
        (285_714.29, 5e-324, 25.5),
        (5_000_000, 1e9, 6.6),
        (5_000_001, 1e9, 8.8),
        (0, 1e9, 0.0),
        (0, 0.0, 0.0),
    ],
)
def test_cost_in_bps(value, adv, bps):
    assert COSTS.trade_cost(value, adv).bps == pytest.approx(bps, abs=1e-5)


def test_cost_of_a_usual_trade_in_jpy():
    cost = COSTS.trade_cost(285_714.29, 1e9)
    assert cost.commission_jpy == pytest.approx(157.14, abs=0.005)
    assert cost.slippage_jpy == pytest.approx(143.67, abs=0.005)
    assert cost.total_jpy == cost.commission_jpy + cost.slippage_jpy


@pytest.mark.parametrize("value", [-1.0, -1e-300, math.nan, math.inf])
def test_refuses_values_that_are_no_trade(value):
    with pytest.raises(ValueError, match="value_jpy"):
        COSTS.commission_jpy([1e6, value])
    with pytest.raises(ValueError, match="value_jpy"):
        COSTS.trade_cost([1e6, value], 1e9)


def test_refuses_an_infinite_volume():
    with pytest.raises(ValueError, match="adv_jpy"):
        COSTS.trade_cost(1e6, math.inf)


@pytest.mark.parametrize("bounds", [(), (5.0,), (math.inf, math.inf), (9.0, 5.0, math.inf)])
def test_refuses_tiers_that_leave_a_gap(bounds):
    with pytest.raises(ValueError, match="tiers"):
        CostModel(tiers=tuple(CommissionTier(bound, 0.001, 0, 1) for bound in bounds))


@given(st.lists(st.tuples(VALUES, st.none() | st.floats(1, 1e12)), min_size=1, max_size=30))
def test_agrees_with_the_oracle(trades):
    value = np.array([value for value, _ in trades])
    adv = np.array([adv for _, adv in trades], dtype=np.float64)
    cost = COSTS.trade_cost(value, adv)
    expected = [oracle.cost(v, oracle.volume("x", v, {"x": a})) for v, a in trades]
    np.testing.assert_allclose(cost.total_jpy, expected, rtol=1e-12)
    np.testing.assert_allclose(cost.bps * value / 1e4, expected, rtol=1e-12)


@given(VALUES.filter(bool), st.floats(1, 1e12), st.floats(1, 10))
def test_a_deeper_market_never_costs_more(value, adv, factor):
    cost, deeper = COSTS.trade_cost([value, value], [adv, adv * factor]).total_jpy
    assert 0 < deeper <= cost


def test_shapes_are_kept():
    value = np.array([[1e5, 2e5, 3e5], [4e6, 6e6, 3e7]])
    cost = COSTS.trade_cost(value, [1e8, 1e9, np.nan])
    assert cost.total_jpy.shape == cost.bps.shape == (2, 3)
    assert cost.total_jpy[1, 2] == COSTS.trade_cost(3e7, np.nan).total_jpy
    assert COSTS.trade_cost([], []).total_jpy.shape == (0,)
