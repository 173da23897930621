"""Headings of the documents, and the fragments that links lead to."""

from __future__ import annotations

import re


def anchor(heading: str) -> str:
    """Fragment of a heading, as Git forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> list[str]:
    """Fragments of all headings, in their order."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [anchor(heading) for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)]
