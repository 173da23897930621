"""Third check: has the market changed?"""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest

from apex_tasks.dataset.prices.market_returns import MarketReturns
from apex_tasks.performance.checks.check import CheckVerdict
from apex_tasks.performance.checks.regime import Regime, check_market
from apex_tasks.settings import PerformanceSettings
from tests.support.checks import verdict_of
from tests.support.small_market import CALENDAR

DAYS = CALENDAR.sessions(dt.date(2024, 1, 4), dt.date(2025, 10, 10))


def market_of(before: list[float], live: list[float]) -> tuple[MarketReturns, dt.date]:
    """Returns of consecutive sessions, and the session of the first fill: the last one before."""
    returns = np.array([*before, *live])
    return MarketReturns(DAYS[: len(returns)], returns, 0, adjusted=True), DAYS[len(before) - 1]


CALM = [0.01, -0.01] * 40


@pytest.mark.parametrize(
    ("live", "finding"),
    [
        (CALM[:40], None),
        ([0.009, -0.009] * 20, None),
        ([0.016, -0.016] * 20, "volatility is 1.60 times"),
        ([0.006, -0.006] * 20, "volatility is 0.60 times"),
        ([-0.01] * 3 + [0.01, -0.01] * 15 + [0.01] * 3, "the drawdown is deeper than any before"),
        ([0.02, -0.01] * 20, "the mean return is +3.2 standard errors away"),
    ],
)
def test_each_way_in_which_a_market_can_be_another_one(live: list[float], finding: str | None) -> None:
    returns, live_from = market_of(CALM, live)
    check = check_market(returns, live_from, PerformanceSettings().max_volatility_ratio)
    if finding is None:
        assert verdict_of(check) is CheckVerdict.OK
    else:
        assert verdict_of(check) is CheckVerdict.ATTENTION
        assert finding in check.finding


def test_a_regime_is_measured_as_by_hand() -> None:
    regime = Regime.of(np.array([0.10, -0.20, 0.05]))
    assert regime.yearly_return == pytest.approx((1.1 * 0.8 * 1.05) ** (252 / 3) - 1)
    mean = -0.05 / 3
    spread = math.sqrt(((0.10 - mean) ** 2 + (-0.20 - mean) ** 2 + (0.05 - mean) ** 2) / 3)
    assert regime.volatility == pytest.approx(spread * math.sqrt(252))
    assert regime.drawdown == pytest.approx(0.20)


@pytest.mark.parametrize(("before", "live"), [(59, 20), (60, 19), (0, 20)])
def test_a_short_market_is_unknown(before: int, live: int) -> None:
    returns, _ = market_of(CALM[:before], CALM[:live])
    live_from = DAYS[before - 1] if before else DAYS[0] - dt.timedelta(days=1)
    check = check_market(returns, live_from, 1.5)
    assert verdict_of(check) is CheckVerdict.UNKNOWN
    assert f"{live} live sessions and {before} before" in check.finding
    assert verdict_of(check_market(returns, None, 1.5)) is CheckVerdict.UNKNOWN


def test_what_the_market_leaves_out_is_told() -> None:
    returns, live_from = market_of(CALM, CALM[:40])
    raw = MarketReturns(returns.days, returns.returns, 3, adjusted=False, left_out_after_gap=2)
    finding = check_market(raw, live_from, 1.5).finding
    assert (
        "3 single returns beyond the daily price limit were left out; 2 over more than 10 sessions as well"
        in finding
    )
    assert "not adjusted for dividends" in finding
    plain = MarketReturns(returns.days, returns.returns, 3, adjusted=True, daily_limits=False)
    assert "3 single returns beyond 50 % were left out" in check_market(plain, live_from, 1.5).finding
