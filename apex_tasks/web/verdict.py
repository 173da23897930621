"""How a published month stands, in a word and a symbol: colour alone tells not everybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """A month at a glance; `tone` is the CSS class."""

    word: str
    symbol: str
    tone: str


DAMAGED = Verdict("DAMAGED", "✕", "bad")


def verdict_of(run: Mapping[str, Any]) -> Verdict:
    """Judge the content of run.json."""
    if run["alerts"]:
        return Verdict("ATTENTION", "▲", "warned")
    return Verdict("OK, WITH WARNINGS", "●", "noted") if run["warnings"] else Verdict("OK", "✓", "good")
