"""Dividends from adjusted closes: a step of the ratio is one, the rounding of the closes is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.portfolio.dividends import AdjustedClose, dividends_per_share
from apex_tasks.portfolio.splits import share_factors

prices = st.floats(50, 50_000)


def paid(before: AdjustedClose, after: AdjustedClose) -> float:
    return dividends_per_share({"13010": before}, {"13010": after}).get("13010", 0.0)


@given(close=prices, move=st.floats(0.8, 1.25), share=st.floats(0.0005, 0.0195))
def test_a_dividend_is_found_whatever_the_price_does(close: float, move: float, share: float) -> None:
    dividend = share * close
    before = AdjustedClose(close, close * (1 - dividend / close))
    after = AdjustedClose((close - dividend) * move, (close - dividend) * move)
    assert paid(before, after) == pytest.approx(dividend, rel=1e-6)


@given(
    close=prices,
    move=st.floats(0.8, 1.25),
    factor=st.sampled_from([1.0, 0.5, 0.2, 1 / 3, 0.1, 2.0]),
    decimals=st.sampled_from([0, 1, 2, 4, 9]),
)
def test_rounded_adjusted_closes_pay_nothing(close: float, move: float, factor: float, decimals: int) -> None:
    before, after = (AdjustedClose(price, round(price * factor, decimals)) for price in (close, close * move))
    assert paid(before, after) == 0.0


@pytest.mark.parametrize("step", [1.02, 1.5, 2.0, 0.99, 0.5, 1.00005])
def test_splits_corrections_and_noise_are_no_dividends(step: float) -> None:
    assert paid(AdjustedClose(1000.0, 1000.0 / step), AdjustedClose(1000.0, 1000.0)) == 0.0


def test_every_step_is_a_split_or_a_dividend_and_never_both() -> None:
    for thousandths in range(1, 100):
        ratio = 1 - thousandths / 1000
        split = share_factors({"13010": ratio}, {"13010": 1.0})
        dividend = paid(AdjustedClose(1234.5, 1234.5 * ratio), AdjustedClose(1200.0, 1200.0))
        assert bool(split) != bool(dividend), thousandths


def test_stocks_are_told_apart_and_ordered() -> None:
    before = {code: AdjustedClose(1000.0, 990.0) for code in ("20000", "10000", "30000")}
    after = {code: AdjustedClose(1000.0, 1000.0) for code in ("20000", "10000")}
    assert list(dividends_per_share(before, after).items()) == [
        ("10000", pytest.approx(10.0)),
        ("20000", pytest.approx(10.0)),
    ]
