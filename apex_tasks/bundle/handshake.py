"""The four-way handshake: checkpoint, config, dataset schema and MANIFEST.lock must agree before a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from apex_tasks.bundle.archive import BundleFiles
from apex_tasks.bundle.channels import (
    check_channel_claims,
    check_feature_claims,
    check_model_init_log,
    resolve_patch_multiplier,
)
from apex_tasks.bundle.checkpoint import Checkpoint, check_weights, load_checkpoint
from apex_tasks.bundle.claims import (
    feature_order_warnings,
    normalization_warnings,
    trained_normalization,
)
from apex_tasks.bundle.config import BundleConfig, DataSection, read_config
from apex_tasks.bundle.manifest import verify_manifest
from apex_tasks.bundle.parsing import bad_key, read_yaml
from apex_tasks.bundle.resolved import ModelDimensions, ResolvedBundle, newest_rows_unread
from apex_tasks.dataset.features.feature_aliases import Alias, packaged_aliases, parse_aliases
from apex_tasks.dataset.features.feature_plan import (
    FeatureList,
    FeaturePlan,
    SourceKind,
    features_from_groups,
    packaged_feature_groups,
    resolve_features,
)
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, FeaturesMode


def resolve_bundle(files: BundleFiles, dataset: str | Path, settings: ApexSettings) -> ResolvedBundle:
    """Check a bundle against itself and a dataset's schema.

    Hashes are compared before anything but MANIFEST.lock is parsed, and what is parsed are the hashed bytes.

    Parameters
    ----------
    files
        The bundle, as read.
    dataset
        Local parquet file; only its footer is read.
    settings
        Horizon, features mode, and the selection parameters where the bundle has none.

    Raises
    ------
    Refusal
        Naming the file, key or column at fault, what was expected there, and what was found.
    """
    verified = verify_manifest(files)
    manifest = verified.manifest
    config = read_config(files.contents[verified.config_path], verified.config_path)
    horizon = settings.ranking.horizon
    if horizon not in config.train.horizons:
        raise Refusal(
            "the model has no head for the requested horizon",
            expected=f"one of {list(config.train.horizons)}",
            received=horizon,
            where=f"ranking.horizon and {verified.config_path}, train.horizons",
            remedy="Request a horizon that the bundle was trained for.",
        )
    checkpoint = load_checkpoint(files.contents[verified.checkpoint_path], verified.checkpoint_path)
    check_weights(checkpoint, config.model, config.train.horizons, verified.checkpoint_path)

    features, feature_source = _features(files, config.data, checkpoint, verified.config_path)
    aliases, alias_source = _aliases(files, config.data)
    check_feature_claims(manifest, checkpoint, features)
    trained = trained_normalization(manifest, config.normalization.trained_on)
    warnings = (
        *normalization_warnings(trained, settings.ranking, verified.config_path),
        *feature_order_warnings(manifest, checkpoint, feature_source),
    )
    channels = checkpoint.channels
    multiplier = resolve_patch_multiplier(
        channels,
        len(features),
        config.model.patch_multiplier,
        config.model.d_model,
        stated_dim=manifest.checkpoint.effective_dim or manifest.expected_behavior.effective_dim,
        where=verified.config_path,
    )
    check_channel_claims(manifest, channels, multiplier)
    check_model_init_log(manifest, len(features), multiplier)
    plan = _plan(
        dataset, config.data, features, aliases, settings.ranking.features_mode, verified.config_path
    )
    dataset_origin, origin_warnings = _origin(dataset, manifest.feature_origin, plan)
    return ResolvedBundle(
        source=files.source,
        bundle_sha256=files.sha256,
        bundle_version=manifest.bundle_version,
        created=manifest.created,
        git_tag=manifest.git_tag,
        files=verified.files,
        left_out=files.left_out,
        not_shipped=verified.not_shipped,
        checkpoint_path=verified.checkpoint_path,
        config_path=verified.config_path,
        dataset=str(dataset),
        features=features.names,
        feature_source=feature_source,
        alias_source=alias_source,
        features_mode=settings.ranking.features_mode,
        plan=plan,
        configured_patch_multiplier=config.model.patch_multiplier,
        patch_multiplier=multiplier,
        csz_mode=manifest.checkpoint.csz_mode,
        trained_normalization=trained,
        clip_sigma=config.normalization.clip_sigma,
        lookback=config.data.lookback,
        newest_rows_unread=newest_rows_unread(
            config.data.lookback, config.model.patch_len, config.model.stride
        ),
        min_stocks_per_day=config.data.min_stocks_per_day,
        model=_dimensions(config),
        horizon=horizon,
        selection=config.selection_for(horizon, settings.selection),
        signs={h: config.selection_for(h, settings.selection).sign for h in config.train.horizons},
        expected_behavior=manifest.expected_behavior.model_dump(exclude_unset=True),
        performance_benchmarks=manifest.performance_benchmarks,
        critical_alerts=manifest.critical_alerts,
        operational_rules=manifest.operational_rules,
        warnings=(*warnings, *origin_warnings),
        synthetic=bool((manifest.model_extra or {}).get("synthetic", False)),
        evaluation_only=bool((manifest.model_extra or {}).get("evaluation_only", False)),
        feature_origin=manifest.feature_origin,
        dataset_feature_origin=dataset_origin,
        training_period=manifest.training_period,
        validation=manifest.validation,
    )


def _dimensions(config: BundleConfig) -> ModelDimensions:
    model = config.model
    return ModelDimensions(
        d_model=model.d_model,
        depth=model.depth,
        patch_len=model.patch_len,
        stride=model.stride,
        n_heads=model.n_heads,
        horizons=config.train.horizons,
    )


def _origin(
    dataset: str | Path, trained_on: str | None, plan: FeaturePlan
) -> tuple[str | None, tuple[str, ...]]:
    """The origin that the dataset names, and what to know where the bundle was trained on another."""
    from apex_tasks.dataset.price_features.origin import feature_origin, origin_warnings
    from apex_tasks.dataset.schema import open_dataset

    named = feature_origin(open_dataset(dataset).schema)
    supplied = [source.feature for source in plan.sources if source.kind is SourceKind.COLUMN]
    return named, origin_warnings(named, trained_on, supplied)


def _features(
    files: BundleFiles, data: DataSection, checkpoint: Checkpoint, config_path: str
) -> tuple[FeatureList, str]:
    """The ordered features and their source: the bundle's groups file, the checkpoint, or the package."""
    path = _shipped(files, data.feature_groups_config, "data.feature_groups_config", config_path)
    names = checkpoint.metadata.feature_names
    if path is None and names is not None:
        if not names or len(frozenset(names)) < len(names):
            raise Refusal(
                "the checkpoint's feature_names are empty or repeat a name",
                expected="each feature once",
                received=f"{len(names)} names, {len(frozenset(names))} different",
                where="checkpoint, feature_names",
                remedy="Ship the feature groups file in the bundle, or fetch the bundle again.",
            )
        return FeatureList(names), "checkpoint feature_names"
    document = packaged_feature_groups() if path is None else read_yaml(files.contents[path], path)
    source = "packaged feature_groups.yaml" if path is None else path
    features = features_from_groups(document, data.groups, source, exclude=data.exclude_features)
    return features, f"{source} ({', '.join(data.groups)})"


