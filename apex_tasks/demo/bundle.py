"""Train the production architecture on the synthetic market and seal it as a bundle like a real one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from apex_tasks.bundle.archive import MANIFEST, read_bundle
from apex_tasks.bundle.writer import write_bundle
from apex_tasks.dataset.features import (
    FeaturePlan,
    features_from_groups,
    packaged_aliases,
    packaged_feature_groups,
    resolve_features,
)
from apex_tasks.dataset.forward_returns import read_forward_returns
from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.panel import build_panel
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import DatasetFile, day_from_epoch, open_dataset
from apex_tasks.demo.defaults import DEFAULT_SEED
from apex_tasks.demo.market import write_demo_data
from apex_tasks.model.patchtst import ModelShape, PatchTSTRanker
from apex_tasks.model.rank_ic import rank_ic
from apex_tasks.model.scoring import score_windows
from apex_tasks.model.training import TrainingSettings, train
from apex_tasks.refusal import Refusal
from apex_tasks.settings import BundleLimits, FeaturesMode, Normalization, configs_folder
from apex_tasks.store import file_sha256

FEATURE_GROUPS = ("core50", "plus30", "dmi_focus")
HORIZONS = (1, 5, 10, 20)
JUDGED_HORIZON = 20
LOOKBACK = 180
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
    """

    path: Path
    manifest_sha256: str
    rank_ic_in_sample: float
    rank_ic_out_of_sample: float
    in_sample_dates: int
    out_of_sample_dates: int
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
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        # The writer refuses it too, but only after the training.
        raise Refusal(
            "output exists",
            expected="a path that is free",
            received="an existing file or folder",
            where=out,
            remedy="Choose another path, or delete it.",
        )
    if dataset is not None:
        return _write(out, dataset, seed, samples, progress)
    with tempfile.TemporaryDirectory(prefix="apex-demo-") as folder:
        made = write_demo_data(Path(folder) / "dataset.parquet", seed=seed, progress=progress)
        return _write(out, made.dataset, seed, samples, progress)


