"""Scores without a store are those that a month publishes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apex_tasks.monthly.score import score
from apex_tasks.parameters import with_parameters
from apex_tasks.refusal import Refusal
from apex_tasks.settings import load_settings
from apex_tasks.tables import read_table
from tests.support.small_market import AS_OF, CALENDAR, FEATURE_COLUMNS, JULY, SmallMarket, portfolio


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


def test_features_of_the_newest_four_sessions_reach_no_score(market: SmallMarket, tmp_path: Path) -> None:
    as_of = AS_OF[JULY]
    sessions = CALENDAR.sessions(as_of - dt.timedelta(days=20), as_of)

    def shuffled(days: list[dt.date], name: str) -> Path:
        """A copy whose features of some days belong to other stocks: each day's z-scores stay what they were."""
        order, random = np.arange(len(market.dates)), np.random.default_rng(1)
        for day in days:
            rows = np.flatnonzero(market.dates == day)
            order[rows] = random.permutation(rows)
        return market.changed(
            tmp_path / name, **{name: market.values(name)[order] for name in FEATURE_COLUMNS}
        )

    plain = score(market.bundle, market.dataset, as_of, load_settings())
    newest = score(market.bundle, shuffled(sessions[-4:], "newest.parquet"), as_of, load_settings())
    pd.testing.assert_frame_equal(newest, plain)
    fifth = score(market.bundle, shuffled(sessions[-5:-4], "fifth.parquet"), as_of, load_settings())
    assert set(fifth["Code"]) == set(plain["Code"])
    assert fifth["Score"].tolist() != plain["Score"].tolist()
