"""The simulation of `make false-alarms`, made short: judgements alarm on nothing as seldom as they say."""

from __future__ import annotations

import false_alarms
import numpy as np
import pytest
from scipy import stats

from apex_tasks.settings import PerformanceSettings

SETTINGS = PerformanceSettings(false_alarm_rate=0.05)


def within(rate: false_alarms.Rate, stated: float) -> bool:
    """Whether so many alarms come from the stated rate in more than one of 1,000 cases."""
    return rate.alarms <= stats.binom.ppf(0.999, rate.trials, stated)


@pytest.mark.parametrize("law", false_alarms.LAWS)
def test_every_law_has_variance_1_and_no_mean(law: str) -> None:
    returns = false_alarms.LAWS[law](np.random.default_rng(1), 40_000)
    assert returns.mean() == pytest.approx(0, abs=0.04)
    assert returns.std() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("law", false_alarms.LAWS)
def test_books_that_do_what_their_benchmarks_did_alarm_as_stated(law: str) -> None:
    by_interval, by_share = false_alarms.deviation_rate(law, 60, 50, SETTINGS)
    assert within(by_interval, SETTINGS.false_alarm_rate)
    assert by_share.share > 0.9


@pytest.mark.slow
def test_a_book_far_from_its_benchmark_alarms() -> None:
    found, _ = false_alarms.deviation_rate("independent", 250, 25, SETTINGS, live_sharpe=-6.0)
    assert found.share > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("law", false_alarms.LAWS)
def test_a_market_that_goes_on_needs_attention_as_stated(law: str) -> None:
    assert within(false_alarms.regime_rate(law, 1_000, 60, 50, SETTINGS), SETTINGS.check_false_alarm_rate)


@pytest.mark.slow
def test_another_market_needs_attention() -> None:
    assert false_alarms.regime_rate("independent", 1_000, 60, 25, SETTINGS, volatility=2.0).share > 0.8


@pytest.mark.slow
def test_sound_features_drift_as_stated_and_a_moved_one_is_found() -> None:
    sound = false_alarms.drift_rate(0.5, 20, SETTINGS, features=4)
    assert within(sound, SETTINGS.check_false_alarm_rate)
    assert false_alarms.drift_rate(0.5, 5, SETTINGS, features=4, move=4.0).share > 0.8
