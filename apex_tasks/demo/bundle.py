"""Train the production architecture on the synthetic market and seal it as a bundle like a real one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from apex_tasks.bundle.writer import require_free
from apex_tasks.dataset.features.feature_aliases import packaged_aliases
from apex_tasks.dataset.features.feature_plan import resolve_features
from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import day_from_epoch, open_dataset
from apex_tasks.demo.defaults import DEFAULT_SEED
from apex_tasks.demo.market import write_demo_data
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

CLIP_SIGMA = 5.0
SAMPLES = 3_072
DROPOUT = 0.0
"""None: training ends before it has seen most windows once, so there is nothing to overfit."""

OUT_OF_SAMPLE_SHARE = 0.15
"""Share of the sessions, the last ones, that training sees nothing of, neither features nor prices."""
TRAIN_EVERY_SESSIONS = 3
JUDGE_EVERY_SESSIONS = JUDGED_HORIZON
"""So that the judged returns do not overlap."""
NOTICE = "SYNTHETIC bundle made by `apex demo-bundle` from simulated prices. Not for trading."


@dataclass(frozen=True)
class DemoBundle:
    """A sealed bundle and how well its scores order the 20-session returns.

    Attributes
    ----------
    path
        The bundle: folder or tar.gz.
    manifest_sha256
        Hash of MANIFEST.lock, which holds the hash of everything else.
    rank_ic_in_sample, rank_ic_out_of_sample
        Mean over dates of the Spearman correlation of the h20 score with the 20-session forward return.
    in_sample_dates, out_of_sample_dates
        Number of dates behind each mean.
    returns_at_last_price
        Forward returns behind both means that end at a stock's last price, as it had none 20 rows later.
    """

    path: Path
    manifest_sha256: str
    rank_ic_in_sample: float
    rank_ic_out_of_sample: float
    in_sample_dates: int
    out_of_sample_dates: int
    returns_at_last_price: int
    notice: str = NOTICE


@dataclass(frozen=True)
class _Split:
    """Dates of training and of judgement; every out-of-sample date is after `train_end`."""

    train_dates: tuple[date, ...]
    train_end: date
    in_sample: tuple[date, ...]
    out_of_sample: tuple[date, ...]


def write_demo_bundle(
    out: Path,
    dataset: Path | None = None,
    seed: int = DEFAULT_SEED,
    samples: int = SAMPLES,
    progress: ReportProgress | None = None,
) -> DemoBundle:
    """Train on a synthetic dataset and write the bundle; the same seed and data give the same bundle.

    Parameters
    ----------
    out
        Folder, or a name ending in `.tar.gz`.
    dataset
        A dataset of `write_demo_data`; None makes the default one for the time of the training.
    seed
        Seed of weights, sample order and dropout (and of the data, when it is made here).
    samples
        Windows shown in training: fewer are faster and worse.
    progress
        Called with (description, done, total).

    Raises
    ------
    Refusal
        `out` exists, or the dataset is not marked synthetic, lacks a feature, or is too short to be split.
    """
    require_free(out)  # The writer does too, but only after the training.
    if dataset is not None:
        return _write(out, dataset, seed, samples, progress)
    with tempfile.TemporaryDirectory(prefix="apex-demo-") as folder:
        made = write_demo_data(Path(folder) / "dataset.parquet", seed=seed, progress=progress)
        return _write(out, made.dataset, seed, samples, progress)


def _write(out: Path, path: Path, seed: int, samples: int, progress: ReportProgress | None) -> DemoBundle:
    dataset = open_dataset(path)
    _require_synthetic(path)
    plan = resolve_features(
        production_features(), packaged_aliases(), dataset.schema.names, FeaturesMode.STRICT
    )
    shape = production_shape()
    settings = TrainingSettings(samples=samples, dropout=DROPOUT, clip_sigma=CLIP_SIGMA)
    keys = scan_keys(dataset, date.max)
    split = _split([day_from_epoch(day) for day in np.unique(keys.days)], path)

    result = train(
        dataset, plan, shape, split.train_dates, split.train_end, settings, seed=seed, progress=progress
    )
    model = load_model(shape, result.state_dict)
    judged = rank_ic_by_date(
        model,
        dataset,
        plan,
        shape,
        (*split.in_sample, *split.out_of_sample),
        horizon=JUDGED_HORIZON,
        clip_sigma=CLIP_SIGMA,
        progress=progress,
    )
    first_out, at_last_price = len(split.in_sample), int(judged.at_last_price.sum())
    in_sample, out_of_sample = (
        float(part.mean()) for part in (judged.coefficients[:first_out], judged.coefficients[first_out:])
    )
    manifest_sha256 = seal_bundle(
        out,
        result,
        shape=shape,
        settings=settings,
        dataset=dataset,
        keys=keys,
        bundle_version=f"demo-seed{seed}",
        config_version="demo",
        notice=NOTICE,
        marks={"synthetic": True},
        training={
            "seed": seed,
            "windows": samples,
            "train_dates": f"{split.train_dates[0]} to {split.train_dates[-1]}",
            "last_price_seen": str(split.train_end),
            "rank_ic_h20_in_sample": round(in_sample, 6),
            "rank_ic_h20_out_of_sample": round(out_of_sample, 6),
            "returns_at_last_price": at_last_price,
            "out_of_sample_dates": [str(day) for day in split.out_of_sample],
        },
    )
    return DemoBundle(
        path=out,
        manifest_sha256=manifest_sha256,
        rank_ic_in_sample=in_sample,
        rank_ic_out_of_sample=out_of_sample,
        in_sample_dates=len(split.in_sample),
        out_of_sample_dates=len(split.out_of_sample),
        returns_at_last_price=at_last_price,
    )


def _split(sessions: Sequence[date], where: Path) -> _Split:
    """Cut the sessions into training and judgement.

    A train date's longest target ends by `train_end`, a judged date starts after it: the embargo between the
    last train date and the first judged one is the longest horizon.
    """
    embargo = max(HORIZONS)
    least = LOOKBACK + 4 * embargo
    if len(sessions) < least:
        raise Refusal(
            "dataset is too short to train and judge a model",
            expected=f"at least {least} sessions",
            received=len(sessions),
            where=where,
            remedy="Make the demo data with more sessions.",
        )
    end = len(sessions) - 1 - max(round(OUT_OF_SAMPLE_SHARE * len(sessions)), embargo + JUDGE_EVERY_SESSIONS)
    # Counted back from the end: the newest train date is used whatever the step leaves over.
    train_dates = sessions[end - embargo : LOOKBACK - 2 : -TRAIN_EVERY_SESSIONS][::-1]
    judged = sessions[end + 1 : len(sessions) - JUDGED_HORIZON : JUDGE_EVERY_SESSIONS]
    in_sample = train_dates[:: -(-len(train_dates) // len(judged))]
    return _Split(tuple(train_dates), sessions[end], tuple(in_sample), tuple(judged))


def _require_synthetic(path: Path) -> None:
    metadata = pq.read_schema(path).metadata or {}
    if metadata.get(b"apex.synthetic") != b"true":
        raise Refusal(
            "dataset is not marked synthetic",
            expected="parquet metadata apex.synthetic=true",
            received=metadata.get(b"apex.synthetic", b"no such key").decode(errors="replace"),
            where=path,
            remedy="Use a dataset of `apex demo-data`: a demo bundle must not pass for a model of real data.",
        )
