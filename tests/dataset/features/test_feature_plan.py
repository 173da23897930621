"""Feature lists, and where a dataset supplies each feature."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.dataset.features.feature_aliases import Alias
from apex_tasks.dataset.features.feature_plan import (
    FeatureList,
    FeaturePlan,
    SourceKind,
    features_from_groups,
    packaged_feature_groups,
    resolve_features,
)
from apex_tasks.refusal import Refusal
from apex_tasks.settings import FeaturesMode

FILL, STRICT = FeaturesMode.FILL_ZERO, FeaturesMode.STRICT
GROUPS = ("core50", "plus30", "dmi_focus")
GATE = {"z": Alias("long", "-", "short"), "one": Alias("only")}


def plan(names: str, columns: str, mode: FeaturesMode = FILL, **aliases: Alias) -> list[tuple[Any, ...]]:
    resolved = resolve_features(FeatureList(tuple(names.split())), GATE | aliases, columns.split(), mode)
    return [(source.kind.value, source.left, source.op, source.right) for source in resolved.sources]


def test_packaged_list_is_that_of_v010() -> None:
    features = features_from_groups(packaged_feature_groups(), GROUPS, "packaged")
    assert len(features) == 89
    assert features.hash == "6702b323458e9786"
    assert features.names[0] == "returns_1d"
    assert features.names[-1] == "dmi_days_since_pub"


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1), st.permutations(["x", "y"]))
def test_first_appearance_wins_and_nothing_is_sorted(names: list[str], order: list[str]) -> None:
    half = len(names) // 2
    parts = {"x": names[:half], "y": names[half:]}
    document = {"groups": {name: {"include": part} for name, part in parts.items()}}
    expected: list[str] = []
    for name in parts[order[0]] + parts[order[1]]:
        if name not in expected:
            expected.append(name)
    features = features_from_groups(document, order, "test")
    assert list(features.names) == expected
    assert features.hash == hashlib.sha256("|".join(expected).encode()).hexdigest()[:16]


def test_excluded_features_leave_their_place() -> None:
    document = {"groups": {"g": {"include": ["a", "b", "c"]}}}
    assert features_from_groups(document, ["g"], "test", exclude=["b"]).names == ("a", "c")
    with pytest.raises(Refusal, match="exclude_features"):
        features_from_groups(document, ["g"], "test", exclude=["d"])
    with pytest.raises(Refusal, match="empty"):
        features_from_groups(document, ["g"], "test", exclude=["a", "b", "c"])


@pytest.mark.parametrize(
    "document",
    [{}, {"groups": None}, {"groups": []}, {"groups": {"h": {"include": ["a"]}}}, {"groups": {"g": ["a"]}}]
    + [{"groups": {"g": {"include": include}}} for include in (None, "a", [1], ["a", ""], {"a": 1})],
)
def test_broken_groups_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="feature group g") as caught:
        features_from_groups(document, ["g"], "groups.yaml")
    assert caught.value.where == "groups.yaml"


@pytest.mark.parametrize(
    ("feature", "columns", "source"),
    [
        ("f", "e f F", ("column", "f", None, None)),
        ("f", "F e", ("column", "F", None, None)),
        ("f", "e", ("zero", None, None, None)),
        ("returns_5d", "ret_prev_5d", ("column", "ret_prev_5d", None, None)),
        ("returns_5d", "Ret_Prev_5D", ("column", "Ret_Prev_5D", None, None)),
        ("returns_5d", "ret_prev_5d RETURNS_5D", ("column", "RETURNS_5D", None, None)),
        ("ret_prev_5d", "returns_5d", ("column", "returns_5d", None, None)),
        ("z", "long short", ("alias", "long", "-", "short")),
        ("z", "z long short", ("alias", "long", "-", "short")),
        ("z", "LONG Short", ("alias", "LONG", "-", "Short")),
        ("z", "z long", ("column", "z", None, None)),
        ("z", "short", ("zero", None, None, None)),
        ("one", "one only", ("alias", "only", None, None)),
        ("one", "one", ("column", "one", None, None)),
    ],
)
def test_where_a_feature_comes_from(feature: str, columns: str, source: tuple[Any, ...]) -> None:
    assert plan(feature, columns) == [source]


def test_alias_operands_follow_the_return_spellings() -> None:
    alias = Alias("returns_1d", "+", "ret_prev_9d")
    assert plan("f", "ret_prev_1d returns_9d", f=alias) == [("alias", "ret_prev_1d", "+", "returns_9d")]


def test_log_returns_are_no_spelling_of_returns() -> None:
    with pytest.raises(Refusal):
        plan("log_returns_5d", "ret_prev_5d returns_5d log_ret_prev_5d")


def test_names_that_differ_by_case_only_are_refused() -> None:
    with pytest.raises(Refusal, match="several columns") as caught:
        plan("Close_Z", "close_z CLOSE_Z")
    assert caught.value.received == "close_z, CLOSE_Z"


@pytest.mark.parametrize("name", ["returns_5d", "log_returns_5d", "target_5d", "x_label_1"])
def test_returns_targets_and_labels_are_never_filled(name: str) -> None:
    with pytest.raises(Refusal, match="lacks 1 of 2") as caught:
        plan(f"ok {name}", "other")
    assert caught.value.expected == name


def test_strict_lists_what_is_missing() -> None:
    with pytest.raises(Refusal, match="lacks 7 of 8") as caught:
        plan("a b c d e f g h", "h", STRICT)
    assert caught.value.expected == "a, b, c, d, e and 2 more"
    assert plan("z h", "h long short", STRICT) == [
        ("alias", "long", "-", "short"),
        ("column", "h", None, None),
    ]


def test_drop_missing_is_refused_even_when_nothing_is_missing() -> None:
    with pytest.raises(Refusal, match="drop-missing"):
        plan("a", "a", FeaturesMode.DROP_MISSING)


def test_plan_names_columns_once_in_order_and_survives_json() -> None:
    features = FeatureList(("z", "b", "long", "gone", "a"))
    resolved = resolve_features(features, GATE, ["a", "b", "long", "short"], FILL)
    assert resolved.columns == ("long", "short", "b", "a")
    assert resolved.filled == ("gone",)
    assert [source.feature for source in resolved.sources] == list(features.names)
    assert resolved.sources[3].kind is SourceKind.ZERO
    assert FeaturePlan.model_validate(json.loads(resolved.model_dump_json())) == resolved
