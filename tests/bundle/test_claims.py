"""What a bundle leaves open: refused without a reason, or warned of wherever its scores are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apex_tasks.monthly.score import score
from apex_tasks.parameters import with_parameters
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization
from tests.support.bundle_factory import FEATURES, Draft, weights
from tests.support.bundle_factory import settings as settings_with
from tests.support.handshakes import HASH, refused, shake
from tests.support.month_reading import run_document
from tests.support.serving import client_of
from tests.support.small_market import AS_OF, JULY, SmallMarket, portfolio, run, small_settings

WARNING = (
    "the checkpoint names no features: their order is a claim of configs/feature_groups.yaml (core50, plus30, "
    "dmi_focus), until MANIFEST.lock has their checkpoint.feature_hash"
)
REASON = "figures of 2024 were made so"


def unbound(**wrapped: object) -> Draft:
    """The deployed bundle: its manifest binds no features."""
    draft = Draft(payload={"model_state_dict": weights(), **wrapped} if wrapped else weights())
    del draft.manifest["checkpoint"]["feature_hash"]
    return draft


def trained_on(mode: str) -> Draft:
    draft = Draft()
    draft.config["normalization"]["mode"] = mode
    return draft


# --- the order of the features


def test_a_bare_state_dict_leaves_the_order_a_claim(dataset: Path) -> None:
    bundle = shake(unbound(), dataset)
    assert bundle.warnings == (WARNING,)
    assert f"WARNING: {WARNING}" in bundle.settings_block().splitlines()


@pytest.mark.parametrize(
    "wrapped", [{"feature_names": FEATURES}, {"feature_hash": HASH}], ids=["names", "hash"]
)
def test_a_checkpoint_that_names_its_features_binds_them(dataset: Path, wrapped: dict[str, object]) -> None:
    assert shake(unbound(**wrapped), dataset).warnings == ()


def test_their_number_alone_does_not(dataset: Path) -> None:
    assert shake(unbound(feature_count=89), dataset).warnings == (WARNING,)


def test_the_manifest_binds_them_too_and_is_compared(dataset: Path) -> None:
    assert shake(Draft(), dataset).warnings == ()
    other = Draft()
    other.manifest["checkpoint"]["feature_hash"] = HASH[::-1]
    assert refused(other, dataset, r"contradicts itself in checkpoint\.feature_hash").received == HASH


def test_a_month_of_it_says_so_in_run_json_report_and_api(market: SmallMarket, tmp_path: Path) -> None:
    deployed = SmallMarket(market.dataset, unbound().folder(tmp_path / "bundle"))
    run(deployed, tmp_path, JULY, cold_start=True)
    document = run_document(tmp_path, JULY)
    assert document["warnings"] == [WARNING]
    assert "warnings" not in document["bundle"]
    assert "the checkpoint names no features" in portfolio(tmp_path, JULY).read_bytes("report.html").decode()
    with client_of(deployed, tmp_path) as client:
        assert client.post("/predict", json={"top_k": 1}).json()["warnings"] == [WARNING]


# --- the normalization


@pytest.mark.parametrize(("mode", "fed"), [("cross_section_z", "raw"), ("raw", "csz"), ("none", "csz")])
def test_another_normalization_than_in_training_needs_a_reason(dataset: Path, mode: str, fed: str) -> None:
    refusal = refused(trained_on(mode), dataset, "was trained on", ranking={"normalization": fed})
    assert "normalization_reason" in refusal.remedy
    assert "normalization.mode" in refusal.where
    given = {"normalization": fed, "normalization_reason": f"  {REASON} "}
    (warning,) = shake(trained_on(mode), dataset, ranking=given).warnings
    assert warning.endswith(f"fed {fed} ones: {REASON}")


@pytest.mark.parametrize(("mode", "fed"), [("cross_section_z", "csz"), ("raw", "raw"), ("none", "raw")])
def test_the_same_as_in_training_needs_none(dataset: Path, mode: str, fed: str) -> None:
    assert shake(trained_on(mode), dataset, ranking={"normalization": fed}).warnings == ()


def test_a_blank_reason_is_none() -> None:
    with pytest.raises(Refusal, match="normalization_reason is invalid"):
        with_parameters(settings_with(), {"normalization_reason": "   "})


@pytest.mark.parametrize(("stated", "config"), [("raw", "cross_section_z"), ("csz", "raw")])
def test_manifest_and_config_may_not_disagree_on_it(dataset: Path, stated: str, config: str) -> None:
    draft = trained_on(config)
    draft.manifest["checkpoint"]["trained_normalization"] = stated
    refused(draft, dataset, "contradicts itself in checkpoint.trained_normalization")


def test_every_run_refuses_it_and_a_reason_is_published(market: SmallMarket, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="trained on csz features"):
        run(market, tmp_path, JULY, cold_start=True, normalization="raw")
    settings = with_parameters(small_settings(tmp_path), {"normalization": "raw"})
    with pytest.raises(Refusal, match="trained on csz features"):
        score(market.bundle, market.dataset, AS_OF[JULY], settings)
    run(market, tmp_path, JULY, cold_start=True, normalization="raw", normalization_reason=REASON)
    document = run_document(tmp_path, JULY)
    assert document["settings"]["ranking"]["normalization_reason"] == REASON
    assert f"the model was trained on csz features and fed raw ones: {REASON}" in document["warnings"]


def test_without_a_reason_nothing_of_it_is_published(chain: Path) -> None:
    """So that what a month publishes is what it was before there were reasons."""
    document = run_document(chain, JULY)
    assert document["settings"]["ranking"] == {
        "top_k": 35,
        "horizon": 20,
        "normalization": Normalization.CSZ,
        "features_mode": "fill-zero",
        "new_history_after_sessions": 60,
    }
    assert "normalization_reason" not in json.dumps(document)
