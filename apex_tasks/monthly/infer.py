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
from apex_tasks.refusal import DatasetUnsound
from apex_tasks.settings import InferenceSettings
from apex_tasks.store import Artifact, ArtifactReference, Store, content_key
from apex_tasks.tables import parquet_bytes, read_table

if TYPE_CHECKING:
    from torch import Tensor


SCORES = "scores"
FORECASTS = "forecasts.parquet"
MIN_SPREAD = 1e-6
"""Largest over smallest score, as a share of their size, below which the differences are those of float32."""
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
    least_distinct: float | None = None,
) -> ScoresReference:
    """Score the panel's windows, or find the scores in the store.

    Parameters
    ----------
    settings
        Threads and batch size; no part of the result.
    weights
        The verified checkpoint's tensors where the caller holds them; else the kept bundle is read.
    least_distinct
        Least share of scores that differ from all others; None: any scores are taken.

    Raises
    ------
    Refusal
        The panel or the checkpoint was changed since its step, a score is not finite, or the scores hardly differ.
    """
    key = scores_key(bundle, panel)
    started = time.perf_counter()
    stored = store.find(SCORES, key)
    artifact = stored or _score(bundle, store.get(PANELS, panel.key), store, key, settings, weights)
    if least_distinct is not None:
        require_distinct(read_forecasts(artifact), bundle.horizon, least_distinct, panel.key)
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


def require_distinct(forecasts: pd.DataFrame, horizon: int, least: float, where: object) -> None:
    """Refuse scores that hardly differ: the ties would be broken by Code, and the book be one of small codes.

    Raises
    ------
    Refusal
        Fewer than `least` of the scores are unlike all others, or they differ by no more than float32 rounds.
    """
    scores = forecasts[f"h{horizon}"].to_numpy()
    if not len(scores):
        return
    _, counts = np.unique(scores, return_counts=True)
    distinct = float((counts == 1).sum()) / len(scores)
    spread, size = float(scores.max() - scores.min()), float(np.abs(scores).max())
    if distinct < least or spread <= MIN_SPREAD * size:
        raise DatasetUnsound(
            "scores hardly differ between stocks",
            expected=f"at least {least:.0%} of the scores unlike all others, and a spread that is no rounding",
            received=f"{distinct:.0%} of {len(scores)}, spread {spread:.3g} around {size:.3g}",
            where=where,
            remedy="Look at the features that are missing or the same for all stocks (the panel's warnings), and at "
            "the bundle's checkpoint.",
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
