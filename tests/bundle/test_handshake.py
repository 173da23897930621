"""The four-way handshake, on the deployed bundle's shape: what agrees, and every way to disagree."""

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml

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
    saved,
    settings,
    weights,
)
from tests.support.bundle_factory import dataset as write_dataset

HASH = "6702b323458e9786"
DOUBLED = [name for feature in FEATURES for name in (feature, f"{feature}_csz")]


def shake(draft: Draft, dataset: Path, **sections: dict[str, Any]) -> ResolvedBundle:
    return resolve_bundle(BundleFiles("bundle", draft.seal()), dataset, settings(**sections))


def refused(draft: Draft, dataset: Path, what: str, **sections: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal, match=what) as caught:
        shake(draft, dataset, **sections)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return caught.value


def without_claims(draft: Draft) -> Draft:
    for entry in ("checkpoint", "config"):
        draft.manifest[entry] = {"file": draft.manifest[entry]["file"]}
    del draft.manifest["expected_behavior"]
    return draft


def group_bytes(names: list[str]) -> bytes:
    return yaml.safe_dump({"groups": {"all": {"include": names}}}, sort_keys=False).encode()


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


@pytest.mark.parametrize("wrapper", ["model_state_dict", "state_dict"])
def test_wrapped_checkpoints(dataset: Path, wrapper: str) -> None:
    metadata = {"feature_names": FEATURES, "feature_hash": HASH, "feature_count": 89, "config": {"lr": 1e-3}}
    assert shake(Draft(payload={wrapper: weights(), **metadata, "epoch": 3}), dataset).patch_multiplier == 2
    assert shake(Draft(payload={wrapper: weights()}), dataset).effective_dim == 178


# --- feature lists: bundle, then checkpoint, then package --------------------------------------------


def test_sources_of_the_feature_list(dataset: Path) -> None:
    swapped = [FEATURES[1], FEATURES[0], *FEATURES[2:]]
    named = {"model_state_dict": weights(), "feature_names": swapped}
    assert shake(Draft(), dataset).feature_source == f"{GROUPS} (core50, plus30, dmi_focus)"
    assert shake(Draft(extra={}), dataset).feature_source.startswith("packaged")
    by_name = shake(Draft(payload=named, extra={}), dataset)
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


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ({"feature_count": 88}, "contradicts itself in feature_count"),
        ({"feature_hash": HASH[::-1]}, "contradicts itself in feature_hash"),
        ({"feature_names": FEATURES[:-1]}, r"contradicts itself in feature_names\[88\]"),
        ({"feature_names": [*FEATURES, "more"]}, r"contradicts itself in feature_names\[89\]"),
        ({"feature_names": [*FEATURES[:3], "x", *FEATURES[4:]]}, r"contradicts itself in feature_names\[3\]"),
        ({"feature_names": "returns_1d"}, "key feature_names"),
        ({"feature_names": [1, 2]}, "key feature_names"),
        ({"feature_count": "89"}, "key feature_count"),
    ],
)
def test_checkpoint_metadata_that_contradicts(dataset: Path, metadata: dict[str, Any], what: str) -> None:
    refused(Draft(payload={"model_state_dict": weights(), **metadata}), dataset, what)


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


# --- checkpoints -----------------------------------------------------------------------------------------


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def packed(data: bytes) -> bytes:
    """The same zip, its records compressed: what unpacks to more than it weighs."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
    return out.getvalue()


def test_pickled_code_never_runs(dataset: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists(), "the bomb works"
    marker.unlink()
    for bomb in (
        saved(Bomb(marker)),
        saved({**weights(), "bomb": Bomb(marker)}),
        saved({"model_state_dict": weights(), "config": Bomb(marker)}),
        pickle.dumps(Bomb(marker)),
    ):
        refused(Draft(checkpoint_bytes=bomb), dataset, "cannot be loaded as weights only")
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a checkpoint",
        saved(weights())[:5000],
        saved(weights())[5000:],
        packed(saved(weights())),
        saved([1, 2]),
        saved({}),
        saved({"a": 1}),
        saved({"state_dict": 1}),
        saved({"state_dict": {}}),
        saved({"state_dict": weights(), "model_state_dict": weights()}),
        saved({"state_dict": {"a": [1]}}),
        saved(torch.nn.Linear(1, 1)),
    ],
)
def test_what_is_no_checkpoint(dataset: Path, data: bytes) -> None:
    assert refused(Draft(checkpoint_bytes=data), dataset, "cannot be loaded").where == CHECKPOINT


NAME = "encoder.blocks.0.attn.in_proj_weight"


def bent(name: str, change: Any) -> Draft:
    state = weights()
    state[name] = change(state[name])
    return Draft(payload=state)


@pytest.mark.parametrize("name", sorted(weights()))
def test_every_tensor_is_needed_and_measured(dataset: Path, name: str) -> None:
    state = weights()
    tensor = state.pop(name)
    assert name in refused(Draft(payload=state), dataset, "does not hold the tensors").expected
    state[name] = tensor[..., None]
    what = refused(Draft(payload=state), dataset, "wrong shape|size mismatch").what
    assert name in what or name == "encoder.patch_embed.conv.weight"


def test_tensors_too_many(dataset: Path) -> None:
    refusal = refused(Draft(payload={**weights(), "module.x": torch.ones(1)}), dataset, "does not hold")
    assert "module.x" in refusal.received
    deeper = Draft(payload=weights(depth=2))
    assert "encoder.blocks.1.ln1.weight" in refused(deeper, dataset, "does not hold").received
    prefixed = {f"module.{name}": tensor for name, tensor in weights().items()}
    refusal = refused(Draft(payload=prefixed), dataset, "does not hold")
    assert "module.encoder.patch_embed.conv.weight" in refusal.received


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t.double(), "wrong type"),
        (lambda t: t.half(), "wrong type"),
        (lambda t: t.bfloat16(), "wrong type"),
        (lambda t: t.int(), "wrong type"),
        (lambda t: t.to_sparse(), "wrong type"),
        (lambda t: t.index_put((torch.tensor(3), torch.tensor(5)), torch.tensor(torch.nan)), "wrong content"),
        (lambda t: t.index_put((torch.tensor(3), torch.tensor(5)), torch.tensor(torch.inf)), "wrong content"),
        (lambda t: t.T.contiguous(), "wrong shape"),
        (lambda t: torch.zeros(1).expand(10**6, 10**6), "wrong shape"),
    ],
)
def test_a_bent_tensor_is_named(dataset: Path, change: Any, what: str) -> None:
    refusal = refused(bent(NAME, change), dataset, f"{NAME} has the {what}")
    assert refusal.where == f"{CHECKPOINT}, {NAME}"


def test_a_parameter_is_a_tensor(dataset: Path) -> None:
    assert shake(bent(NAME, torch.nn.Parameter), dataset).effective_dim == 178


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
