"""`apex dataset check`: the judgement of a month, without a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.console import Apex, refusal
from tests.support.small_market import AS_OF, JULY, LAST_SESSION, SmallMarket


def test_a_sound_dataset_is_sound_with_and_without_its_bundle(
    apex: Apex, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = apex("dataset", "check", "--json")
    judgement = json.loads(out)
    assert (code, judgement["faults"], judgement["as_of"]) == (0, [], str(LAST_SESSION))
    assert judgement["rows"] == judgement["priced"] == judgement["traded"] == 120
    code, out, _ = apex("dataset", "check")
    assert code == 0
    assert "sound" in out
    monkeypatch.delenv("APEX_BUNDLE")
    assert json.loads(apex("dataset", "check", "--as-of", str(AS_OF[JULY]), "--json")[1])["faults"] == []


def test_a_fault_that_is_told_is_shown_and_one_that_stops_is_refused(
    apex: Apex, market: SmallMarket, tmp_path: Path
) -> None:
    closes, features = market.values("Close"), market.values("rsi_14")
    today = market.dates == AS_OF[JULY]
    features[:] = 1.0
    told = market.changed(tmp_path / "told.parquet", rsi_14=features)
    code, out, _ = apex("dataset", "check", "--dataset", told, "--as-of", str(AS_OF[JULY]))
    assert code == 0
    assert "features_empty" in out
    closes[today & (market.codes > "16")] = np.nan
    stops = market.changed(tmp_path / "stops.parquet", Close=closes, rsi_14=features)
    outcome = apex("dataset", "check", "--dataset", stops, "--as-of", str(AS_OF[JULY]), "--json")
    assert {fault["fault"]: fault["stops"] for fault in json.loads(outcome[1])["faults"]} == {
        "prices_missing": True,
        "features_empty": False,
    }
    assert "prices_missing" in refusal((outcome[0], "", outcome[2]))


def test_a_score_of_an_unsound_dataset_is_computed_and_told(
    apex: Apex, market: SmallMarket, tmp_path: Path
) -> None:
    closes = market.values("Close")
    closes[market.dates >= AS_OF[JULY]] *= 2
    dataset = market.changed(tmp_path / "doubled.parquet", Close=closes)
    scores = tmp_path / "scores.parquet"
    arguments = ("score", "--as-of", str(AS_OF[JULY]), "--out", scores, "--dataset", dataset, "--json")
    code, _, err = apex(*arguments)
    assert code == 0
    assert "WARNING turnover_mismatched" in err
    assert scores.exists()