def _write(out: Path, path: Path, seed: int, samples: int, progress: ReportProgress | None) -> DemoBundle:
    dataset = open_dataset(path)
    _require_synthetic(path)
    features = features_from_groups(packaged_feature_groups(), FEATURE_GROUPS, "packaged feature_groups.yaml")
    plan = resolve_features(features, packaged_aliases(), dataset.schema.names, FeaturesMode.STRICT)
    shape = ModelShape(n_features=len(features), patch_multiplier=2, horizons=HORIZONS, lookback=LOOKBACK)
    settings = TrainingSettings(samples=samples, dropout=DROPOUT, clip_sigma=CLIP_SIGMA)
    keys = scan_keys(dataset, date.max)
    split = _split([day_from_epoch(day) for day in np.unique(keys.days)], path)

    result = train(
        dataset, plan, shape, split.train_dates, split.train_end, settings, seed=seed, progress=progress
    )
    model = PatchTSTRanker(shape).eval()
    model.load_state_dict(result.state_dict)
    in_sample, out_of_sample = _mean_rank_ic(model, dataset, plan, shape, split, progress)

    manifest = {
        "bundle_version": f"demo-seed{seed}",
        "synthetic": True,
        "notice": NOTICE,
        "checkpoint": {
            "base_features": shape.n_features,
            "effective_dim": shape.n_channels,
            "csz_mode": "trained_with_csz",
            "patch_multiplier": "auto",
        },
        "config": {"patch_multiplier": "auto (unset)"},
        "dataset": {
            "file": path.name,
            "sha256": file_sha256(path),
            "features": len(features),
            "date_range": f"{day_from_epoch(keys.days.min())} to {day_from_epoch(keys.days.max())}",
            "rows": len(keys.days),
            "stocks": len(keys.codes),
        },
        "training": {
            "seed": seed,
            "windows": samples,
            "train_dates": f"{split.train_dates[0]} to {split.train_dates[-1]}",
            "last_price_seen": str(split.train_end),
            "rank_ic_h20_in_sample": round(in_sample, 6),
            "rank_ic_h20_out_of_sample": round(out_of_sample, 6),
            "out_of_sample_dates": [str(day) for day in split.out_of_sample],
        },
        "expected_behavior": {
            "model_init_log": (
                f"[Model Init] in_features={shape.n_features}, patch_multiplier=auto, add_csz=False"
            ),
            "effective_dim": shape.n_channels,
            "candidate_kept": 53,
            "rebalance_freq": "monthly",
            "top_k": 35,
            "horizon": JUDGED_HORIZON,
        },
    }
    write_bundle(
        out,
        state_dict=result.state_dict,
        config=_config(shape, settings),
        feature_groups=(configs_folder() / "feature_groups.yaml").read_bytes(),
        feature_aliases=(configs_folder() / "feature_aliases.yaml").read_bytes(),
        manifest_extra=manifest,
        created=str(day_from_epoch(keys.days.max())),
    )
    return DemoBundle(
        path=out,
        manifest_sha256=read_bundle(out, BundleLimits()).hashes[MANIFEST],
        rank_ic_in_sample=in_sample,
        rank_ic_out_of_sample=out_of_sample,
        in_sample_dates=len(split.in_sample),
        out_of_sample_dates=len(split.out_of_sample),
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


def _mean_rank_ic(
    model: PatchTSTRanker,
    dataset: DatasetFile,
    plan: FeaturePlan,
    shape: ModelShape,
    split: _Split,
    progress: ReportProgress | None,
) -> tuple[float, float]:
    """Mean rank IC of the judged horizon, in sample and out of sample."""
    dates = (*split.in_sample, *split.out_of_sample)
    panel = build_panel(
        dataset, plan, dates, lookback=shape.lookback, normalization=Normalization.CSZ, clip_sigma=CLIP_SIGMA
    )
    returns = read_forward_returns(dataset, (JUDGED_HORIZON,), date.max)
    column = shape.horizons.index(JUDGED_HORIZON)
    coefficients = []
    for done, day in enumerate(dates):
        if progress:
            progress("Judging", done, len(dates))
        windows = panel.windows[day]
        scores = score_windows(model, panel.rows, windows.start, shape.lookback)[:, column]
        coefficients.append(rank_ic(scores, returns.on(day, windows.codes)[:, 0]))
    if progress:
        progress("Judging", len(dates), len(dates))
    first_out = len(split.in_sample)
    return float(np.mean(coefficients[:first_out])), float(np.mean(coefficients[first_out:]))


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


def _config(shape: ModelShape, settings: TrainingSettings) -> dict[str, Any]:
    """The config yaml in the form of the production bundle; `patch_multiplier` stays unset there too."""
    gate = {"k_ratio": 0.60, "k_min": 53, "sign": 1}
    return {
        "version": "demo",
        "description": NOTICE,
        "data": {
            "feature_groups_config": "configs/feature_groups.yaml",
            "feature_aliases_yaml": "configs/feature_aliases.yaml",
            "feature_groups": list(FEATURE_GROUPS),
            "lookback": shape.lookback,
            "min_stocks_per_day": 80,
            "date_column": "Date",
            "code_column": "Code",
        },
        "normalization": {"mode": "cross_section_z", "clip_sigma": settings.clip_sigma},
        "train": {
            "horizons": list(shape.horizons),
            "samples": settings.samples,
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
            "weight_decay": settings.weight_decay,
        },
        "selection": {
            "default": gate,
            # Copies: yaml would write a repeated object as an anchor and references to it.
            "horizons": {str(horizon): dict(gate) for horizon in shape.horizons},
        },
        "model": {
            "d_model": shape.d_model,
            "depth": shape.depth,
            "patch_len": shape.patch_len,
            "stride": shape.stride,
            "n_heads": shape.n_heads,
            "dropout": settings.dropout,
        },
        "loss": {"name": "mse"},
    }
