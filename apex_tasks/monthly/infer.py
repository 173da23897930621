"""Step infer: scores of every eligible stock, for every horizon of the model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from apex_tasks.bundle import ResolvedBundle, open_checkpoint
from apex_tasks.dataset.schema import CODE
from apex_tasks.monthly.build_panel import PANELS, ROWS, WINDOW_START, PanelReference, read_windows
from apex_tasks.settings import InferenceSettings
from apex_tasks.store import Artifact, ArtifactReference, Store, content_key
from apex_tasks.tables import parquet_bytes, read_table

if TYPE_CHECKING:
    from torch import Tensor


SCORES = "scores"
FORECASTS = "forecasts.parquet"
SCORES_FORMAT = 2
"""Raised with every change of the code after which the same panel and model give other scores."""


class ScoresReference(ArtifactReference):
    """Scores in the store.

    Attributes
    ----------
    stocks
        Number of scored stocks.
    latency_ms
        Time of the forward pass, or of finding the scores in the store.
    cached
        The scores were in the store already.
    """

    stocks: int
    latency_ms: float
    cached: bool


def infer(
    bundle: ResolvedBundle,
    panel: PanelReference,
    store: Store,
    settings: InferenceSettings,
    weights: Mapping[str, Tensor] | None = None,
) -> ScoresReference:
    """Score the panel's windows, or find the scores in the store.

    Parameters
    ----------
    settings
        Threads and batch size; no part of the result.
    weights
        The verified checkpoint's tensors where the caller holds them; else the kept bundle is read.

    Raises
    ------
    Refusal
        The panel or the checkpoint was changed since its step, or a score is not finite.
    """
    key = scores_key(bundle, panel)
    started = time.perf_counter()
    stored = store.find(SCORES, key)
    artifact = stored or _score(bundle, store.get(PANELS, panel.key), store, key, settings, weights)
    return ScoresReference(
        key=key,
        content_hash=artifact.content_hash,
        stocks=artifact.details["stocks"],
        latency_ms=(time.perf_counter() - started) * 1000,
        cached=stored is not None,
    )


def scores_key(bundle: ResolvedBundle, panel: PanelReference) -> str:
    """Key of the panel's scores in the store."""
    return content_key(
        format=SCORES_FORMAT,
        panel=panel.content_hash,
        checkpoint=bundle.checkpoint_sha256,
        model=bundle.model.model_dump(mode="json"),
    )


def read_forecasts(artifact: Artifact) -> pd.DataFrame:
    """Stored scores: `Code` and one float32 column `h<horizon>` per horizon, by Code."""
    return read_table(artifact, FORECASTS)


def _score(
    bundle: ResolvedBundle,
    panel: Artifact,
    store: Store,
    key: str,
    settings: InferenceSettings,
    weights: Mapping[str, Tensor] | None,
) -> Artifact:
    from apex_tasks.model.forecast import forecast  # brings torch: only where scores are computed

    windows = read_windows(panel)
    with panel.local_file(ROWS) as rows_file:
        forecasts = forecast(
            bundle,
            open_checkpoint(bundle) if weights is None else weights,
            np.load(rows_file, mmap_mode="r", allow_pickle=False),
            windows[CODE],
            windows[WINDOW_START].to_numpy(),
            settings,
        )
    return store.write(
        SCORES, key, files={FORECASTS: parquet_bytes(forecasts)}, details={"stocks": len(windows)}
    )
