"""Scores of many sessions at once are, bit for bit, those of each session alone."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from apex_tasks.backtesting import forecaster as forecaster_module
from apex_tasks.backtesting.forecaster import Forecaster
from apex_tasks.backtesting.schedule import require_sessions
from apex_tasks.bundle import read_bundle, resolve_bundle
from apex_tasks.bundle.checkpoint import load_checkpoint
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.monthly.score import score
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization, RankingSettings
from tests.support.small_market import AS_OF, AUGUST, JULY, OCTOBER, SEPTEMBER, SmallMarket, small_settings

pytestmark = pytest.mark.slow

SESSIONS = [AS_OF[day] for day in (JULY, AUGUST, SEPTEMBER, OCTOBER)]


def forecaster(market: SmallMarket, last: dt.date = SESSIONS[-1], **ranking: object) -> Forecaster:
    settings = small_settings("unused", ranking=RankingSettings(**ranking))
    files = read_bundle(market.bundle, settings.bundle_limits)
    bundle = resolve_bundle(files, market.dataset, settings)
    checkpoint = load_checkpoint(files.contents[bundle.checkpoint_path], bundle.checkpoint_path)
    return Forecaster(
        bundle, checkpoint.state_dict, open_dataset(market.dataset), last, settings, new_history_after=60
    )


@pytest.mark.parametrize("panel_days", [10_000, 40, 1])
@pytest.mark.parametrize("normalization", list(Normalization))
def test_shared_panels_change_no_score(
    market: SmallMarket, monkeypatch: pytest.MonkeyPatch, panel_days: int, normalization: Normalization
) -> None:
    monkeypatch.setattr(forecaster_module, "PANEL_DAYS", panel_days)
    ranking = {"normalization": normalization, "normalization_reason": "a test"}
    many = forecaster(market, **ranking)
    many.prepare(SESSIONS[1:])
    settings = small_settings("unused", ranking=RankingSettings(**ranking))
    for session in SESSIONS:  # the first was not prepared
        alone = score(market.bundle, market.dataset, session, settings)
        pd.testing.assert_frame_equal(many.ranked(session), alone)


def test_a_session_before_the_lookback_is_full_is_refused_without_a_panel(
    market: SmallMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = forecaster(market)
    monkeypatch.setattr(forecaster_module, "build_panel", None)
    day = early.days[178]
    early.prepare([day])
    with pytest.raises(Refusal, match=f"too few eligible stocks on {day}"):
        early.ranked(day)


def test_days_and_periods_are_those_of_the_dataset(market: SmallMarket) -> None:
    one = forecaster(market, last=SESSIONS[2])
    assert one.days == sorted(day for day in set(market.dates) if day <= SESSIONS[2])
    assert require_sessions(one.days, SESSIONS[1], dt.date.max, market.dataset)[0] == SESSIONS[1]
    with pytest.raises(Refusal, match="no session in the period"):
        require_sessions(one.days, SESSIONS[3], dt.date.max, market.dataset)
