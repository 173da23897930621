"""The judgement of a dataset without a run: what a month on this session would say."""

from __future__ import annotations

import datetime as dt

from apex_tasks.bundle import read_bundle, resolve_bundle
from apex_tasks.dataset.judgement.faults import DatasetJudgement
from apex_tasks.dataset.judgement.judge import PRICE_LOOKBACK, JudgedFeatures, judge_dataset
from apex_tasks.dataset.panel import build_panel
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import DatasetFile
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.settings import ApexSettings


def check_dataset(
    dataset: DatasetFile,
    as_of: dt.date,
    bundle: str | None,
    settings: ApexSettings,
    progress: ReportProgress | None = None,
) -> DatasetJudgement:
    """Judge the dataset for one as-of session.

    Parameters
    ----------
    bundle
        Whose features are judged, over its own lookback; None: prices, volumes and dates alone.

    Raises
    ------
    Refusal
        The dataset cannot be read, or the bundle is refused.
    """
    lookback, features = PRICE_LOOKBACK, None
    if bundle is not None:
        resolved = resolve_bundle(read_bundle(bundle, settings.bundle_limits), dataset.path, settings)
        dataset.require_columns(resolved.plan.columns)
        panel = build_panel(
            dataset,
            resolved.plan,
            [as_of],
            lookback=resolved.lookback,
            normalization=settings.ranking.normalization,
            clip_sigma=resolved.clip_sigma,
            progress=progress,
        )
        lookback = resolved.lookback
        features = JudgedFeatures(resolved.plan, panel.supply, resolved.features_mode)
    return judge_dataset(
        dataset, as_of, lookback, settings.freshness, settings.judgement, TseCalendar.load(), features
    )