def _aliases(files: BundleFiles, data: DataSection) -> tuple[Mapping[str, Alias], str]:
    path = _shipped(files, data.feature_aliases_yaml, "data.feature_aliases_yaml", "config")
    if path is None:
        return packaged_aliases(), "packaged feature_aliases.yaml"
    return parse_aliases(read_yaml(files.contents[path], path), path), path


def _shipped(files: BundleFiles, name: str | None, key: str, where: str) -> str | None:
    candidates = files.named(name) if name else ()
    if len(candidates) > 1:
        raise bad_key(key, "one file of this name in the bundle", list(candidates), where)
    return candidates[0] if candidates else None


def _plan(
    dataset: str | Path,
    data: DataSection,
    features: FeatureList,
    aliases: Mapping[str, Alias],
    mode: FeaturesMode,
    config_path: str,
) -> FeaturePlan:
    from apex_tasks.dataset.schema import CODE, DATE, open_dataset

    for key, named, read in (
        ("date_column", data.date_column, DATE),
        ("code_column", data.code_column, CODE),
    ):
        if named != read:
            raise bad_key(f"data.{key}", read, named, config_path)
    plan = resolve_features(features, aliases, open_dataset(dataset).schema.names, mode)
    open_dataset(dataset, numeric=plan.columns)
    return plan
