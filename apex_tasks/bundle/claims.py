"""What a bundle leaves open: how its features were normalized, and in which order its checkpoint takes them."""

from __future__ import annotations

from apex_tasks.bundle.archive import MANIFEST_LOCK
from apex_tasks.bundle.checkpoint import Checkpoint
from apex_tasks.bundle.manifest import Manifest
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization, RankingSettings


def trained_normalization(manifest: Manifest, configured: Normalization) -> Normalization:
    """How features were normalized in training: as the config says, with which the manifest may not disagree.

    Raises
    ------
    Refusal
        The manifest's `checkpoint.trained_normalization` says otherwise.
    """
    stated = manifest.checkpoint.trained_normalization
    if stated is not None and stated is not configured:
        raise Refusal(
            "the bundle contradicts itself in checkpoint.trained_normalization",
            expected=stated,
            received=configured,
            where=f"{MANIFEST_LOCK}, checkpoint.trained_normalization and the config's normalization.mode",
            remedy="The files do not belong together: fetch the bundle again, do not edit it to fit.",
        )
    return configured


def normalization_warnings(trained: Normalization, ranking: RankingSettings, where: str) -> tuple[str, ...]:
    """Compare how the model was trained with how it is going to be fed.

    Raises
    ------
    Refusal
        They differ, and `ranking.normalization_reason` is not given.
    """
    fed, reason = ranking.normalization, ranking.normalization_reason
    if fed is trained:
        return ()
    if reason is None:
        raise Refusal(
            f"the model was trained on {trained} features and would be fed {fed} ones",
            expected=f"ranking.normalization {trained}, or a reason for {fed}",
            received=f"{fed} without a reason",
            where=f"ranking.normalization and {where}, normalization.mode",
            remedy=f"Run with normalization {trained}; to feed the model {fed} features on purpose, say why in "
            "normalization_reason (the run's parameter, --normalization-reason, or the setting under ranking).",
        )
    return (f"the model was trained on {trained} features and fed {fed} ones: {reason}",)


def feature_order_warnings(manifest: Manifest, checkpoint: Checkpoint, source: str) -> tuple[str, ...]:
    """Say so when nothing ties the order of the features to the weights.

    A checkpoint that names no features would take them in any order. Its own `feature_names` or `feature_hash`
    bind the order, or `checkpoint.feature_hash` in the manifest, which stands beside the checkpoint's SHA-256;
    `channels.check_feature_claims` compares them.
    """
    metadata = checkpoint.metadata
    bound = metadata.feature_names or metadata.feature_hash or manifest.checkpoint.feature_hash
    if bound is not None:
        return ()
    return (
        f"the checkpoint names no features: their order is a claim of {source}, until {MANIFEST_LOCK} has their "
        "checkpoint.feature_hash",
    )
