"""A.3 and A.4 through whole months: what is published, what the gate's bound becomes, and that off means off."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apex_tasks.monitoring.alerts import effective_bound
from apex_tasks.portfolio.neutralisation import neutralise
from apex_tasks.refusal import ThresholdBroken
from apex_tasks.settings import EnhancedSettings, Priority, load_settings
from apex_tasks.store import Store
from tests.support.small_market import (
    AS_OF,
    FEATURE_COLUMNS,
    JULY,
    REBALANCES,
    SmallMarket,
    portfolio,
    run,
    run_chain,
    small_settings,
)

pytestmark = pytest.mark.slow


def run_document(home: Path, day: object) -> dict:
    return portfolio(home, day).read_json("run.json")


def model_scores(home: Path, day: object) -> pd.DataFrame:
    """The model's own h20 scores of a month, from the cache that the month was made from."""
    store = Store(home)
    content = run_document(home, day)["hashes"]["scores"]
    (artifact,) = [
        found
        for key in store.names("scores")
        if (found := store.find("scores", key)) is not None and found.content_hash == content
    ]
    return pd.read_parquet(io.BytesIO(artifact.read_bytes("forecasts.parquet"))).set_index("Code")["h20"]


def test_hysteresis_by_rank_takes_the_best_35(market: SmallMarket, tmp_path: Path) -> None:
    run_chain(market, tmp_path, settings=small_settings(tmp_path, enhanced=EnhancedSettings(hysteresis=True)))
    for day in REBALANCES:
        document = run_document(tmp_path, day)
        best = model_scores(tmp_path, day).sort_values(ascending=False).index[:35].tolist()
        assert document["selection"]["candidates"] == best
        assert document["metrics"]["apex_selected_count"] == 35
        assert (document["metrics"]["hysteresis"], document["selection"]["fallback"]) == (1, False)
        assert document["alerts"] == []


def test_hysteresis_by_holding_keeps_held_names_within_the_best_60(
    market: SmallMarket, tmp_path: Path
) -> None:
    enhanced = EnhancedSettings(hysteresis=True, priority=Priority.HELD)
    run_chain(market, tmp_path, settings=small_settings(tmp_path, enhanced=enhanced))
    kept_beyond_entry = 0
    for day in REBALANCES[1:]:
        rank = model_scores(tmp_path, day).sort_values(ascending=False).index.tolist()
        held = portfolio(tmp_path, day).read_json("book.json")["before"]["positions"]
        staying = [code for code in rank[:60] if code in held]
        entering = [code for code in rank[:35] if code not in held]
        chosen = set((staying + entering)[:35])
        assert run_document(tmp_path, day)["selection"]["candidates"] == [
            code for code in rank if code in chosen
        ]
        kept_beyond_entry += len(chosen - set(rank[:35]))
    assert kept_beyond_entry > 0


def test_a_supply_below_the_entries_still_stops_the_run(market: SmallMarket, tmp_path: Path) -> None:
    enhanced = EnhancedSettings(hysteresis=True, entry_k=30)
    with pytest.raises(ThresholdBroken, match="apex_selected_count = 30"):
        run(market, tmp_path, JULY, settings=small_settings(tmp_path, enhanced=enhanced), cold_start=True)


@pytest.mark.parametrize(
    ("top_k", "hysteresis", "bound"), [(35, False, 53), (35, True, 35), (20, False, 30), (20, True, 20)]
)
def test_the_supply_bound_follows_the_rule_that_chooses(top_k: int, hysteresis: bool, bound: float) -> None:
    (supply,) = [t for t in load_settings().thresholds if t.metric == "apex_selected_count"]
    assert effective_bound(supply, top_k, False, hysteresis) == bound


def with_sector_effect(market: SmallMarket, out: Path) -> Path:
    """A copy in which every feature leans on the stock's sector, so that scores do."""
    sectors = market.table["sector33_code"].to_pandas().astype(int).to_numpy()
    lean = (sectors - sectors.mean()) / sectors.std()
    return market.changed(out, **{name: market.values(name) + 3 * lean for name in FEATURE_COLUMNS})


@pytest.mark.parametrize("effect", [False, True])
def test_neutralised_scores_are_published_ranked_and_traded(
    market: SmallMarket, tmp_path: Path, effect: bool
) -> None:
    dataset = with_sector_effect(market, tmp_path / "lean.parquet") if effect else market.dataset
    settings = small_settings(tmp_path, enhanced=EnhancedSettings(neutralisation=True))
    run(market, tmp_path, JULY, settings=settings, cold_start=True, dataset=str(dataset))
    document = run_document(tmp_path, JULY)
    own = model_scores(tmp_path, JULY)
    raw = pd.read_parquet(dataset, columns=["Date", "Code", "sector33_code", "volatility_60d"])
    today = raw[raw["Date"] == AS_OF[JULY]].set_index("Code").loc[own.index]
    expected = neutralise(
        own.to_numpy(),
        sectors=today["sector33_code"].tolist(),
        numeric={"volatility_60d": today["volatility_60d"].to_numpy(dtype=np.float64)},
    )
    assert expected.applied is effect
    told = document["selection"]["neutralisation"]
    assert told["outcome"] == str(expected.reason)
    assert told["r_squared"] == pytest.approx(expected.r_squared, rel=1e-9)
    published = pd.read_parquet(io.BytesIO(portfolio(tmp_path, JULY).read_bytes("scores.parquet")))
    scores = pd.Series(expected.scores, index=own.index)
    assert published["Score"].tolist() == pytest.approx(scores.loc[published["Code"]].tolist(), abs=1e-6)
    assert published["Score"].is_monotonic_decreasing
    assert published["Score"].dtype == np.float32
    changed = (scores - own).abs().max() > 0
    assert changed == effect
    assert document["warnings"] == ([] if effect else [f"the scores were not neutralised: {expected.reason}"])


def test_switched_off_nothing_of_it_shows(chain: Path) -> None:
    document = run_document(chain, JULY)
    assert document["selection"]["neutralisation"] is None
    assert document["metrics"]["hysteresis"] == 0
