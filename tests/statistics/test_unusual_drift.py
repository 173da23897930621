"""The rank of the newest session: its rate of false alarms, a slow oracle, and the least number of sessions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from apex_tasks.statistics.unusual_drift import sessions_needed, unusual_drift

NO_BOUND = 1e-12


def figures(random: np.random.Generator, sessions: int, features: int, kinds: int = 2) -> np.ndarray:
    """Heavy-tailed figures that move together: every feature has its own size and law."""
    common = np.abs(random.standard_t(3, (sessions, kinds, 1)))
    own = random.standard_exponential((sessions, kinds, features)) ** np.linspace(0.5, 3, features)
    return (common + own) * np.exp(np.linspace(-3, 3, features))


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.02, 49), (0.5, 1), (0.1, 9), (0.03, 33)])
def test_a_rank_among_few_sessions_is_never_rare(rate: float, needed: int) -> None:
    assert sessions_needed(rate) == needed
    with pytest.raises(ValueError, match=f"at least {needed} earlier ones, received={needed - 1}"):
        unusual_drift(np.ones((needed, 1, 3)), 1.0, rate)
    unusual_drift(np.ones((needed + 1, 1, 3)), 1.0, rate)


@pytest.mark.parametrize(("sessions", "rate"), [(20, 0.05), (25, 0.05), (40, 0.05), (40, 0.1)])
def test_nothing_drifts_as_often_as_stated(sessions: int, rate: float) -> None:
    """Over all 40 features together, exactly k / (n + 1), whatever their laws."""
    random = np.random.default_rng(sessions)
    trials = 1_500
    alarms = sum(
        bool(unusual_drift(figures(random, sessions, 40), NO_BOUND, rate).unusual.any())
        for _ in range(trials)
    )
    exact = math.floor(rate * sessions + 1e-9) / sessions
    assert exact <= rate
    assert stats.binom.ppf(1e-4, trials, exact) <= alarms <= stats.binom.ppf(1 - 1e-4, trials, exact)


def test_the_ratio_and_the_limit_are_those_of_a_slow_computation() -> None:
    found = figures(np.random.default_rng(5), 41, 7)
    bounds = np.full(found.shape, 0.4)
    ratios = np.empty((41, 7))
    for session in range(41):
        for feature in range(7):
            ratios[session, feature] = max(
                found[session, kind, feature]
                / max(bounds[session, kind, feature], *np.delete(found[:, kind, feature], session))
                for kind in range(2)
            )
    judged = unusual_drift(found, bounds, 0.05)
    assert judged.ratio == pytest.approx(ratios[-1])
    assert judged.limit == pytest.approx(
        sorted(ratios[:-1].max(axis=1))[-2]
    )  # 2 / 41 is below 5 %, 3 / 41 is not
    assert judged.unusual.tolist() == (ratios[-1] > max(judged.limit, 1)).tolist()


def test_what_moves_beyond_all_others_is_named_and_below_its_bound_nothing_is() -> None:
    found = figures(np.random.default_rng(6), 25, 40)
    found[-1, 0, 3] = 50 * found[:, 0, 3].max()
    assert np.flatnonzero(unusual_drift(found, NO_BOUND, 0.05).unusual).tolist() == [3]
    assert not unusual_drift(found, found.max(), 0.05).unusual.any()


def test_without_features_or_values_nothing_is_unusual() -> None:
    assert unusual_drift(np.empty((25, 2, 0)), 1.0, 0.05).unusual.shape == (0,)
    assert not unusual_drift(np.full((25, 2, 3), np.nan), 1.0, 0.05).unusual.any()
