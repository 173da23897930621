"""Fourth check: have features or scores drifted?"""

from __future__ import annotations

import numpy as np
import pytest

from apex_tasks.performance.checks.check import CheckVerdict
from apex_tasks.performance.checks.drift import MeasuredDrift, check_drift, measure_drift, sessions_wanted
from apex_tasks.settings import PerformanceSettings
from tests.support.checks import verdict_of

SETTINGS = PerformanceSettings()

NAMES = ("steady", "moved", "stopped", "stuck", "market")
STOCKS = 500


def sessions(number: int, wobble: float = 0.0) -> list[np.ndarray]:
    """Sessions of five columns; the last one is the same for all stocks, `wobble` moves the second."""
    random = np.random.default_rng(3)
    found = []
    for day in range(number):
        values = random.normal(size=(STOCKS, 5))
        values[:, 1] += wobble * (-1) ** day
        values[:, 4] = day
        found.append(values)
    return found


def drifted(measured: MeasuredDrift) -> list[str]:
    return [name for name, is_drifted in zip(measured.names, measured.drifted, strict=True) if is_drifted]


ENOUGH = sessions_wanted(SETTINGS)


def test_the_sessions_wanted_are_a_pool_and_those_that_a_rank_needs() -> None:
    assert ENOUGH == 6 + 19
    rarer = SETTINGS.model_copy(update={"check_false_alarm_rate": 0.02})
    assert sessions_wanted(rarer) == 6 + 49


@pytest.mark.parametrize("earlier", [20, ENOUGH])
def test_a_session_like_the_others_has_not_drifted(earlier: int) -> None:
    *before, now = sessions(earlier + 1)
    measured = measure_drift(NAMES, before, now, SETTINGS)
    assert drifted(measured) == []
    assert measured.market_wide.tolist() == [False, False, False, False, True]
    check = check_drift(measured, measured, ())
    assert verdict_of(check) is CheckVerdict.OK
    assert "0 of 4 features drifted" in check.finding


@pytest.mark.parametrize("earlier", [1, 2, 19])
def test_too_few_sessions_leave_it_unknown_whatever_the_figures_are(earlier: int) -> None:
    *before, now = sessions(earlier + 1)
    now[:, 1] += 1.0
    measured = measure_drift(NAMES, before, now, SETTINGS)
    assert measured.drift.psi[1] > SETTINGS.max_psi
    assert drifted(measured) == []
    check = check_drift(measured, measured, ())
    assert verdict_of(check) is CheckVerdict.UNKNOWN
    assert f"other distributions unknown, {earlier} earlier sessions of 20" in check.finding
    assert f"scores unknown, {earlier} earlier sessions of 20 (PSI " in check.finding


@pytest.mark.parametrize("earlier", [1, 6, ENOUGH])
def test_a_feed_that_stopped_or_stuck_is_named_with_any_number_of_sessions(earlier: int) -> None:
    *before, now = sessions(earlier + 1)
    now[: STOCKS // 2, 2] = np.nan
    now[:, 3] = 0.5
    measured = measure_drift(NAMES, before, now, SETTINGS)
    assert drifted(measured) == ["stopped", "stuck"]
    check = check_drift(measured, "no earlier month", ())
    assert verdict_of(check) is CheckVerdict.ATTENTION
    assert "2 of 4 features drifted: stuck (PSI " in check.finding
    assert "stopped (PSI 0." in check.finding
    assert "missing 0% to 50%" in check.finding
    assert "scores unknown, no earlier month" in check.finding


def test_a_feature_that_moved_is_named() -> None:
    *before, now = sessions(ENOUGH + 1)
    now[:, 1] += 1.0
    assert drifted(measure_drift(NAMES, before, now, SETTINGS)) == ["moved"]


def test_a_feed_that_stops_now_and_then_is_no_drift() -> None:
    *before, now = sessions(ENOUGH + 1)
    for session in (before[3], now):
        session[: STOCKS // 2, 2] = np.nan
    assert drifted(measure_drift(NAMES, before, now, SETTINGS)) == []


def test_a_move_as_usual_among_the_sessions_is_no_drift() -> None:
    *before, now = sessions(ENOUGH + 1, wobble=0.6)
    now[:, 1] += 0.1
    as_usual = measure_drift(NAMES, before, now, SETTINGS)
    assert as_usual.usual_psi[1] > SETTINGS.max_psi
    assert as_usual.drift.psi[1] > SETTINGS.max_psi
    now[:, 1] += 3.0 * np.sign(now[:, 1].mean())
    assert drifted(measure_drift(NAMES, before, now, SETTINGS)) == ["moved"]


def test_a_feature_that_never_was_does_not_drift_and_one_that_stopped_altogether_does() -> None:
    *before, now = sessions(4)
    now[:, 2] = np.nan
    for session in (*before, now):
        session[:, 3] = np.nan
    measured = measure_drift(NAMES, before, now, SETTINGS)
    assert drifted(measured) == ["stopped"]
    assert measured.market_wide[3]


def test_features_that_are_gone_need_attention() -> None:
    *before, now = sessions(2)
    measured = measure_drift(NAMES, before, now, SETTINGS)
    check = check_drift(measured, measured, [f"f{n}" for n in range(7)])
    assert verdict_of(check) is CheckVerdict.ATTENTION
    assert "7 features are no longer in the dataset: f0, f1, f2, f3, f4 and 2 more" in check.finding
    assert verdict_of(check_drift("nothing there", measured, ())) is CheckVerdict.UNKNOWN
    assert verdict_of(check_drift("nothing there", measured, ("f0",))) is CheckVerdict.ATTENTION


def test_scores_that_drifted_need_attention() -> None:
    *before, now = sessions(ENOUGH + 1)
    same = measure_drift(NAMES, before, now, SETTINGS)
    scores = measure_drift(["score"], [session[:, :1] for session in before], 0.3 * now[:, :1], SETTINGS)
    check = check_drift(same, scores, ())
    assert verdict_of(check) is CheckVerdict.ATTENTION
    assert "scores drifted (PSI " in check.finding
