"""The daily price limit against the table tier by tier, limits that the exchange published, and its shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.market.price_limits import BROADENED, daily_limit_jpy
from tests.support.price_limit_oracle import LIMITS_JPY, LOWER_JPY

PRICES = st.floats(1e-3, 1e9, allow_subnormal=False)


def limit(base_jpy: float) -> float:
    return float(daily_limit_jpy(base_jpy))


def test_there_are_34_tiers() -> None:
    assert len(LOWER_JPY) == len(LIMITS_JPY) == 34


@pytest.mark.parametrize(
    ("lower", "upper", "jpy"), list(zip(LOWER_JPY, [*LOWER_JPY[1:], 1e12], LIMITS_JPY, strict=True))
)
def test_a_tier_holds_from_its_lower_bound_to_below_the_next(lower: float, upper: float, jpy: int) -> None:
    inside = [max(lower, 0.1), (lower + upper) / 2, math.nextafter(upper, 0)]
    assert [limit(base) for base in inside] == [jpy, jpy, jpy]


@pytest.mark.parametrize(
    ("base", "upper", "lower", "factor_up", "factor_down"),
    [
        (1_064, 2_264, 764, BROADENED, 1),
        (1_690, 3_290, 1_290, BROADENED, 1),
        (650, 750, 250, 1, BROADENED),
        (2_635, 4_635, 2_135, BROADENED, 1),
        (783, 1_383, 633, BROADENED, 1),
        (751.6, 1_352, 601.6, BROADENED, 1),
        (27_160, 47_160, 22_160, BROADENED, 1),
        (1_497.5, 2_697.5, 1_197.5, BROADENED, 1),
        (5_686, 6_686, 1_686, 1, BROADENED),
    ],
)
def test_limits_are_those_that_the_exchange_published(
    base: float, upper: float, lower: float, factor_up: int, factor_down: int
) -> None:
    """JPX news 1030/20220208-01 (for 2022-02-09) and 20250407-02 (for 2025-04-08), to the tick of 1 JPY."""
    assert base + factor_up * limit(base) == pytest.approx(upper, abs=0.5)
    assert base - factor_down * limit(base) == pytest.approx(lower, abs=1e-9)


@given(st.lists(PRICES, min_size=2))
def test_a_higher_base_never_has_a_narrower_limit(bases: list[float]) -> None:
    assert (np.diff(daily_limit_jpy(np.sort(bases))) >= 0).all()


@given(st.floats(100, 5e7))
def test_between_the_outer_tiers_the_limit_is_14_to_50_per_cent_of_the_base(base: float) -> None:
    assert 0.14 <= limit(base) / base <= 0.5


@pytest.mark.parametrize("base", [math.nan, 0.0, -0.0, -500.0, math.inf, -math.inf])
def test_what_is_no_price_has_no_limit(base: float) -> None:
    assert math.isnan(limit(base))


def test_arrays_of_any_shape_keep_it() -> None:
    found = daily_limit_jpy(np.array([[650.0, np.nan], [0.0, 5_686.0]], dtype=np.float64))
    np.testing.assert_array_equal(found, [[100.0, np.nan], [np.nan, 1_000.0]])
    assert found.dtype == np.float64
    assert daily_limit_jpy(np.empty(0)).shape == (0,)
