"""Scores from elsewhere run through the very path that the model's take."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from apex_tasks.backtesting.backtest import BacktestRequest, Market, backtest, open_market
from apex_tasks.backtesting.scores import GivenScores
from apex_tasks.refusal import Refusal
from apex_tasks.settings import SelectionSettings, Timing
from tests.support.small_market import CALENDAR, JULY, LAST_SESSION, SmallMarket, small_settings

pytestmark = pytest.mark.slow


def opened(market: SmallMarket, timing: Timing = Timing.LIVE) -> Market:
    request = BacktestRequest(
        bundle=str(market.bundle),
        dataset=str(market.dataset),
        start=JULY,
        end=LAST_SESSION,
        timing=timing,
        settings=small_settings("unused"),
    )
    return open_market(request, CALENDAR)


def sessions_of(market: Market) -> list:
    """As-of sessions of live timing, and the days that decide in the other."""
    firsts = {(day.year, day.month): day for day in reversed(market.days)}
    return [rebalance.as_of for rebalance in market.schedule] + list(firsts.values())


@pytest.mark.parametrize("timing", list(Timing))
def test_the_models_own_scores_given_as_a_table_make_the_same_backtest(
    market: SmallMarket, timing: Timing
) -> None:
    own = opened(market, timing)
    expected = backtest(own)
    tables = {
        day: own.scores.ranked(day)[["Code", "Score"]].sample(frac=1.0, random_state=3)
        for day in sessions_of(own)
    }
    given = own.with_scores(
        GivenScores(tables, own.scores.days, hashes=own.scores.hashes, warnings=own.scores.warnings)
    )
    assert backtest(given) == expected

    # The check can fail: other scores make another backtest.
    other = {day: table.assign(Score=-table["Score"]) for day, table in tables.items()}
    turned = own.with_scores(GivenScores(other, own.scores.days, hashes={"scores": "x"}))
    result = backtest(turned)
    assert result.daily != expected.daily
    assert result.hashes.keys() == {"dataset", "scores"}
    assert [row.as_of for row in result.rebalances] == [row.as_of for row in expected.rebalances]


def test_another_gate_takes_the_place_of_the_bundles(market: SmallMarket) -> None:
    own = opened(market)
    assert own.rule == own.bundle.selection
    wide = own.with_scores(own.scores, SelectionSettings(k_ratio=1.0, k_min=1))
    for row in backtest(wide).rebalances:
        assert (row.candidate_kept, row.fallback) == (70, False)
    assert {row.candidate_kept for row in backtest(own).rebalances} == {53}
    assert backtest(wide).settings["selection"]["k_ratio"] == 1.0


def test_a_session_without_scores_is_refused_and_other_precision_is_a_mistake(market: SmallMarket) -> None:
    own = opened(market)
    table = pd.DataFrame({"Code": ["13010"], "Score": np.zeros(1, dtype=np.float32)})
    as_of = own.schedule[0].as_of
    given = own.with_scores(GivenScores({as_of: table}, own.scores.days, hashes={}))
    with pytest.raises(Refusal, match=f"no scores of {own.schedule[1].as_of}"):
        backtest(given)
    with pytest.raises(ValueError, match="float64"):
        GivenScores({as_of: table.astype({"Score": np.float64})}, own.scores.days, hashes={})
