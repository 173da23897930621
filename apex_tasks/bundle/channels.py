"""The channel handshake: 89 features, 178 channels, and what a patch multiplier may be.

The model convolves each of F features into m channels, so the checkpoint's convolution has C = F * m rows.
The doubling from 89 to 178 is this multiplier: z-scoring replaces values and never adds a channel.
"""

from __future__ import annotations

from pydantic import JsonValue

from apex_tasks.bundle.archive import MANIFEST_LOCK
from apex_tasks.bundle.checkpoint import Checkpoint
from apex_tasks.bundle.manifest import Manifest
from apex_tasks.dataset.features.feature_plan import FeatureList
from apex_tasks.refusal import Refusal

_AUTO = (None, "auto", "auto (unset)")
_OTHER_FEATURES = (
    "The checkpoint was trained on another feature list than the bundle's: fetch the bundle again. "
    "Z-scoring adds no features, so the list is never doubled."
)


def resolve_patch_multiplier(
    channels: int,
    n_features: int,
    configured: int | None,
    d_model: int,
    *,
    stated_dim: int | None,
    where: str,
) -> int:
    """Channels per feature, read from the checkpoint and compared with what is configured.

    Parameters
    ----------
    channels
        C: rows of the checkpoint's convolution.
    n_features
        F: features of the bundle.
    configured
        `model.patch_multiplier`; None: read it from the checkpoint.
    d_model
        Width of the model: v0.1.0 itself chose `max(2, d_model // F)` when left to choose.
    stated_dim
        The manifest's `effective_dim`. A multiplier other than 1, 2 or v0.1.0's choice is a sign of features
        doubled by mistake, and taken only when the manifest or the config states it.
    where
        The bundle's config, for messages.

    Raises
    ------
    Refusal
        C is no multiple of F, or contradicts the config.
    """
    multiplier, rest = divmod(channels, n_features)
    usual = (1, 2, max(2, d_model // n_features))
    if configured is not None and configured * n_features != channels:
        removable = not rest and multiplier in usual
        raise Refusal(
            f"size mismatch: model.patch_multiplier {configured} does not fit the checkpoint",
            expected=f"{channels} channels (checkpoint)",
            received=f"{configured * n_features} channels ({n_features} features x {configured})",
            where=f"{where}, model.patch_multiplier",
            remedy="Remove the patch_multiplier line from the config: it is then read from the checkpoint. "
            "Update config.sha256 in MANIFEST.lock."
            if removable
            else _OTHER_FEATURES,
        )
    stated = configured is not None or stated_dim == channels
    if rest or not (stated or multiplier in usual):
        raise Refusal(
            f"the checkpoint's channels do not fit the bundle: the bundle has {n_features} features",
            expected=f"{2 * n_features} channels ({n_features} features x 2), or x 1",
            received=f"{channels} channels (checkpoint)",
            where=where,
            remedy=_OTHER_FEATURES,
        )
    return multiplier


def check_feature_claims(manifest: Manifest, checkpoint: Checkpoint, features: FeatureList) -> None:
    """Compare the resolved feature list with what manifest and checkpoint say of it.

    Raises
    ------
    Refusal
        Naming the claim that differs.
    """
    metadata = checkpoint.metadata
    _agree("checkpoint.base_features", manifest.checkpoint.base_features, len(features), MANIFEST_LOCK)
    where = manifest.checkpoint.file
    _agree("feature_count", metadata.feature_count, len(features), where)
    if metadata.feature_names is not None and metadata.feature_names != features.names:
        pairs = zip(metadata.feature_names, features.names, strict=False)
        first = next((index for index, (a, b) in enumerate(pairs) if a != b), None)
        index = min(len(metadata.feature_names), len(features)) if first is None else first
        _agree(
            f"feature_names[{index}]",
            "|".join(metadata.feature_names[index : index + 1]) or "the end of the list",
            "|".join(features.names[index : index + 1]) or "the end of the list",
            where,
        )
    _agree("feature_hash", metadata.feature_hash, features.hash, where)
    _agree("checkpoint.feature_hash", manifest.checkpoint.feature_hash, features.hash, MANIFEST_LOCK)


def check_channel_claims(manifest: Manifest, channels: int, multiplier: int) -> None:
    """Compare the checkpoint's channels with what the manifest says of them.

    Raises
    ------
    Refusal
        Naming the claim that differs.
    """
    _agree("checkpoint.effective_dim", manifest.checkpoint.effective_dim, channels, MANIFEST_LOCK)
    _agree(
        "expected_behavior.effective_dim", manifest.expected_behavior.effective_dim, channels, MANIFEST_LOCK
    )
    for key, claim in (
        ("checkpoint.patch_multiplier", manifest.checkpoint.patch_multiplier),
        ("config.patch_multiplier", manifest.config.patch_multiplier),
    ):
        if claim not in _AUTO:
            _agree(key, claim, multiplier, MANIFEST_LOCK)


def model_init_log(n_features: int, patch_multiplier: int | None) -> str:
    """The line v0.1.0 logs when it builds the model; operators look for it."""
    shown = "auto" if patch_multiplier is None else patch_multiplier
    return f"[Model Init] in_features={n_features}, patch_multiplier={shown}, add_csz=False"


def check_model_init_log(manifest: Manifest, n_features: int, multiplier: int) -> None:
    """Compare the manifest's expected log line with ours; it may show `auto` or the number that auto gives.

    Raises
    ------
    Refusal
        It says anything else.
    """
    claim = manifest.expected_behavior.model_init_log
    if claim is not None and claim.strip() != model_init_log(n_features, multiplier):
        _agree(
            "expected_behavior.model_init_log", claim.strip(), model_init_log(n_features, None), MANIFEST_LOCK
        )


def _agree(key: str, claim: JsonValue, found: int | str, where: str) -> None:
    if claim is not None and (claim != found or isinstance(claim, bool)):
        raise Refusal(
            f"the bundle contradicts itself in {key}",
            expected=claim,
            received=found,
            where=f"{where}, {key}",
            remedy="The files do not belong together: fetch the bundle again, do not edit it to fit.",
        )
