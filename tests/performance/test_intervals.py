"""Intervals of the live figures: where there is one, and in which unit."""

from __future__ import annotations

import numpy as np
import pytest

from apex_tasks.performance.benchmarks import Metric
from apex_tasks.performance.intervals import live_intervals
from apex_tasks.statistics.performance import annualized_sharpe

RETURNS_PCT = np.random.default_rng(1).normal(0.05, 1.0, 120)


def test_the_figures_of_daily_returns_lie_in_their_intervals() -> None:
    found = live_intervals(RETURNS_PCT)
    yearly_pct = (np.prod(1 + RETURNS_PCT / 100) ** (252 / len(RETURNS_PCT)) - 1) * 100
    figures = {
        Metric.SHARPE: annualized_sharpe(RETURNS_PCT),
        Metric.RETURN: yearly_pct,
        Metric.WIN_RATE: (RETURNS_PCT > 0).mean() * 100,
    }
    assert found.keys() == figures.keys()
    for metric, (low, high) in found.items():
        assert low < figures[metric] < high


def test_the_same_returns_have_the_same_intervals() -> None:
    assert live_intervals(RETURNS_PCT) == live_intervals(RETURNS_PCT.copy())


@pytest.mark.parametrize("returns", [np.array([]), np.full(11, 0.1), np.zeros(60)])
def test_a_history_that_is_too_short_or_flat_has_none(returns: np.ndarray) -> None:
    assert live_intervals(returns) == {}


def test_a_figure_that_resampling_loses_has_no_interval() -> None:
    """One gain among losses: some resampled series have no spread, and their Sharpe ratio is undefined."""
    returns = np.array([1.0] + [-0.1] * 29)
    assert Metric.SHARPE not in live_intervals(returns)
    assert Metric.WIN_RATE in live_intervals(returns)
