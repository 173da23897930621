"""The alias grammar: what is an alias, and that nothing else is."""

from __future__ import annotations

import pytest

from apex_tasks.dataset.features.feature_aliases import Alias, packaged_aliases, parse_aliases
from apex_tasks.refusal import Refusal


def test_packaged_aliases_are_those_of_v010() -> None:
    assert packaged_aliases() == {
        "dmi_z26_net": Alias("dmi_z26_long", "-", "dmi_z26_short"),
        "dmi_net_to_adv20": Alias("dmi_long_to_adv20", "-", "dmi_short_to_adv20"),
    }


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("a - b", Alias("a", "-", "b")),
        ("  a  +  b_2 ", Alias("a", "+", "b_2")),
        ("a", Alias("a")),
        ("ret_prev_5d", Alias("ret_prev_5d")),
    ],
)
def test_alias_grammar(text: str, alias: Alias) -> None:
    assert parse_aliases({"aliases": {"f": text}}, "test") == {"f": alias}


@pytest.mark.parametrize(
    "text",
    [
        "a * b",
        "a / b",
        "a - b - c",
        "a -",
        "- a",
        "",
        "log(a)",
        "a - 1",
        "2 * a",
        "a-b",
        "a; b",
        "__import__('os')",
        None,
        1,
        ["a"],
        {"a": "b"},
    ],
)
def test_anything_else_is_no_alias(text: object) -> None:
    with pytest.raises(Refusal, match="alias f is not understood"):
        parse_aliases({"aliases": {"f": text}}, "test")


def test_an_absent_or_broken_alias_table() -> None:
    assert parse_aliases({}, "test") == parse_aliases({"aliases": None}, "test") == {}
    with pytest.raises(Refusal):
        parse_aliases({"aliases": ["a - b"]}, "test")
