"""The table as docs/faults.md shows it; `python -m tests.faults.page` prints it."""

from __future__ import annotations

import textwrap

from tests.faults.table import CHAPTERS
from tests.support.fault_table.case import Case
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "faults.md"
GENERATED = "<!-- python -m tests.faults.page -->\n", "<!-- /faults -->"
VERDICTS = {"refused": "Refused", "told": "Told", "same": "Without effect"}
WIDTH = 140


def rendered() -> str:
    """Markdown of all rows, by chapter and verdict."""
    parts = []
    for chapter, cases in CHAPTERS.items():
        parts.append(f"### {chapter}")
        for kind, heading in VERDICTS.items():
            own = [case for case in cases if case.verdict.kind == kind]
            parts.append(_paragraph(heading, own))
    return "\n\n".join(part for part in parts if part)


def _paragraph(heading: str, cases: list[Case]) -> str:
    names = "; ".join(_escaped(case.name) for case in cases)
    # No line may begin as a list's or a heading's does.
    text = f"**{heading}**: {names}."
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) if cases else ""


def _escaped(text: str) -> str:
    return text.replace("*", "\\*").replace("_", "\\_").replace("<", "\\<")


if __name__ == "__main__":
    print(rendered())
