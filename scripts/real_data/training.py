"""The bundle of the evaluation: production's architecture, fitted on 2007 to 2011 and nothing later."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apex_tasks.dataset.features.feature_aliases import packaged_aliases
from apex_tasks.dataset.features.feature_plan import FeaturePlan, resolve_features
from apex_tasks.dataset.keys import RowKeys, scan_keys
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import DatasetFile, day_from_epoch, open_dataset
from apex_tasks.model.bundle_export import (
    HORIZONS,
    JUDGED_HORIZON,
    LOOKBACK,
    production_features,
    production_shape,
    seal_bundle,
)
from apex_tasks.model.evaluation import rank_ic_by_date
from apex_tasks.model.scoring import load_model
from apex_tasks.model.training import TrainingSettings, train
from apex_tasks.refusal import Refusal
from apex_tasks.settings import FeaturesMode

TRAIN_END = dt.date(2011, 12, 30)
"""Last session that the bundle knows anything of."""
SEED = 7
SETTINGS = TrainingSettings(samples=3_072, learning_rate=1e-3, dropout=0.0)
"""The best of `trials`, see docs/real-data.md."""
NOTICE = (
    "EVALUATION ONLY, not for trading: trained on US stocks of the years 2007 to 2011 that all survived until "
    "2016, with 29 of 89 features filled with zero."
)
VALIDATE_EVERY_SESSIONS = 5


@dataclass(frozen=True)
class EvaluationBundle:
    """A sealed bundle.

    Attributes
    ----------
    path
        The bundle: folder or tar.gz.
    manifest_sha256
        Hash of MANIFEST.lock, which holds the hash of everything else.
    train_dates
        First and last decision date that training saw.
    candidates
        Windows with complete targets that the samples were drawn from.
    filled
        Features that were zero throughout, as the dataset lacks them.
    """

    path: Path
    manifest_sha256: str
    train_dates: tuple[dt.date, dt.date]
    candidates: int
    filled: tuple[str, ...]


def write_evaluation_bundle(
    out: Path,
    dataset_file: Path,
    *,
    train_end: dt.date = TRAIN_END,
    settings: TrainingSettings = SETTINGS,
    seed: int = SEED,
    progress: ReportProgress | None = None,
) -> EvaluationBundle:
    """Fit on all of a dataset that ends with the training; the same data and seed leave the same bundle.

    Train dates are all sessions with a full lookback and, for the longest target, `max(HORIZONS)` sessions
    up to `train_end`.

    Parameters
    ----------
    out
        Folder, or a name ending in `.tar.gz`.
    dataset_file
        Dataset of `apex features` made of prices up to `train_end`: what is not in the file cannot leak.

    Raises
    ------
    Refusal
        The dataset has rows after `train_end`, is too short, or `out` exists.
    """
    dataset = open_dataset(dataset_file)
    keys = scan_keys(dataset, dt.date.max)
    sessions = sessions_of(keys)
    if sessions[-1] > train_end:
        raise Refusal(
            "the training data goes on after the training",
            expected=f"no row after {train_end}",
            received=f"rows up to {sessions[-1]}",
            where=dataset_file,
            remedy="Cut the prices at the train end before the features are computed.",
        )
    dates = training_dates(sessions, sessions[-1])
    plan, shape = zero_filled_plan(dataset), production_shape()
    result = train(dataset, plan, shape, dates, sessions[-1], settings, seed=seed, progress=progress)
    manifest_sha256 = seal_bundle(
        out,
        result,
        shape=shape,
        settings=settings,
        dataset=dataset,
        keys=keys,
        bundle_version=f"real-data-evaluation-seed{seed}",
        config_version="real-data-evaluation",
        notice=NOTICE,
        marks={"evaluation_only": True},
        training={
            "seed": seed,
            "windows": settings.samples,
            "train_dates": f"{dates[0]} to {dates[-1]}",
            "last_price_seen": str(sessions[-1]),
            "features_filled_with_zero": list(plan.filled),
        },
    )
    return EvaluationBundle(out, manifest_sha256, (dates[0], dates[-1]), result.candidates, plan.filled)


def validation_rank_ic(
    dataset: DatasetFile,
    settings: TrainingSettings,
    first: dt.date,
    last: dt.date,
    *,
    seed: int = SEED,
    progress: ReportProgress | None = None,
) -> list[float]:
    """Fit on everything before `first`, judge h20 from then to `last`: how settings are chosen.

    The last session before `first` is the last price that training sees, and the first date judged.

    Returns
    -------
    list of float
        Rank IC of every fifth session whose return ends by `last`; neighbors overlap.
    """
    sessions = sessions_of(scan_keys(dataset, last))
    end = max(index for index, day in enumerate(sessions) if day < first)
    plan, shape = zero_filled_plan(dataset), production_shape()
    result = train(
        dataset,
        plan,
        shape,
        training_dates(sessions, sessions[end]),
        sessions[end],
        settings,
        seed=seed,
        progress=progress,
    )
    judged = rank_ic_by_date(
        load_model(shape, result.state_dict),
        dataset,
        plan,
        shape,
        sessions[end : len(sessions) - JUDGED_HORIZON : VALIDATE_EVERY_SESSIONS],
        horizon=JUDGED_HORIZON,
        clip_sigma=settings.clip_sigma,
        last=last,
        progress=progress,
    )
    return [float(value) for value in judged.coefficients]


def training_dates(sessions: Sequence[dt.date], train_end: dt.date) -> list[dt.date]:
    """Sessions with a full lookback before them and the longest horizon after them, by `train_end`.

    Raises
    ------
    Refusal
        There is none.
    """
    end = sessions.index(train_end)
    dates = list(sessions[LOOKBACK - 1 : end - max(HORIZONS) + 1])
    if not dates:
        raise Refusal(
            "dataset is too short to train a model",
            expected=f"at least {LOOKBACK + max(HORIZONS)} sessions up to {train_end}",
            received=end + 1,
            where="training dates",
            remedy="Train on a longer history.",
        )
    return dates


def zero_filled_plan(dataset: DatasetFile) -> FeaturePlan:
    """Where the 89 features come from; those that prices cannot give are zero."""
    return resolve_features(
        production_features(), packaged_aliases(), dataset.schema.names, FeaturesMode.FILL_ZERO
    )


def sessions_of(keys: RowKeys) -> list[dt.date]:
    """The sessions that the data has, ascending: on real data the data is the calendar."""
    return [day_from_epoch(day) for day in np.unique(keys.days)]
