"""Comparisons of two stretches of returns: seeded rates of false alarms, power, and figures by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from apex_tasks.statistics.performance import annualized_sharpe
from apex_tasks.statistics.return_comparison import (
    SHARPE_RATIO,
    WIN_RATE_PCT,
    YEARLY_RETURN_PCT,
    MeanFigure,
    mean_difference_p_value,
    predicted_drawdowns,
    volatility_change_p_value,
)

BOOKS = 3_000
FIGURES = {"Sharpe": SHARPE_RATIO, "return": YEARLY_RETURN_PCT, "wins": WIN_RATE_PCT}


def law(name: str, sessions: int, seed: int, books: int = BOOKS) -> np.ndarray:
    """Returns in percent of many books, a Sharpe ratio of 1.44; independent and normal, or neither."""
    random = np.random.default_rng(seed)
    if name == "independent":
        noise = random.standard_normal((books, sessions))
    else:
        shocks = random.standard_t(5, (books, sessions + 50)) / math.sqrt(5 / 3)
        noise = lfilter([math.sqrt(0.96)], [1.0, -0.2], shocks)[:, 50:]
    return noise + 1.44 / math.sqrt(252)


def figure_of(figure: MeanFigure, returns_pct: np.ndarray) -> Any:
    return figure.in_its_unit(figure.linearized(returns_pct)[0])


def most(rate: float, trials: int) -> int:
    """More alarms than this come from such a rate in one of 10,000 cases."""
    return int(stats.binom.ppf(1 - 1e-4, trials, rate))


def test_the_figures_are_those_of_a_book() -> None:
    returns = law("independent", 60, 0, 1)[0]
    assert figure_of(SHARPE_RATIO, returns) == pytest.approx(annualized_sharpe(returns))
    assert figure_of(YEARLY_RETURN_PCT, returns) == pytest.approx(
        (np.prod(1 + returns / 100) ** (252 / 60) - 1) * 100
    )
    assert figure_of(WIN_RATE_PCT, returns) == pytest.approx((returns > 0).mean() * 100)


@pytest.mark.parametrize("sessions", [60, 250])
@pytest.mark.parametrize("name", ["independent", "dependent"])
def test_all_figures_together_alarm_on_nothing_at_the_stated_rate(name: str, sessions: int) -> None:
    """As the judgement does: the rate is shared between the figures; the other stretch has noise of its own."""
    live, benchmark = law(name, sessions, 1), law(name, 442, 2)
    for rate in (0.05, 0.01):
        alarms = np.zeros(BOOKS, dtype=bool)
        for figure in FIGURES.values():
            low, high = figure.interval(live, 442, rate / len(FIGURES))
            claimed = figure_of(figure, benchmark)
            alarms |= (claimed < low) | (claimed > high)
        assert alarms.sum() <= most(rate, BOOKS)


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_one_figure_alarms_as_often_as_stated(figure: MeanFigure) -> None:
    """Not only at most: an interval that is far too wide alarms on nothing and on no fault either."""
    low, high = figure.interval(law("independent", 120, 3), 442, 0.05)
    claimed = figure_of(figure, law("independent", 442, 4))
    alarms = int(((claimed < low) | (claimed > high)).sum())
    assert abs(alarms - 0.05 * BOOKS) < 4.5 * math.sqrt(0.05 * 0.95 * BOOKS)


def test_the_noise_of_the_benchmark_counts() -> None:
    live = law("independent", 250, 5)
    claimed = figure_of(SHARPE_RATIO, law("independent", 250, 6))
    low, high = SHARPE_RATIO.interval(live, 10**9, 0.05)
    assert np.mean((claimed < low) | (claimed > high)) > 0.1
    low, high = SHARPE_RATIO.interval(live, 250, 0.05)
    assert np.mean((claimed < low) | (claimed > high)) < 0.065


def test_a_book_that_loses_steadily_is_found_within_a_year() -> None:
    live = law("independent", 250, 7, 500) - 5 / math.sqrt(252)
    low, high = SHARPE_RATIO.interval(live, 442, 0.01 / 4)
    claimed = figure_of(SHARPE_RATIO, law("independent", 442, 8, 500))
    assert np.mean((claimed < low) | (claimed > high)) > 0.6


@pytest.mark.parametrize("name", ["independent", "dependent"])
@pytest.mark.parametrize(("before", "now"), [(250, 60), (1_000, 250)])
def test_a_market_that_goes_on_has_small_p_values_as_seldom_as_stated(
    name: str, before: int, now: int
) -> None:
    returns = law(name, before + now, 9, 1_500)
    for p_value in (mean_difference_p_value, volatility_change_p_value):
        alarms = int((p_value(returns[:, before:], returns[:, :before]) < 0.05).sum())
        # Volatility is judged by a few long waves: with fat tails a little more often than stated.
        assert alarms <= most(0.075 if p_value is volatility_change_p_value else 0.055, 1_500)
        assert alarms >= 1_500 * 0.02


def test_a_market_that_changed_has_small_p_values() -> None:
    returns = law("independent", 310, 10, 300)
    before, now = returns[:, :250], returns[:, 250:]
    assert np.mean(volatility_change_p_value(now * 2, before) < 0.02) > 0.9
    assert np.mean(mean_difference_p_value(now + 1.0, before) < 0.02) > 0.9


@pytest.mark.parametrize(("length", "other"), [(120, 60), (60, 240)])
def test_drawdowns_of_another_stretch_are_predicted(length: int, other: int) -> None:
    """Either tail of the draws holds its share of the other stretch's drawdowns, however long either is."""
    ranks = []
    for one, two in zip(law("independent", length, 11, 200), law("independent", other, 12, 200), strict=True):
        value = np.concatenate([[1.0], np.cumprod(1 + two / 100)])
        drawdown = np.max(1 - value / np.maximum.accumulate(value))
        ranks.append(predicted_drawdowns(one / 100, other, seed=1, draws=400).searchsorted(drawdown) / 400)
    assert 0 < np.mean(np.array(ranks) > 0.9) < 0.16
    assert 0 < np.mean(np.array(ranks) < 0.1) < 0.16


def test_predicted_drawdowns_are_ascending_fractions_and_repeat() -> None:
    returns = law("dependent", 60, 13, 1)[0] / 100
    found = predicted_drawdowns(returns, 100, seed=3, draws=500)
    assert found.shape == (500,)
    assert np.all(np.diff(found) >= 0)
    assert 0 <= found[0] < found[-1] <= 1
    assert np.array_equal(found, predicted_drawdowns(returns, 100, seed=3, draws=500))
