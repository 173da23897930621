"""The month's report: one self-contained HTML page, and the verdict that it opens with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apex_tasks.store import Artifact

if TYPE_CHECKING:
    from apex_tasks.published.run_document import RunDocument


def render_report(run: RunDocument, plan: Artifact, parent: Artifact | None) -> bytes:
    """Render a month.

    Parameters
    ----------
    run
        Content of run.json.
    plan
        Artifact with scores.parquet, portfolio.csv, book.json and history.json: the plan, or what was
        published of it.
    parent
        The published portfolio that `run` names as its parent; None from cash.

    Returns
    -------
    bytes
        UTF-8 HTML without scripts and without any reference to the network; all text is escaped. The same inputs
        give the same bytes.
    """
    from apex_tasks.report.page import render  # brings matplotlib, which nothing else here needs

    return render(run, plan, parent)
