"""The month's report: complete, self-contained, and safe whatever the data says."""

from __future__ import annotations

import copy
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from jinja2 import UndefinedError
from small_market import AUGUST, JULY, portfolio

from apex_tasks.report import render_report
from apex_tasks.store import Artifact


class Page(HTMLParser):
    """Tags, attributes and the cells of all tables."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


@pytest.fixture
def august(chain: Path) -> Artifact:
    return portfolio(chain, AUGUST)


@pytest.fixture
def run(august: Artifact) -> dict[str, Any]:
    return copy.deepcopy(august.read_json("run.json"))


def frame(artifact: Artifact, name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(artifact.read_bytes(name)), dtype={"code": str})


def test_the_published_report_is_what_the_published_tables_render_to(
    august: Artifact, run: dict[str, Any]
) -> None:
    # run.json is sorted by name, so only the order of the hashes and versions may differ.
    rendered, published = Page(render_report(run, august)), Page(august.read_bytes("report.html"))
    assert sorted(rendered.cells) == sorted(published.cells)
    assert rendered.tags == published.tags


def test_it_shows_every_position_and_order(august: Artifact, run: dict[str, Any]) -> None:
    page = Page(render_report(run, august))
    assert page.open == []
    for row in frame(august, "portfolio.csv").itertuples():
        assert row.code in page.cells
        assert f"{row.weight:.2%}" in page.cells
        assert f"{row.value_jpy:,.0f}" in page.cells
    for row in frame(august, "orders.csv").itertuples():
        assert page.cells.count(row.code) >= 1
        assert f"{row.cost_jpy:,.0f}" in page.cells
    for sha256 in run["hashes"].values():
        assert sha256 in page.cells


def test_it_needs_no_network_and_runs_no_script(august: Artifact) -> None:
    data = august.read_bytes("report.html")
    page = Page(data)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
    assert not {"src", "href", "srcset"} & page.attributes
    assert not any(name.startswith("on") for name in page.attributes)
    assert not re.search(rb"https?://|//[a-z]|@import|url\(", data)


def test_it_says_where_the_book_comes_from(chain: Path) -> None:
    assert b"Starts from cash." in portfolio(chain, JULY).read_bytes("report.html")
    assert b"Follows portfolio 2025-07-01/v1." in portfolio(chain, AUGUST).read_bytes("report.html")


def test_alerts_and_warnings_are_shown(august: Artifact, run: dict[str, Any]) -> None:
    calm = render_report(run, august)
    assert b"0 alerts, 0 warnings." in calm
    run["warnings"] = ["three prices are old"]
    run["alerts"] = [
        {
            "severity": "WARNING",
            "metric": "m",
            "value": 1.5,
            "comparison": "<",
            "bound": 2.0,
            "remedy": "Look.",
        }
    ]
    page = render_report(run, august).decode()
    for part in ("three prices are old", "1 alerts, 1 warnings.", "m = 1.5", "alert when &lt; 2.0", "Look."):
        assert part in page


def test_text_is_escaped(august: Artifact, run: dict[str, Any]) -> None:
    run["warnings"] = ["<script>alert('x')</script> & more"]
    run["versions"] = {"<b>library</b>": "1"}
    page = Page(render_report(run, august))
    assert "script" not in page.tags
    assert "b" not in page.tags


def test_synthetic_data_is_labelled(august: Artifact, run: dict[str, Any]) -> None:
    run["synthetic"] = False
    assert b"SYNTHETIC" not in render_report(run, august)
    run["synthetic"] = True
    assert b"SYNTHETIC DATA" in render_report(run, august)


def test_a_document_that_lacks_something_is_an_error_not_a_blank(
    august: Artifact, run: dict[str, Any]
) -> None:
    del run["warnings"]
    with pytest.raises(UndefinedError):
        render_report(run, august)
