"""The four-way handshake, on the deployed bundle's shape: what agrees, and every way to disagree."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.bundle import BundleFiles, ResolvedBundle, resolve_bundle
from apex_tasks.bundle.manifest import FileStatus
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization, SelectionSettings
from tests.support.bundle_factory import (
    ALIASES,
    CHECKPOINT,
    CONFIG,
    CONFIG_TEXT,
    FEATURES,
    GROUPS,
    INIT_LOG,
    MANIFEST,
    Draft,
    settings,
    weights,
)
from tests.support.bundle_factory import dataset as write_dataset
from tests.support.handshakes import HASH, group_bytes, refused, shake

# --- what agrees -----------------------------------------------------------------------------------


def test_the_deployed_shape_at_full_size(dataset: Path) -> None:
    draft = Draft(
        payload=weights(178, 256, 4), config_bytes=CONFIG_TEXT.encode(), extra={}
    )  # ships neither groups nor aliases
    state = draft.payload
    assert isinstance(state, dict)
    assert len(state) == 61
    assert sum(tensor.numel() for tensor in state.values()) == 3_209_252
    bundle = shake(draft, dataset)
    assert (bundle.n_features, bundle.patch_multiplier, bundle.effective_dim) == (89, 2, 178)
    assert bundle.feature_hash == HASH
    assert bundle.features == tuple(FEATURES)
    assert bundle.feature_source == "packaged feature_groups.yaml (core50, plus30, dmi_focus)"
    assert bundle.selection == SelectionSettings(k_ratio=0.6, k_min=53, sign=1)
    assert bundle.trained_normalization is Normalization.CSZ
    assert bundle.model.horizons == (1, 5, 10, 20)
    assert bundle.performance_benchmarks["sharpe_ratio"] == 1.439
    assert bundle.expected_behavior["candidate_kept"] == 53
    assert bundle.critical_alerts["candidate_kept"] == {
        "normal": 53,
        "threshold": "< 53",
        "severity": "CRITICAL",
    }


def test_the_block_of_resolved_settings(dataset: Path) -> None:
    draft = Draft()
    bundle = shake(draft, dataset)
    lines = bundle.settings_block().splitlines()
    assert lines[0] == "RESOLVED SETTINGS"
    assert INIT_LOG in lines
    assert "effective_dim: 178" in lines
    assert f"feature_hash: {HASH}" in lines
    assert "csz_mode: trained_with_csz" in lines
    assert (
        "rows_read: 176 of 180, patches of 16 rows, 8 apart: the features of a stock's newest 4 rows reach no score"
        in lines
    )
    files = draft.seal()
    for path, status in {CHECKPOINT: "verified", CONFIG: "verified", GROUPS: "unlisted"}.items():
        assert f"  {hashlib.sha256(files[path]).hexdigest()}  {path} ({status})" in lines
    assert "  not shipped, not checked: output/ml_dataset_latest_clean_with_adv.parquet" in lines
    draft.config["model"]["patch_multiplier"] = 2
    assert INIT_LOG.replace("auto", "2") in shake(draft, dataset).settings_block().splitlines()


def test_the_resolved_bundle_survives_json(dataset: Path) -> None:
    bundle = shake(Draft(), dataset)
    again = ResolvedBundle.model_validate_json(bundle.model_dump_json())
    assert again == bundle
    assert again.settings_block() == bundle.settings_block()
    json.dumps(bundle.model_dump(mode="json"), allow_nan=False)


def test_every_file_is_reported_and_the_dataset_is_not_forgotten(dataset: Path) -> None:
    draft = Draft()
    draft.extra["docs/README.md"] = b"read me"
    status = {file.path: file.status for file in shake(draft, dataset).files}
    assert status == {
        MANIFEST: FileStatus.MANIFEST,
        CHECKPOINT: FileStatus.VERIFIED,
        CONFIG: FileStatus.VERIFIED,
        GROUPS: FileStatus.UNLISTED,
        ALIASES: FileStatus.UNLISTED,
        "docs/README.md": FileStatus.UNLISTED,
    }
    listed = shake(draft.all_listed(), dataset)
    assert FileStatus.UNLISTED not in {file.status for file in listed.files}
    assert listed.not_shipped == ("output/ml_dataset_latest_clean_with_adv.parquet",)


def test_a_shipped_dataset_is_checked(dataset: Path) -> None:
    draft = Draft()
    draft.extra["data/d.parquet"] = b"rows"
    draft.manifest["dataset"] |= {"file": "output/d.parquet", "sha256": hashlib.sha256(b"rows").hexdigest()}
    assert shake(draft, dataset).not_shipped == ()
    draft.extra["data/d.parquet"] = b"rowz"
    assert refused(draft, dataset, "dataset does not match").where == "data/d.parquet"


def test_a_manifest_may_name_files_by_their_place_of_origin(dataset: Path) -> None:
    draft = Draft()
    draft.manifest["config"]["file"] = "apex_ranker/configs/v0_base_89_cleanADV.yaml"
    draft.manifest["checkpoint"]["file"] = "./" + CHECKPOINT
    bundle = shake(draft, dataset)
    assert (bundle.checkpoint_path, bundle.config_path) == (CHECKPOINT, CONFIG)


def test_a_manifest_and_a_config_written_on_windows(dataset: Path) -> None:
    draft = Draft()
    for entry in ("checkpoint", "config"):
        draft.manifest[entry]["file"] = draft.manifest[entry]["file"].replace("/", "\\")
    draft.manifest["dataset"]["file"] = "D:\\output\\dataset.parquet"
    draft.config["data"]["feature_groups_config"] = "configs\\feature_groups.yaml"
    bundle = shake(draft, dataset)
    assert (bundle.checkpoint_path, bundle.config_path) == (CHECKPOINT, CONFIG)
    assert bundle.feature_source.startswith(GROUPS)
    for outside in ("..\\m.pt", "C:\\m.pt", "\\\\server\\share\\m.pt", "C:m.pt"):
        draft.manifest["checkpoint"]["file"] = outside
        refused(draft, dataset, r"key checkpoint\.file")


# --- feature lists: bundle, then checkpoint, then package --------------------------------------------


def test_sources_of_the_feature_list(dataset: Path) -> None:
    swapped = [FEATURES[1], FEATURES[0], *FEATURES[2:]]
    named = {"model_state_dict": weights(), "feature_names": swapped}
    assert shake(Draft(), dataset).feature_source == f"{GROUPS} (core50, plus30, dmi_focus)"
    assert shake(Draft(extra={}), dataset).feature_source.startswith("packaged")
    unbound = Draft(payload=named, extra={})
    del unbound.manifest["checkpoint"]["feature_hash"]
    by_name = shake(unbound, dataset)
    assert by_name.feature_source == "checkpoint feature_names"
    assert by_name.features == tuple(swapped)
    assert by_name.feature_hash == hashlib.sha256("|".join(swapped).encode()).hexdigest()[:16] != HASH
    assert "feature_names[0]" in refused(Draft(payload=named), dataset, "contradicts itself").what
    elsewhere = Draft(extra={"lists/feature_groups.yaml": group_bytes(FEATURES)})
    elsewhere.config["data"]["feature_groups"] = ["all"]
    assert shake(elsewhere, dataset).feature_source == "lists/feature_groups.yaml (all)"
    elsewhere.extra["more/feature_groups.yaml"] = group_bytes(FEATURES)
    refused(elsewhere, dataset, r"key data\.feature_groups_config")


def test_a_group_that_nobody_defines(dataset: Path) -> None:
    draft = Draft(extra={})
    draft.config["data"]["feature_groups"] = ["core51"]
    refused(draft, dataset, "feature group core51")


def test_sources_of_aliases(dataset: Path) -> None:
    assert shake(Draft(), dataset).alias_source == ALIASES
    packaged = shake(Draft(extra={}), dataset)
    assert packaged.alias_source == "packaged feature_aliases.yaml"
    source = {source.feature: source for source in packaged.plan.sources}["dmi_z26_net"]
    assert (source.left, source.op, source.right) == ("dmi_z26_long", "-", "dmi_z26_short")
    own = Draft(extra={ALIASES: b"aliases: {dmi_z26_net: dmi_z26_short + dmi_z26_long}"})
    source = {source.feature: source for source in shake(own, dataset).plan.sources}["dmi_z26_net"]
    assert (source.left, source.op, source.right) == ("dmi_z26_short", "+", "dmi_z26_long")
    refused(Draft(extra={ALIASES: b"aliases: {x: a * b}"}), dataset, "alias x is not understood")


# --- claims that contradict ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "key", "claim"),
    [
        ("checkpoint", "base_features", 90),
        ("checkpoint", "effective_dim", 89),
        ("checkpoint", "patch_multiplier", 1),
        ("checkpoint", "patch_multiplier", "none"),
        ("config", "patch_multiplier", 4),
        ("config", "patch_multiplier", True),
        ("expected_behavior", "effective_dim", 356),
        ("expected_behavior", "model_init_log", INIT_LOG.replace("89", "178")),
        ("expected_behavior", "model_init_log", INIT_LOG.replace("False", "True")),
        ("expected_behavior", "model_init_log", INIT_LOG.replace("auto", "1")),
    ],
)
def test_manifest_claims_that_contradict(dataset: Path, entry: str, key: str, claim: object) -> None:
    draft = Draft()
    draft.manifest[entry][key] = claim
    refusal = refused(draft, dataset, rf"contradicts itself in {entry}\.{key}")
    assert refusal.expected == str(claim)
    assert refusal.where == f"MANIFEST.lock, {entry}.{key}"


def test_no_head_for_the_requested_horizon(dataset: Path) -> None:
    draft = Draft(payload=weights(horizons=(5, 20)))
    draft.config["train"]["horizons"] = [5, 20]
    assert shake(draft, dataset).horizon == 20
    refusal = refused(draft, dataset, "no head", ranking={"horizon": 10})
    assert (refusal.expected, refusal.received) == ("one of [5, 20]", "10")


def test_selection_follows_the_requested_horizon(dataset: Path) -> None:
    bundle = shake(Draft(), dataset, ranking={"horizon": 5})
    assert bundle.selection == SelectionSettings(k_ratio=0.5, k_min=53, sign=-1)


# --- tampering -------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_any_file_is_found(dataset: Path) -> None:
    sealed = Draft().all_listed().seal()
    resolve_bundle(BundleFiles("b", sealed), dataset, settings())
    identity = BundleFiles("b", sealed).sha256
    for path, data in sealed.items():
        for place in (0, len(data) // 2, len(data) - 1):
            flipped = {**sealed, path: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]}
            assert BundleFiles("b", flipped).sha256 != identity
            if path == MANIFEST:
                continue  # vouches for all others; nothing in the bundle vouches for it
            with pytest.raises(Refusal, match="does not match MANIFEST") as caught:
                resolve_bundle(BundleFiles("b", flipped), dataset, settings())
            assert caught.value.where == path
            assert hashlib.sha256(flipped[path]).hexdigest() in caught.value.received


@pytest.mark.parametrize("path", [CHECKPOINT, CONFIG, GROUPS])
def test_a_listed_file_that_is_missing(dataset: Path, path: str) -> None:
    sealed = Draft().all_listed().seal()
    del sealed[path]
    with pytest.raises(Refusal, match="is not in the bundle") as caught:
        resolve_bundle(BundleFiles("b", sealed), dataset, settings())
    assert caught.value.where == path


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m: m.pop("checkpoint"), "key checkpoint"),
        (lambda m: m.pop("config"), "key config"),
        (lambda m: m["config"].pop("sha256"), r"key config\.sha256"),
        (lambda m: m["checkpoint"].pop("file"), r"key checkpoint\.file"),
        (lambda m: m["checkpoint"].update(sha256=None), r"key checkpoint\.sha256"),
        (lambda m: m["checkpoint"].update(sha256=""), "does not match"),
        (lambda m: m["checkpoint"].update(file="/" + CHECKPOINT), r"key checkpoint\.file"),
        (lambda m: m["checkpoint"].update(file="../" + CHECKPOINT), r"key checkpoint\.file"),
        (lambda m: m.update(extra=[{"deep": {"file": "x", "sha256": "0" * 64}}]), "not in the bundle"),
        (lambda m: m.update(extra={"file": 3, "sha256": "0" * 64}), r"key extra\.file"),
        (lambda m: m.update(dataset={"file": CONFIG, "sha256": "0" * 64}), "dataset does not match"),
    ],
)
def test_a_manifest_that_does_not_vouch(dataset: Path, change: Any, what: str) -> None:
    draft = Draft()
    sealed = draft.seal()
    change(draft.manifest)
    sealed[MANIFEST] = json.dumps(draft.manifest).encode()
    with pytest.raises(Refusal, match=what):
        resolve_bundle(BundleFiles("b", sealed), dataset, settings())


@pytest.mark.parametrize("depth", [100, 500, 900, 2000])
@pytest.mark.parametrize("key", ["more", "performance_benchmarks", "operational_rules"])
def test_a_deeply_nested_manifest_never_breaks_the_handshake(dataset: Path, depth: int, key: str) -> None:
    draft = Draft()
    draft.manifest[key] = {"deep": 0}
    sealed = draft.seal()
    nested = b"[" * depth + b"0" + b"]" * depth
    sealed[MANIFEST] = sealed[MANIFEST].replace(b'"deep": 0', b'"deep": ' + nested)
    try:
        bundle = resolve_bundle(BundleFiles("b", sealed), dataset, settings())
    except Refusal:
        return
    assert ResolvedBundle.model_validate_json(bundle.model_dump_json()) == bundle


def test_nothing_is_parsed_before_all_hashes_agree(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("deserialized before verification")

    monkeypatch.setattr("apex_tasks.bundle.handshake.read_config", never)
    monkeypatch.setattr("apex_tasks.bundle.handshake.load_checkpoint", never)
    sealed = Draft().all_listed().seal()
    sealed[ALIASES] += b"\n"
    with pytest.raises(Refusal, match="does not match MANIFEST"):
        resolve_bundle(BundleFiles("b", sealed), dataset, settings())


# --- datasets --------------------------------------------------------------------------------------------


def test_what_is_no_dataset(tmp_path: Path) -> None:
    whole = write_dataset(tmp_path / "d.parquet").read_bytes()
    for name, data in {"cut": whole[:-100], "empty": b"", "text": b"Date,Code\n"}.items():
        (tmp_path / name).write_bytes(data)
        refused(Draft(), tmp_path / name, "not a readable parquet")
    refused(Draft(), tmp_path / "nowhere", "dataset is missing")
    refused(Draft(), tmp_path, "dataset is missing")


def test_missing_features_by_mode(tmp_path: Path) -> None:
    sparse = write_dataset(tmp_path / "d.parquet", [name for name in FEATURES if "returns_" in name])
    bundle = shake(Draft(), sparse)
    assert len(bundle.plan.filled) == sum("returns_" not in name for name in FEATURES)
    assert "returns_1d" in bundle.plan.columns
    strict = {"ranking": {"features_mode": "strict"}}
    refused(Draft(), sparse, "dataset lacks", **strict)
    refused(Draft(), sparse, "drop-missing", ranking={"features_mode": "drop-missing"})
    none = write_dataset(tmp_path / "none.parquet", [])
    refused(Draft(), none, "dataset lacks")


@pytest.mark.parametrize("column", ["Close", "rsi_14", "dmi_z26_short"])
def test_features_and_prices_are_numbers(tmp_path: Path, column: str) -> None:
    text = write_dataset(tmp_path / "d.parquet", **{column: pa.string()})
    assert column in refused(Draft(), text, "wrong type").where


def test_other_key_columns_are_refused(dataset: Path) -> None:
    draft = Draft()
    draft.config["data"]["code_column"] = "Ticker"
    refused(draft, dataset, r"key data\.code_column")


def test_a_lookback_that_the_patches_fill_is_read_to_its_last_row(dataset: Path) -> None:
    draft = Draft()
    draft.config["data"]["lookback"] = 184
    bundle = shake(draft, dataset)
    assert bundle.newest_rows_unread == 0
    assert "rows_read: all 184, patches of 16 rows, 8 apart" in bundle.settings_block().splitlines()


def test_features_of_another_origin_than_the_bundles_are_a_warning(dataset: Path, tmp_path: Path) -> None:
    assert shake(Draft(), dataset).warnings == ()
    table = pq.read_table(dataset)
    named = tmp_path / "named.parquet"
    pq.write_table(table.replace_schema_metadata({b"features": b"prices-1"}), named)
    draft = Draft()
    bundle = shake(draft, named)
    (told,) = bundle.warnings
    assert "origin prices-1, and the bundle does not say what it was trained on: 34 features" in told
    lines = bundle.settings_block().splitlines()
    assert f"WARNING: {told}" in lines
    assert "feature_origin: not named, dataset: prices-1" in lines
    draft.manifest["feature_origin"] = "prices-1"
    bundle = shake(draft, named)
    assert bundle.warnings == ()
    assert "feature_origin: prices-1, dataset: prices-1" in bundle.settings_block().splitlines()
    draft.manifest["feature_origin"] = 1
    with pytest.raises(Refusal, match="feature_origin"):
        shake(draft, named)
