"""Scores without a store are those that a month publishes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from apex_tasks.monthly.score import score
from apex_tasks.parameters import with_parameters
from apex_tasks.refusal import Refusal
from apex_tasks.settings import load_settings
from apex_tasks.tables import read_table
from tests.support.small_market import AS_OF, JULY, SmallMarket, portfolio


def test_they_are_the_published_scores(market: SmallMarket, chain: Path) -> None:
    found = score(market.bundle, market.dataset, AS_OF[JULY], load_settings())
    pd.testing.assert_frame_equal(found, read_table(portfolio(chain, JULY), "scores.parquet"))
    assert found["Rank"].tolist() == list(range(1, len(found) + 1))


def test_another_horizon_is_another_ranking(market: SmallMarket) -> None:
    settings = with_parameters(load_settings(), {"horizon": 5})
    five = score(market.bundle, market.dataset, AS_OF[JULY], settings)
    twenty = score(market.bundle, market.dataset, AS_OF[JULY], load_settings())
    assert sorted(five["Code"]) == sorted(twenty["Code"])
    assert five["Code"].tolist() != twenty["Code"].tolist()


def test_a_day_that_the_dataset_lacks_is_refused(market: SmallMarket) -> None:
    with pytest.raises(Refusal, match="has no rows for the as-of session"):
        score(market.bundle, market.dataset, dt.date(2025, 7, 6), load_settings())
