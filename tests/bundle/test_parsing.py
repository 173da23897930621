"""Manifest and config text: what is kept, what is refused, and that no document can run or explode."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from apex_tasks.bundle.config import BundleConfig, read_config
from apex_tasks.bundle.parsing import MAX_BYTES, read_json, read_yaml
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization, SelectionSettings
from tests.support.bundle_factory import CONFIG_TEXT, tiny_config


def config(**changes: Any) -> BundleConfig:
    """The deployed config with keys such as `model__depth` changed; `...` removes one."""
    document = yaml.safe_load(CONFIG_TEXT)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        target = document[section] if name else document
        if value is ...:
            del target[name or section]
        else:
            target[name or section] = value
    return read_config(yaml.safe_dump(document).encode(), "c.yaml")


def test_the_deployed_config_is_accepted_and_unknown_keys_are_kept() -> None:
    read = read_config(CONFIG_TEXT.encode(), "c.yaml")
    assert read.data.groups == ("core50", "plus30", "dmi_focus")
    assert (read.data.lookback, read.data.min_stocks_per_day) == (180, 80)
    assert (read.normalization.trained_on, read.normalization.clip_sigma) == (Normalization.CSZ, 5.0)
    assert read.train.horizons == (1, 5, 10, 20)
    assert read.model.patch_multiplier is None
    assert read.model_extra is not None
    assert read.model_extra["eval"]["metrics"] == ["rank_ic", "ndcg"]
    assert read.data.model_extra is not None
    assert read.data.model_extra["target_columns"][20] == "target_20d"


def test_plus30_and_optional_groups_come_after_the_named_ones() -> None:
    assert config(data__feature_groups=["core50"], data__use_plus30=True).data.groups == ("core50", "plus30")
    assert config(data__use_plus30=True).data.groups == ("core50", "plus30", "dmi_focus")
    optional = config(data__feature_groups=["core50"], data__optional_groups=["x"], data__use_plus30=True)
    assert optional.data.groups == ("core50", "plus30", "x")
    assert config(data__optional_groups=None, data__exclude_features=None).data.exclude_features == ()


@pytest.mark.parametrize(
    ("mode", "expected"), [("cross_section_z", Normalization.CSZ), ("raw", "raw"), ("none", "raw")]
)
def test_normalization_modes(mode: str, expected: str) -> None:
    assert config(normalization__mode=mode).normalization.trained_on == expected


@pytest.mark.parametrize(("value", "expected"), [(None, None), ("auto", None), (1, 1), (2, 2)])
def test_patch_multiplier_spellings(value: object, expected: int | None) -> None:
    assert config(model__patch_multiplier=value).model.patch_multiplier == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data__lookback", 0),
        ("data__lookback", "180"),
        ("data__lookback", True),
        ("data__lookback", ...),
        ("data__feature_groups", []),
        ("data__feature_groups", "core50"),
        ("data__feature_groups", ...),
        ("data__min_stocks_per_day", 0),
        ("normalization__mode", "minmax"),
        ("normalization__clip_sigma", 0),
        ("normalization__clip_sigma", float("nan")),
        ("normalization__clip_sigma", float("inf")),
        ("train__horizons", []),
        ("train__horizons", [20, 20]),
        ("train__horizons", [0]),
        ("selection__default", {"k_min": 0}),
        ("selection__default", {"sign": 0}),
        ("selection__horizons", {"20d": {"k_min": 1}}),
        ("model__patch_len", 181),
        ("model__stride", 0),
        ("model__depth", 10**6),
        ("model__n_heads", 7),
        ("model__patch_multiplier", 0),
        ("model__patch_multiplier", "2"),
        ("model__patch_multiplier", "automatic"),
        ("model__patch_multiplier", True),
        ("model", ...),
        ("data", ...),
    ],
)
def test_a_bad_value_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(Refusal) as caught:
        config(**{key: value})
    assert key.replace("__", ".") in caught.value.what
    assert caught.value.where.startswith("c.yaml, ")


def test_selection_is_settled_key_by_key() -> None:
    ours = SelectionSettings(k_ratio=0.1, k_min=7, sign=-1)
    deployed = config()
    assert deployed.selection_for(20, ours) == SelectionSettings(k_ratio=0.6, k_min=53, sign=1)
    assert deployed.selection_for(5, ours) == SelectionSettings(k_ratio=0.5, k_min=53, sign=-1)
    assert deployed.selection_for(10, ours) == SelectionSettings(k_ratio=0.6, k_min=40, sign=1)
    assert deployed.selection_for(1, ours) == SelectionSettings(k_ratio=0.6, k_min=53, sign=1)
    assert config(selection=...).selection_for(20, ours) == ours
    whole_keys = config(selection={"default": {"k_min": 9}, "horizons": {20: {"k_ratio": 0}}})
    assert whole_keys.selection_for(20, ours) == SelectionSettings(k_ratio=0.0, k_min=9, sign=-1)


LAUGHS = "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))
MERGES = "a0: &a0 {k: v}\n" + "\n".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "expands"),
        (MERGES, "expands"),
        ("a: &a [*a]", "expands|recursive"),
        ("[" * 5000, "recursion"),
        ("a: 1\na: 2", "twice"),
        ("a: {b: 1, b: 1}", "twice"),
        ("- a", "list"),
        ("", "an empty document"),
        ("a: [", "parsing"),
        ("a: 2025-13-45", "month"),
        ("? [a]\n: 1", "unhashable"),
        ("!!python/object/apply:os.system ['touch marker']", "python/object"),
        ("a: !!python/name:os.system", "python/name"),
        ("a: \x00", "special characters"),
        (b"\xff\xfe\xff", ""),
    ],
)
@pytest.mark.timeout(60)
def test_unsafe_yaml_is_refused(
    text: str | bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal) as caught:
        read_yaml(text.encode() if isinstance(text, str) else text, "c.yaml")
    assert any(word in caught.value.received for word in reason.split("|"))
    assert not (tmp_path / "marker").exists()


def test_plain_anchors_are_fine() -> None:
    assert read_yaml(b"a: &x {k: 1}\nb: {<<: *x, m: 2}\nc: [*x, *x]", "c.yaml")["b"] == {"k": 1, "m": 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"a": 1, "a": 2}',
        '{"a": {"b": 1, "b": 1}}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 1e999}',
        '{"a": ' + "1" * 5000 + "}",
        '{"a": ' + "[" * 100000,
        b"\xff\xff{}",
    ],
)
def test_unsafe_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_json(text.encode() if isinstance(text, str) else text, "MANIFEST.lock")
    assert caught.value.where == "MANIFEST.lock"
    assert len(str(caught.value)) < 600


def test_documents_have_a_length() -> None:
    with pytest.raises(Refusal, match="too long"):
        read_json(json.dumps({"a": "x" * MAX_BYTES}).encode(), "MANIFEST.lock")
    with pytest.raises(Refusal, match="too long"):
        read_yaml(b"#" * (MAX_BYTES + 1), "c.yaml")


def test_the_factory_config_is_the_deployed_one_but_for_its_size() -> None:
    assert read_config(yaml.safe_dump(tiny_config()).encode(), "c").model.d_model == 16
