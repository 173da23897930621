"""The alias grammar: a feature written as one column, or as the sum or difference of two.

An expression is ``column``, ``column + column`` or ``column - column``, spaces around the sign; nothing else, so that
a bundle's config can never run anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from apex_tasks.refusal import Refusal
from apex_tasks.settings import configs_folder
from apex_tasks.strict_yaml import parse_yaml_mapping

_EXPRESSION = re.compile(r"\s*([^\W\d]\w*)(?:\s+([+-])\s+([^\W\d]\w*))?\s*")


@dataclass(frozen=True)
class Alias:
    """A feature written as one column, or as the sum or difference of two."""

    left: str
    op: Literal["+", "-"] | None = None
    right: str | None = None


def parse_aliases(document: Mapping[str, Any], where: str) -> dict[str, Alias]:
    """Read `{aliases: {feature: "a - b" | "a + b" | "a"}}`.

    Raises
    ------
    Refusal
        An expression is anything else.
    """
    expressions = document.get("aliases") or {}
    if not isinstance(expressions, dict):
        raise _not_an_alias("aliases", expressions, where)
    return {str(name): _parse_alias(str(name), text, where) for name, text in expressions.items()}


@cache
def packaged_aliases() -> dict[str, Alias]:
    """The aliases that this package ships."""
    document = parse_yaml_mapping((configs_folder() / "feature_aliases.yaml").read_bytes())
    return parse_aliases(document, "packaged feature_aliases.yaml")


def _parse_alias(name: str, text: object, where: str) -> Alias:
    match = _EXPRESSION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise _not_an_alias(name, text, where)
    left, op, right = match.groups()
    return Alias(left, op, right)  # type: ignore[arg-type]


def _not_an_alias(name: str, received: object, where: str) -> Refusal:
    return Refusal(
        f"alias {name} is not understood",
        expected="`a - b`, `a + b` or one column name",
        received=repr(received)[:80],
        where=where,
        remedy="Rewrite the alias, or put the feature into the dataset as a column.",
    )
