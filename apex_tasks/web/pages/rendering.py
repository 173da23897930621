"""The pages as HTML: escaped, self-contained, and readable without a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from apex_tasks.market.sectors import sector_names
from apex_tasks.published.comparison import MonthComparison
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store
from apex_tasks.web.pages.months import MonthRow
from apex_tasks.web.pages.run_banner import Banner, Tone

LEAVE_SCRIPT = """
for (const link of document.querySelectorAll("a[data-airflow]")) link.addEventListener("click", event => {
  if (window.parent === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  window.parent.history.pushState(null, "", link.href);
  window.parent.dispatchEvent(new PopStateEvent("popstate", {state: null}));
});
"""
"""Opens a page of Airflow in the window around the tab.

Airflow shows the tab in a sandbox that may not navigate the window around it, whatever a link's target says. Its
interface goes where the address of that window says, and listens for it to change. Without this script, or outside of
Airflow, the links are plain ones.
"""
LEAVE_SCRIPT_SOURCE = (
    "'sha256-" + base64.b64encode(hashlib.sha256(LEAVE_SCRIPT.encode()).digest()).decode() + "'"
)
"""What a content security policy calls it; this is the only script that a page may run."""

_SYMBOLS = {Tone.GOOD: "✓", Tone.WAITS: "●", Tone.STOPPED: "✕", Tone.NEUTRAL: "–"}

Links = Sequence[tuple[str, str]]


def months_page(rows: Sequence[MonthRow], store: Store, base: str, dag_id: str) -> str:
    """The table of published months.

    Parameters
    ----------
    base
        Address below which the application answers, such as `/apex`.
    dag_id
        DAG that publishes them.
    """
    names = [name for row in rows for name in (row.name, *row.earlier)]
    return _render("months", rows=rows, names=names, base=base, dag_id=dag_id, store=str(store.root))


def comparison_page(found: MonthComparison, base: str) -> str:
    """What differs between two months."""
    return _render("compare", found=found, base=base, sector=sector_names().get)


def run_page(
    banner: Banner, report: str | None, links: Links = (), notice: str = "", *, refresh: bool = False
) -> str:
    """A banner, and below it the report in a frame, byte for byte as it is stored.

    Parameters
    ----------
    report
        Address of the report; None where there is none.
    links
        Text and address of pages of this application.
    notice
        One more sentence after the banner's.
    refresh
        Ask again every few seconds.
    """
    return _render(
        "run",
        banner=banner,
        symbol=_SYMBOLS[banner.tone],
        report=report,
        links=links,
        notice=notice,
        refresh=refresh,
        leave_script=LEAVE_SCRIPT,
    )


def message_page(title: str, text: str, details: Iterable[tuple[str, str]] = (), links: Links = ()) -> str:
    """A page that only says something."""
    return _render("message", title=title, text=text, details=list(details), links=links)


def refusal_page(refusal: Refusal) -> str:
    """A refusal for people."""
    details = [
        ("Expected", refusal.expected),
        ("Received", refusal.received),
        ("Where", refusal.where),
        ("What to do", refusal.remedy),
    ]
    return message_page("This cannot be shown", refusal.what, details)


def _render(name: str, **content: object) -> str:
    return _environment().get_template(f"{name}.html.j2").render(**content)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("apex_tasks.web.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
