"""Channels of the model: features, their doubles, and the multiplier that is claimed."""

from pathlib import Path

import pytest

from tests.support.bundle_factory import (
    FEATURES,
    GROUPS,
    INIT_LOG,
    Draft,
    weights,
)
from tests.support.handshakes import group_bytes, refused, shake, without_claims

DOUBLED = [name for feature in FEATURES for name in (feature, f"{feature}_csz")]


# --- 178, 89, 356: the whole table ---------------------------------------------------------------------


def channel_draft(channels: int, features: list[str], multiplier: object) -> Draft:
    """A bundle that claims nothing of its channels, so that only weights, list and config can disagree."""
    draft = without_claims(Draft(payload=weights(channels), extra={GROUPS: group_bytes(features)}))
    draft.config["data"]["feature_groups"] = ["all"]
    if multiplier != "unset":
        draft.config["model"]["patch_multiplier"] = multiplier
    return draft


@pytest.mark.parametrize(
    ("channels", "multiplier", "resolved"),
    [
        (178, "unset", 2),
        (178, None, 2),
        (178, "auto", 2),
        (178, 2, 2),
        (89, "unset", 1),
        (89, None, 1),
        (89, "auto", 1),
        (89, 1, 1),
    ],
)
def test_channels_that_fit(dataset: Path, channels: int, multiplier: object, resolved: int) -> None:
    bundle = shake(channel_draft(channels, FEATURES, multiplier), dataset)
    assert (bundle.patch_multiplier, bundle.effective_dim) == (resolved, channels)
    shown = multiplier if isinstance(multiplier, int) else "auto"
    line = f"[Model Init] in_features=89, patch_multiplier={shown}, add_csz=False"
    assert line in bundle.settings_block().splitlines()


@pytest.mark.parametrize(
    ("channels", "multiplier", "expected", "received", "remedy"),
    [
        (178, 1, "178 channels", "89 channels", "Remove the patch_multiplier line"),
        (89, 2, "89 channels", "178 channels", "Remove the patch_multiplier line"),
        (356, "unset", "178 channels", "356 channels", "fetch the bundle again"),
        (356, None, "178 channels", "356 channels", "fetch the bundle again"),
        (356, "auto", "178 channels", "356 channels", "fetch the bundle again"),
        (356, 1, "356 channels", "89 channels", "fetch the bundle again"),
        (356, 2, "356 channels", "178 channels", "fetch the bundle again"),
        (100, "auto", "178 channels", "100 channels", "fetch the bundle again"),
        (100, 2, "100 channels", "178 channels", "fetch the bundle again"),
        (44, "auto", "178 channels", "44 channels", "fetch the bundle again"),
    ],
)
def test_channels_that_do_not_fit(
    dataset: Path, channels: int, multiplier: object, expected: str, received: str, remedy: str
) -> None:
    refusal = refused(channel_draft(channels, FEATURES, multiplier), dataset, "size mismatch|has 89 features")
    assert refusal.expected.startswith(expected)
    assert refusal.received.startswith(received)
    assert remedy in refusal.remedy


@pytest.mark.parametrize("multiplier", ["unset", None, "auto", 1, 2])
def test_a_doubled_feature_list_is_refused(dataset: Path, multiplier: object, tmp_path: Path) -> None:
    draft = channel_draft(356, DOUBLED, multiplier)
    draft.manifest["checkpoint"]["base_features"] = 89
    refusal = refused(draft, dataset, "checkpoint.base_features")
    assert (refusal.expected, refusal.received) == ("89", "178")
    twice = channel_draft(356, FEATURES, multiplier)
    twice.extra = {}
    twice.payload = {"model_state_dict": weights(356), "feature_names": FEATURES * 2}
    assert refused(twice, dataset, "repeat a name").received == "178 names, 89 different"


def test_an_unusual_multiplier_must_be_stated(dataset: Path) -> None:
    assert shake(channel_draft(356, FEATURES, 4), dataset).patch_multiplier == 4
    draft = channel_draft(356, FEATURES, "auto")
    draft.manifest["checkpoint"]["effective_dim"] = 356
    assert shake(draft, dataset).patch_multiplier == 4


def test_true_is_no_multiplier(dataset: Path) -> None:
    draft = channel_draft(89, FEATURES, 1)
    draft.manifest["checkpoint"]["patch_multiplier"] = True
    refused(draft, dataset, r"contradicts itself in checkpoint\.patch_multiplier")


@pytest.mark.parametrize("claim", ["auto", "auto (unset)", None, 2])
def test_manifest_spellings_of_the_multiplier(dataset: Path, claim: object) -> None:
    draft = Draft()
    draft.manifest["checkpoint"]["patch_multiplier"] = draft.manifest["config"]["patch_multiplier"] = claim
    draft.manifest["expected_behavior"]["model_init_log"] = INIT_LOG.replace("auto", str(claim or "auto")[:4])
    assert shake(draft, dataset).patch_multiplier == 2
