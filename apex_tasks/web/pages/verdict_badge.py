"""The mark that a month carries in a list: its verdict as a word, a symbol and a color."""

from __future__ import annotations

from typing import NamedTuple

from apex_tasks.published.run_document import RunDocument
from apex_tasks.report.verdict import ReportState, verdict_of


class Mark(NamedTuple):
    """A word and a symbol, so that no color has to tell; `tone` names the color."""

    word: str
    symbol: str
    tone: str


DAMAGED = Mark("DAMAGED", "✕", "bad")
_SIGNS = {
    ReportState.OK: ("✓", "good"),
    ReportState.WARNED: ("●", "noted"),
    ReportState.ALERT: ("▲", "warned"),
}


def mark_of(run: RunDocument) -> Mark:
    """The mark of a month by its run.json, with the verdict of its report."""
    verdict = verdict_of(run)
    return Mark(verdict.word, *_SIGNS[verdict.state])
