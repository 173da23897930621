"""Step infer: found again by what decides it, refused when what it reads was changed."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apex_tasks.bundle import open_checkpoint
from apex_tasks.bundle.resolved import ResolvedBundle
from apex_tasks.monthly.build_panel import PANELS, ROWS, PanelReference
from apex_tasks.monthly.infer import SCORES, infer, read_forecasts, require_distinct, scores_key
from apex_tasks.monthly.validate_bundle import load_resolved_bundle
from apex_tasks.portfolio.selection import ranked_scores
from apex_tasks.refusal import Refusal
from apex_tasks.settings import InferenceSettings
from apex_tasks.store import Store
from tests.support.small_market import JULY, SmallMarket, month

ONE, TWO = InferenceSettings(workers=1, batch_size=7), InferenceSettings(workers=2, batch_size=64)
Prepared = tuple[ResolvedBundle, PanelReference, Store]


@pytest.fixture
def prepared(market: SmallMarket, tmp_path: Path) -> Prepared:
    run = month(market, tmp_path, JULY)
    handshake = run.validate_bundle()
    return (
        load_resolved_bundle(run.store, handshake, run.request),
        run.build_panel(handshake),
        run.store,
    )


def test_threads_and_batches_are_no_part_of_the_result(prepared: Prepared, tmp_path: Path) -> None:
    bundle, panel, store = prepared
    one = infer(bundle, panel, store, ONE)
    found = infer(bundle, panel, store, TWO)
    assert (one.cached, found.cached) == (False, True)
    assert found.content_hash == one.content_hash
    first = read_forecasts(store.get(SCORES, one.key))
    for file in (Path(str(store.root)) / SCORES / one.key).iterdir():
        file.unlink()
    again = read_forecasts(store.get(SCORES, infer(bundle, panel, store, TWO).key))
    pd.testing.assert_frame_equal(first, again, atol=1e-5)


def test_weights_that_the_caller_holds_are_those_of_the_kept_bundle(prepared: Prepared) -> None:
    bundle, panel, store = prepared
    held = infer(bundle, panel, store, ONE, open_checkpoint(bundle))
    assert held.key == scores_key(bundle, panel)
    assert infer(bundle, panel, store, ONE).content_hash == held.content_hash


def test_every_horizon_has_a_finite_float32_score(prepared: Prepared) -> None:
    bundle, panel, store = prepared
    forecasts = read_forecasts(store.get(SCORES, infer(bundle, panel, store, ONE).key))
    assert list(forecasts) == ["Code", *(f"h{horizon}" for horizon in bundle.model.horizons)]
    values = forecasts.drop(columns="Code")
    assert set(values.dtypes) == {np.dtype(np.float32)}
    assert np.isfinite(values.to_numpy()).all()
    assert len(forecasts) == panel.eligible


def test_a_panel_that_was_changed_is_refused(prepared: Prepared) -> None:
    bundle, panel, store = prepared
    rows = Path(str(store.root)) / PANELS / panel.key / ROWS
    data = bytearray(rows.read_bytes())
    data[-1] ^= 1
    rows.write_bytes(bytes(data))
    with pytest.raises(Refusal, match="changed after it was written"):
        infer(bundle, panel, store, ONE)
    assert store.names(SCORES) == []


def test_a_checkpoint_that_was_changed_is_refused(prepared: Prepared) -> None:
    bundle, panel, store = prepared
    assert bundle.folder is not None
    kept = bundle.folder / bundle.checkpoint_path
    kept.write_bytes(kept.read_bytes() + b"x")
    with pytest.raises(Refusal, match="checkpoint was changed"):
        infer(bundle, panel, store, ONE)


def test_a_ranking_breaks_ties_by_code() -> None:
    forecasts = pd.DataFrame({"Code": ["20", "10", "30"], "h5": np.array([1.0, 1.0, 2.0], dtype=np.float32)})
    ranked = ranked_scores(forecasts, 5, 1)
    assert ranked["Code"].tolist() == ["30", "10", "20"]
    assert ranked["Rank"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("scores", "sound"),
    [
        (np.linspace(-1, 1, 100), True),
        (np.r_[np.linspace(-1, 1, 92), np.zeros(8)], True),
        (np.r_[np.linspace(-1, 1, 88), np.zeros(12)], False),
        (np.zeros(100), False),
        (1 + np.linspace(0, 5e-7, 100), False),
        (np.tile(np.linspace(-1, 1, 50), 2), False),
    ],
)
def test_scores_that_hardly_differ_are_refused(scores: np.ndarray, sound: bool) -> None:
    forecasts = pd.DataFrame({"h20": scores.astype(np.float32)})
    with nullcontext() if sound else pytest.raises(Refusal, match="scores hardly differ"):
        require_distinct(forecasts, 20, 0.9, "here")
