"""Third check: has the market changed?"""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest

from apex_tasks.dataset.prices.market_returns import MarketReturns
from apex_tasks.performance.checks.check import CheckVerdict
from apex_tasks.performance.checks.regime import Regime, check_market, market_changes
from apex_tasks.settings import PerformanceSettings
from apex_tasks.statistics.return_comparison import volatility_change_p_value
from tests.support.checks import verdict_of
from tests.support.small_market import CALENDAR

DAYS = CALENDAR.sessions(dt.date(2024, 1, 4), dt.date(2025, 10, 10))


def market_of(before: list[float], live: list[float]) -> tuple[MarketReturns, dt.date]:
    """Returns of consecutive sessions, and the session of the first fill: the last one before."""
    returns = np.array([*before, *live])
    return MarketReturns(DAYS[: len(returns)], returns, 0, adjusted=True), DAYS[len(before) - 1]


CALM = [0.01, -0.01] * 40
RANDOM = np.random.default_rng(8)
USUAL = list(RANDOM.normal(0.0003, 0.01, 300))
FOLLOWING = RANDOM.normal(0.0003, 0.01, 60)
SETTINGS = PerformanceSettings()


@pytest.mark.parametrize(
    ("live", "finding"),
    [
        (FOLLOWING, None),
        (FOLLOWING * 0.8, None),
        (FOLLOWING * 2.0, "volatility is 2.0"),
        (FOLLOWING * 0.4, "volatility is 0.4"),
        (FOLLOWING + 0.01, "the mean return is +0."),
        (np.sort(FOLLOWING), "the drawdown is deeper than "),
    ],
)
def test_each_way_in_which_a_market_can_be_another_one(live: np.ndarray, finding: str | None) -> None:
    returns, live_from = market_of(USUAL, list(live))
    check = check_market(returns, live_from, SETTINGS)
    if finding is None:
        assert verdict_of(check) is CheckVerdict.OK
    else:
        assert verdict_of(check) is CheckVerdict.ATTENTION
        assert finding in check.finding


def test_a_change_that_chance_hardly_makes_but_is_small_needs_no_attention() -> None:
    """The ratio of volatilities is a bound of size: 1.3 times is sure after 900 sessions, and not another market."""
    random = np.random.default_rng(4)
    before, now = random.normal(0, 0.01, 900), random.normal(0, 0.013, 900)
    assert volatility_change_p_value(now, before) < 0.01
    assert market_changes(now, before, SETTINGS) == []
    sensitive = SETTINGS.model_copy(update={"max_volatility_ratio": 1.1})
    assert len(market_changes(now, before, sensitive)) == 1


@pytest.mark.parametrize(("before", "live"), [(USUAL[:60], [0.0] * 20), ([0.001] * 60, USUAL[:20])])
def test_a_market_that_stands_still_needs_attention(before: list[float], live: list[float]) -> None:
    check = check_market(*market_of(before, live), SETTINGS)
    assert verdict_of(check) is CheckVerdict.ATTENTION
    assert "the market does not move" in check.finding


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
    check = check_market(returns, live_from, SETTINGS)
    assert verdict_of(check) is CheckVerdict.UNKNOWN
    assert f"{live} live sessions and {before} before" in check.finding
    assert verdict_of(check_market(returns, None, SETTINGS)) is CheckVerdict.UNKNOWN


def test_what_the_market_leaves_out_is_told() -> None:
    returns, live_from = market_of(CALM, CALM[:40])
    raw = MarketReturns(returns.days, returns.returns, 3, adjusted=False, left_out_after_gap=2)
    finding = check_market(raw, live_from, SETTINGS).finding
    assert (
        "3 single returns beyond the daily price limit were left out; 2 over more than 10 sessions as well"
        in finding
    )
    assert "not adjusted for dividends" in finding
    plain = MarketReturns(returns.days, returns.returns, 3, adjusted=True, daily_limits=False)
    assert "3 single returns beyond 50 % were left out" in check_market(plain, live_from, SETTINGS).finding
