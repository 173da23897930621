"""The month's report: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from apex_tasks.published import ORDERS_FILE, PORTFOLIO_FILE
from apex_tasks.store import Artifact
from apex_tasks.tables import read_csv


def render_report(run: Mapping[str, Any], plan: Artifact) -> bytes:
    """Render a published run.

    Parameters
    ----------
    run
        Content of run.json.
    plan
        Artifact with portfolio.csv and orders.csv.

    Returns
    -------
    bytes
        UTF-8 HTML without scripts and without any reference to the network; all text is escaped.
    """
    environment = Environment(
        loader=PackageLoader("apex_tasks"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["jpy"] = lambda value: f"{value:,.0f}"
    environment.filters["pct"] = lambda value: f"{value:.2%}"
    page = environment.get_template("report.html.j2").render(
        run=run,
        positions=read_csv(plan, PORTFOLIO_FILE).to_dict("records"),
        orders=read_csv(plan, ORDERS_FILE).to_dict("records"),
    )
    return page.encode()
