"""What a bundle comes to once checkpoint, config, dataset schema and MANIFEST.lock agree."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from apex_tasks.bundle.archive import MANIFEST_LOCK
from apex_tasks.bundle.channels import model_init_log
from apex_tasks.bundle.manifest import BundleFile
from apex_tasks.dataset.features.feature_plan import FeatureList, FeaturePlan
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.settings import FeaturesMode, Normalization, SelectionSettings


def newest_rows_unread(lookback: int, patch_len: int, stride: int) -> int:
    """Newest rows of a window that no patch covers.

    Patches start at the oldest row, `stride` apart, without padding: `floor((lookback - patch_len) / stride) + 1` of
    them leave `(lookback - patch_len) mod stride` rows after the last. In production that is 4: 21 patches cover 176
    of 180 rows. The model was trained so, and another geometry would be another model.
    """
    return (lookback - patch_len) % stride


class ModelDimensions(FrozenModel):
    """Sizes of the model beside its features; `horizons` in sessions, in the order of its outputs."""

    d_model: int
    depth: int
    patch_len: int
    stride: int
    n_heads: int
    horizons: tuple[int, ...]


class ResolvedBundle(FrozenModel):
    """Everything later steps need of a bundle, for one dataset and one horizon; survives JSON.

    Attributes
    ----------
    source
        Folder or archive that was read.
    folder
        Where the verified files are kept; None if they were not.
    bundle_sha256
        Identity of the bundle: hash over all its files' paths and hashes.
    files
        Every file with its hash, and whether the manifest vouches for it.
    left_out
        Files of macOS or Windows among them, which are no part of the bundle.
    not_shipped
        Files the manifest hashes but the bundle leaves out, so that they were not checked.
    checkpoint_path, config_path
        Their paths in the bundle.
    dataset
        Dataset whose schema took part in the handshake.
    features : (n_features,)
        Names in model input order.
    feature_source, alias_source
        Where the feature list and the aliases came from.
    plan
        How to read each feature from the dataset.
    configured_patch_multiplier
        What the config says; None: unset or "auto".
    patch_multiplier
        Channels per feature, as the checkpoint has them.
    csz_mode
        The manifest's wording on z-scoring, reported as it is.
    trained_normalization
        How features were normalized in training.
    clip_sigma
        Bound on z-scores, in standard deviations.
    lookback
        Rows per window.
    newest_rows_unread
        Newest rows of each window that no patch covers, see `newest_rows_unread`: 4 of 180 in production.
    horizon
        Requested forecast horizon, sessions.
    selection
        Gate parameters for that horizon.
    signs
        `selection.sign` of every horizon: 1 if a higher output is better, -1 if a lower one is.
    evaluation_only
        The manifest says that nothing may be traded by it.
    synthetic
        The manifest says that the bundle was trained on made-up data.
    feature_origin, dataset_feature_origin
        Origins of the features that the manifest and the dataset's metadata name; None where they name none.
    warnings
        What a reader of the scores must know of bundle and dataset; published among the month's.
    training_period, validation
        What the manifest says of its training, as it is; None where it says nothing.
    """

    source: str
    folder: Path | None = None
    bundle_sha256: str
    bundle_version: JsonValue
    created: JsonValue
    git_tag: JsonValue
    files: tuple[BundleFile, ...]
    left_out: tuple[str, ...] = ()
    not_shipped: tuple[str, ...]
    checkpoint_path: str
    config_path: str
    dataset: str
    features: tuple[str, ...]
    feature_source: str
    alias_source: str
    features_mode: FeaturesMode
    plan: FeaturePlan
    configured_patch_multiplier: int | None
    patch_multiplier: int
    csz_mode: str | None
    trained_normalization: Normalization
    clip_sigma: float
    lookback: int
    newest_rows_unread: int
    min_stocks_per_day: int
    model: ModelDimensions
    horizon: int
    selection: SelectionSettings
    signs: dict[int, Literal[-1, 1]]
    expected_behavior: dict[str, JsonValue]
    performance_benchmarks: dict[str, JsonValue]
    critical_alerts: dict[str, JsonValue]
    operational_rules: JsonValue
    synthetic: bool
    evaluation_only: bool = False
    feature_origin: str | None = None
    dataset_feature_origin: str | None = None
    warnings: tuple[str, ...] = ()
    training_period: JsonValue = Field(None, exclude_if=lambda value: value is None)
    validation: JsonValue = Field(None, exclude_if=lambda value: value is None)

    @property
    def n_features(self) -> int:
        """Input channels of the model."""
        return len(self.features)

    @property
    def effective_dim(self) -> int:
        """Channels after the model's convolution: 178 in production."""
        return self.n_features * self.patch_multiplier

    @property
    def feature_hash(self) -> str:
        """Hash of the ordered feature names."""
        return FeatureList(self.features).hash

    def sha256(self, path: str) -> str:
        """Hash of one of the bundle's files."""
        return next(file.sha256 for file in self.files if file.path == path)

    @property
    def checkpoint_sha256(self) -> str:
        """Hash of the checkpoint."""
        return self.sha256(self.checkpoint_path)

    @property
    def config_sha256(self) -> str:
        """Hash of the config."""
        return self.sha256(self.config_path)

    @property
    def manifest_sha256(self) -> str:
        """Hash of MANIFEST.lock."""
        return self.sha256(MANIFEST_LOCK)

    def _rows_read(self) -> str:
        unread, model = self.newest_rows_unread, self.model
        patches = f"patches of {model.patch_len} rows, {model.stride} apart"
        if not unread:
            return f"all {self.lookback}, {patches}"
        return (
            f"{self.lookback - unread} of {self.lookback}, {patches}: the features of a stock's newest {unread} rows "
            "reach no score"
        )

    def settings_block(self) -> str:
        """The settings in force, for logs and people: one `name: value` a line."""
        model, rule, filled = self.model, self.selection, self.plan.filled
        trained_on, dataset_has = (
            self.feature_origin or "not named",
            self.dataset_feature_origin or "not named",
        )
        values: dict[str, object] = {
            "bundle": f"{self.source} (version {self.bundle_version}, created {self.created})",
            "bundle_sha256": self.bundle_sha256,
            "dataset": self.dataset,
            "features": f"{self.n_features} from {self.feature_source}",
            "feature_hash": self.feature_hash,
            "features_mode": self.features_mode,
            "feature_origin": f"{trained_on}, dataset: {dataset_has}",
            "filled_with_zero": f"{len(filled)} {', '.join(filled)}".strip(),
            "aliases": self.alias_source,
            "patch_multiplier": f"{self.patch_multiplier} (read from the checkpoint)",
            "effective_dim": self.effective_dim,
            "csz_mode": self.csz_mode,
            "trained_normalization": f"{self.trained_normalization}, clipped at {self.clip_sigma:g} sigma",
            "lookback": self.lookback,
            "rows_read": self._rows_read(),
            "min_stocks_per_day": self.min_stocks_per_day,
            "model": f"d_model={model.d_model}, depth={model.depth}, patch_len={model.patch_len}, "
            f"stride={model.stride}, n_heads={model.n_heads}, horizons={list(model.horizons)}",
            "horizon": self.horizon,
            "selection": f"k_ratio={rule.k_ratio}, k_min={rule.k_min}, sign={rule.sign:+d}",
        }
        hashes = [f"  {file.sha256}  {file.path} ({file.status})" for file in self.files]
        hashes += [f"  not shipped, not checked: {name}" for name in self.not_shipped]
        hashes += [f"  left by a desktop, not read: {name}" for name in self.left_out]
        lines = [f"{name}: {value}" for name, value in values.items()]
        init = model_init_log(self.n_features, self.configured_patch_multiplier)
        warned = [f"WARNING: {warning}" for warning in self.warnings]
        return "\n".join(["RESOLVED SETTINGS", init, *lines, *warned, "files:", *hashes])
