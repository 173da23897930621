"""What a bundle comes to once checkpoint, config, dataset schema and MANIFEST.lock agree."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, JsonValue

from apex_tasks.bundle.archive import MANIFEST_LOCK
from apex_tasks.bundle.channels import model_init_log
from apex_tasks.bundle.manifest import BundleFile
from apex_tasks.dataset.features.feature_plan import FeatureList, FeaturePlan
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.settings import FeaturesMode, Normalization, SelectionSettings


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
    horizon
        Requested forecast horizon, sessions.
    selection
        Gate parameters for that horizon.
    evaluation_only
        The manifest says that nothing may be traded by it.
    synthetic
        The manifest says that the bundle was trained on made-up data.
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
    min_stocks_per_day: int
    model: ModelDimensions
    horizon: int
    selection: SelectionSettings
    expected_behavior: dict[str, JsonValue]
    performance_benchmarks: dict[str, JsonValue]
    critical_alerts: dict[str, JsonValue]
    operational_rules: JsonValue
    synthetic: bool
    evaluation_only: bool = False
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

    def settings_block(self) -> str:
        """The settings in force, for logs and people: one `name: value` a line."""
        model, rule, filled = self.model, self.selection, self.plan.filled
        values: dict[str, object] = {
            "bundle": f"{self.source} (version {self.bundle_version}, created {self.created})",
            "bundle_sha256": self.bundle_sha256,
            "dataset": self.dataset,
            "features": f"{self.n_features} from {self.feature_source}",
            "feature_hash": self.feature_hash,
            "features_mode": self.features_mode,
            "filled_with_zero": f"{len(filled)} {', '.join(filled)}".strip(),
            "aliases": self.alias_source,
            "patch_multiplier": f"{self.patch_multiplier} (read from the checkpoint)",
            "effective_dim": self.effective_dim,
            "csz_mode": self.csz_mode,
            "trained_normalization": f"{self.trained_normalization}, clipped at {self.clip_sigma:g} sigma",
            "lookback": self.lookback,
            "min_stocks_per_day": self.min_stocks_per_day,
            "model": f"d_model={model.d_model}, depth={model.depth}, patch_len={model.patch_len}, "
            f"stride={model.stride}, n_heads={model.n_heads}, horizons={list(model.horizons)}",
            "horizon": self.horizon,
            "selection": f"k_ratio={rule.k_ratio}, k_min={rule.k_min}, sign={rule.sign:+d}",
        }
        hashes = [f"  {file.sha256}  {file.path} ({file.status})" for file in self.files]
        hashes += [f"  not shipped, not checked: {name}" for name in self.not_shipped]
        lines = [f"{name}: {value}" for name, value in values.items()]
        init = model_init_log(self.n_features, self.configured_patch_multiplier)
        return "\n".join(["RESOLVED SETTINGS", init, *lines, "files:", *hashes])
