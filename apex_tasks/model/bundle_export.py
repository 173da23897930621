"""Seal freshly trained weights as a bundle in the form of the production one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apex_tasks.bundle.archive import MANIFEST_LOCK, read_bundle
from apex_tasks.bundle.writer import write_bundle
from apex_tasks.dataset.features.feature_plan import (
    FeatureList,
    features_from_groups,
    packaged_feature_groups,
)
from apex_tasks.dataset.keys import RowKeys
from apex_tasks.dataset.price_features.origin import feature_origin
from apex_tasks.dataset.schema import DatasetFile, day_from_epoch
from apex_tasks.model.patchtst import ModelShape
from apex_tasks.model.training import TrainingResult, TrainingSettings
from apex_tasks.settings import BundleLimits, configs_folder

FEATURE_GROUPS = ("core50", "plus30", "dmi_focus")
HORIZONS = (1, 5, 10, 20)
JUDGED_HORIZON = 20
LOOKBACK = 180


def production_features() -> FeatureList:
    """The 89 features of production, in model input order."""
    return features_from_groups(packaged_feature_groups(), FEATURE_GROUPS, "packaged feature_groups.yaml")


def production_shape() -> ModelShape:
    """The architecture of production: 89 features, 178 channels, four horizons."""
    return ModelShape(
        n_features=len(production_features()), patch_multiplier=2, horizons=HORIZONS, lookback=LOOKBACK
    )


def seal_bundle(
    out: Path,
    result: TrainingResult,
    *,
    shape: ModelShape,
    settings: TrainingSettings,
    dataset: DatasetFile,
    keys: RowKeys,
    bundle_version: str,
    config_version: str,
    notice: str,
    marks: Mapping[str, Any],
    training: Mapping[str, Any],
) -> str:
    """Write the bundle; the same arguments and dataset leave the same bytes.

    Parameters
    ----------
    out
        Folder, or a name ending in `.tar.gz`.
    result, shape, settings
        The weights and how they came about; the config holds the last two.
    dataset, keys
        What was trained on; the manifest gets its hash and extent, its last date as `created`, and the origin of its
        features where its metadata name one.
    notice
        What the bundle must not be taken for; goes into manifest and config.
    marks
        Keys of MANIFEST.lock that say so to a program, such as `{"synthetic": True}`.
    training
        How the weights were fitted and evaluated, as MANIFEST.lock records it.

    Returns
    -------
    str
        SHA-256 of MANIFEST.lock, which holds the hash of everything else.

    Raises
    ------
    Refusal
        `out` exists.
    """
    last_day = day_from_epoch(keys.days.max())
    manifest = {
        "bundle_version": bundle_version,
        **marks,
        "notice": notice,
        "checkpoint": {
            "base_features": shape.n_features,
            "effective_dim": shape.n_channels,
            "csz_mode": "trained_with_csz",
            "patch_multiplier": "auto",
            "feature_hash": production_features().hash,
        },
        "config": {"patch_multiplier": "auto (unset)"},
        "dataset": {
            "file": dataset.path.name,
            "sha256": dataset.sha256,
            "features": shape.n_features,
            "date_range": f"{day_from_epoch(keys.days.min())} to {last_day}",
            "rows": len(keys.days),
            "stocks": len(keys.codes),
        },
        **({} if (origin := feature_origin(dataset.schema)) is None else {"feature_origin": origin}),
        "training": dict(training),
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
        config=_config(shape, settings, config_version, notice),
        feature_groups=(configs_folder() / "feature_groups.yaml").read_bytes(),
        feature_aliases=(configs_folder() / "feature_aliases.yaml").read_bytes(),
        manifest_extra=manifest,
        created=str(last_day),
    )
    return read_bundle(out, BundleLimits()).hashes[MANIFEST_LOCK]


def _config(shape: ModelShape, settings: TrainingSettings, version: str, description: str) -> dict[str, Any]:
    """The config yaml in the form of the production bundle; `patch_multiplier` stays unset there too."""
    gate = {"k_ratio": 0.60, "k_min": 53, "sign": 1}
    return {
        "version": version,
        "description": description,
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
