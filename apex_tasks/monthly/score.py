"""Scores of one as-of session, straight from bundle and dataset: no store, no calendar, no portfolio."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd

from apex_tasks.bundle import read_bundle, resolve_bundle
from apex_tasks.bundle.checkpoint import load_checkpoint
from apex_tasks.bundle.supply import require_supply
from apex_tasks.dataset.freshness import check_freshness
from apex_tasks.dataset.panel import build_panel
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.model.forecast import forecast
from apex_tasks.portfolio.selection import ranked_scores
from apex_tasks.settings import ApexSettings


def score(
    bundle: str | Path,
    dataset: str | Path,
    as_of: dt.date,
    settings: ApexSettings,
    progress: ReportProgress | None = None,
) -> pd.DataFrame:
    """Validate the bundle, build the panel in memory and rank the scores of one horizon.

    Returns
    -------
    DataFrame
        `Code` str, `Score` float32, `Rank` int64 (1 = best, ties by Code), best first, all eligible stocks.

    Raises
    ------
    Refusal
        Bundle or dataset are refused, the dataset lacks the session, or too few stocks are eligible.
    """
    file = open_dataset(dataset)
    freshness = check_freshness(file, as_of, settings.freshness)
    if freshness.rows == 0:
        raise freshness.refusal()
    files = read_bundle(bundle, settings.bundle_limits)
    resolved = resolve_bundle(files, dataset, settings)
    checkpoint = load_checkpoint(files.contents[resolved.checkpoint_path], resolved.checkpoint_path)
    panel = build_panel(
        file,
        resolved.plan,
        [as_of],
        lookback=resolved.lookback,
        normalization=settings.ranking.normalization,
        clip_sigma=resolved.clip_sigma,
        progress=progress,
    )
    windows = panel.windows[as_of]
    require_supply(
        len(windows.codes),
        as_of,
        dataset,
        lookback=resolved.lookback,
        min_stocks_per_day=resolved.min_stocks_per_day,
        normalization=settings.ranking.normalization,
    )
    forecasts = forecast(
        resolved, checkpoint.state_dict, panel.rows, windows.codes, windows.start, settings.inference
    )
    return ranked_scores(forecasts, resolved.horizon, resolved.selection.sign)
