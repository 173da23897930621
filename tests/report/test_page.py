"""The month's report: complete, self-contained, and safe whatever the data says."""

from __future__ import annotations

import copy
import datetime as dt
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError

from apex_tasks.dataset import schema
from apex_tasks.dataset.schema import CODE, SECTOR
from apex_tasks.market.sectors import sector_names
from apex_tasks.published.run_document import RunDocument
from apex_tasks.report import render_report
from apex_tasks.settings import Fault, JudgementSettings
from apex_tasks.store import Artifact, Store, canonical_json
from tests.support.paths import ROOT
from tests.support.small_market import (
    AUGUST,
    JULY,
    OCTOBER,
    SEPTEMBER,
    SmallMarket,
    portfolio,
    run,
    small_settings,
)

SECTIONS = [
    "Changes against last month",
    "Alerts and warnings",
    "Supply",
    "Book after the trades",
    "Orders",
    "Scores",
    "Rank change",
    "Sectors",
    "Turnover and cost",
    "Value against the market",
    "Provenance",
]


class Page(HTMLParser):
    """Tags, attributes, headings, the charts and the cells of all tables."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.cells: list[str] = []
        self.headings: list[str] = []
        self.charts: list[str] = []
        self.open: list[str] = []
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")
        if tag == "h2":
            self.headings.append("")
        if tag == "svg":
            self.charts.append(dict(attrs)["aria-label"] or "")
            assert dict(attrs)["role"] == "img"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes nothing"

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data
        if self.open and self.open[-1] == "h2":
            self.headings[-1] += data


@pytest.fixture
def august(drawn_chain: Path) -> Artifact:
    return portfolio(drawn_chain, AUGUST)


@pytest.fixture
def july(drawn_chain: Path) -> Artifact:
    return portfolio(drawn_chain, JULY)


@pytest.fixture
def document(august: Artifact) -> dict[str, Any]:
    return copy.deepcopy(august.read_json("run.json"))


def frame(artifact: Artifact, name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(artifact.read_bytes(name)), dtype={"code": str, "sector": str})


@pytest.mark.slow
def test_the_published_report_is_what_the_published_files_render_to(
    august: Artifact, july: Artifact, document: dict[str, Any]
) -> None:
    assert render_report(RunDocument.model_validate(document), august, july) == august.read_bytes(
        "report.html"
    )


@pytest.mark.slow
def test_another_process_with_another_home_renders_the_same_bytes(
    drawn_chain: Path, august: Artifact, tmp_path: Path
) -> None:
    # A matplotlibrc of the reader's must not change a published file either.
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: path\naxes.grid: True\n")
    program = (
        "import sys\nfrom apex_tasks.published.run_document import read_run\n"
        "from apex_tasks.report import render_report\n"
        "from apex_tasks.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "august, july = (store.get('portfolio', month, 'v1') for month in sys.argv[2:4])\n"
        "sys.stdout.buffer.write(render_report(read_run(august), august, july))\n"
    )
    rendered = subprocess.run(
        [sys.executable, "-c", program, str(drawn_chain), str(AUGUST), str(JULY)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1", "MPLCONFIGDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert rendered.stdout == august.read_bytes("report.html")
    assert rendered.stderr == b"" or b"font cache" in rendered.stderr


def test_it_shows_every_position_and_order(august: Artifact, document: dict[str, Any]) -> None:
    page = Page(august.read_bytes("report.html"))
    assert page.open == []
    assert page.headings == SECTIONS
    for row in frame(august, "portfolio.csv").itertuples():
        assert [cell for cell in page.cells if cell in (row.code, f"{row.code}new")]
        assert f"{row.weight:.2%}" in page.cells
        assert f"{row.weight_before:.2%}" in page.cells
        assert f"{row.score:.4f}" in page.cells
        assert f"{row.value_jpy:,.0f}" in page.cells
        name = sector_names()[row.sector]
        assert f"{row.sector} {name.english} {name.japanese}" in page.cells
    orders = frame(august, "orders.csv")
    for row in orders.itertuples():
        assert page.cells.count(row.code) >= 1
        assert f"{row.cost_jpy:,.0f}" in page.cells
        assert f"{row.adv_share:.2%}" in page.cells
    assert f"{orders['value_jpy'].sum():,.0f}" in page.cells
    for sha256 in document["hashes"].values():
        assert sha256 in page.cells
    for name in ("jinja2", "matplotlib", "numpy"):
        assert document["versions"][name] in page.cells


def test_it_shows_what_changed_since_last_month(august: Artifact, july: Artifact) -> None:
    page = Page(august.read_bytes("report.html"))
    before = august.read_json("book.json")["before"]["positions"]
    after = august.read_json("book.json")["orders"]["book"]["positions"]
    entered, left = sorted(after.keys() - before), sorted(before.keys() - after)
    assert entered
    assert left
    facts = dict(zip(page.cells, page.cells[1:], strict=False))
    assert (facts["In"], facts["Out"], facts["Kept"]) == (
        str(len(entered)),
        str(len(left)),
        str(len(after.keys() & before)),
    )
    text = august.read_bytes("report.html").decode()
    assert f'<h3>In</h3><p class="codes">{" ".join(entered)}</p>' in text
    assert f'<h3>Out</h3><p class="codes">{" ".join(left)}</p>' in text

    history = august.read_json("history.json")
    values = history["portfolio_value_jpy"]
    market = 1.0
    for change in history["market_returns"][1:]:
        market *= 1 + change
    change = values[-1] / values[0] - 1
    assert facts["Value since the last as-of, after costs"] == f"{change:+.2%}"
    assert facts["Market, equal weight"] == f"{market - 1:+.2%}"
    assert facts["Difference"] == f"{change - (market - 1):+.2%}"

    ranks = [
        pd.read_parquet(io.BytesIO(month.read_bytes("scores.parquet"))).set_index("Code")["Rank"]
        for month in (july, august)
    ]
    best = frame(august, "portfolio.csv").iloc[0]
    moved = int(ranks[0][best["code"]] - ranks[1][best["code"]])
    row = text[text.index("Book after the trades") :].split("<tr>")[2]
    assert best["code"] in row
    assert f'<td class="n">{moved:+d}</td>'.replace("+0", "0") in row


def test_the_charts_say_their_numbers_in_words(august: Artifact, document: dict[str, Any]) -> None:
    supply, scores, ranks, sectors, months, equity = Page(august.read_bytes("report.html")).charts
    assert supply == (
        "Supply of stocks: listed 120, eligible 120, priced 120, in the pool 70, candidates kept 53, held "
        f"{document['metrics']['positions']}"
    )
    assert scores.startswith("Distribution of 120 scores from ")
    assert ranks.startswith("Rank last month and now of ")
    table = frame(august, "portfolio.csv")
    weight = table.loc[table["sector"] == "3050", "weight"].sum()
    assert f"3050 Foods {weight:.1%} against 20.0%" in sectors
    assert document["eligible_by_sector"] == dict.fromkeys(("3050", "3100", "3150", "3200", "3250"), 24)
    assert months.startswith("Turnover and expected cost of 2 months")
    assert equity.startswith("From 2025-06-30 to 2025-07-31 the portfolio went from 100 to ")


def test_it_needs_no_network_and_runs_no_script(august: Artifact) -> None:
    data = august.read_bytes("report.html")
    page = Page(data)
    assert not {"script", "link", "img", "image", "iframe", "object", "embed", "metadata"} & set(page.tags)
    assert not {"src", "srcset", "xlink:href", "xmlns"} & {name for name, _ in page.attributes}
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert not re.search(rb"https?:|//[a-z]|@import", data)
    # Charts refer to their own parts, and each name is there once.
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    references = [value for name, value in page.attributes if name == "href"]
    references += re.findall(r"url\(([^)]*)\)", data.decode())
    assert references
    assert {reference.lstrip("#") for reference in references} == set(ids)
    assert all(reference.startswith("#") for reference in references)


def test_it_says_where_the_book_comes_from(august: Artifact, july: Artifact) -> None:
    first = july.read_bytes("report.html")
    assert b"Starts from cash." in first
    assert b"35 names in" in first
    assert b"No month before to compare with." in first
    assert b"The curve begins with the next month" in first
    assert len(Page(first).charts) == 4
    assert b"Follows portfolio 2025-07-01/v1." in august.read_bytes("report.html")
    assert (
        b"Decided on the close of Thu 2025-07-31, trades at the close of Fri 2025-08-01"
        in august.read_bytes("report.html")
    )


def test_it_says_which_features_the_scores_rest_on(
    august: Artifact, july: Artifact, document: dict[str, Any]
) -> None:
    said = b"Scores rest on features up to Fri 2025-07-25: the model's patches do not reach a stock's newest 4 rows."
    assert said in august.read_bytes("report.html")
    # A month of 1.0.0 does not know it.
    del document["features_until"], document["bundle"]["newest_rows_unread"]
    page = render_report(RunDocument.model_validate(document), august, july).decode()
    assert "Scores rest on" not in page


def test_alerts_and_warnings_are_shown(august: Artifact, july: Artifact, document: dict[str, Any]) -> None:
    document["warnings"] = ["three prices are old"]
    document["alerts"] = [
        {
            "severity": "WARNING",
            "metric": "m",
            "value": 1.5,
            "comparison": "<",
            "bound": 2.0,
            "remedy": "Look.",
            "runbook": "docs/runbook.md#m",
        }
    ]
    page = render_report(RunDocument.model_validate(document), august, july).decode()
    for part in (
        "three prices are old",
        "1 alert, 1 warning.",
        "m = 1.5",
        "alert when &lt; 2.0",
        "Look.",
        "docs/runbook.md#m",
        '<p class="verdict alert"><strong class="word">ATTENTION</strong>',
    ):
        assert part in page


def test_a_broken_bound_is_told_on_its_tile(
    august: Artifact, july: Artifact, document: dict[str, Any]
) -> None:
    calm = august.read_bytes("report.html").decode()
    assert '<p class="verdict ok"><strong class="word">OK</strong>' in calm
    assert "0 alerts, 0 warnings." in calm
    assert calm.count(">PASS<") == 4
    assert "at most 20 bps" in calm
    document["metrics"]["apex_daily_cost_bps"] = 31.2
    document["synthetic"] = True
    page = render_report(RunDocument.model_validate(document), august, july).decode()
    assert "SYNTHETIC" not in calm
    assert "SYNTHETIC DATA" in page
    assert '<div class="value">31.20 bps</div>' in page
    assert (page.count(">PASS<"), page.count(">ALERT<")) == (3, 1)


def test_text_is_escaped(august: Artifact, july: Artifact, document: dict[str, Any]) -> None:
    document["warnings"] = ["<script>alert('x')</script> & more"]
    document["versions"] = {"<b>library</b>": "1"}
    document["eligible_by_sector"]["<i>&\x00$x^2$"] = 1
    document["settings"]["bundle_limits"]["<u>"] = "</pre><script>"
    page = Page(render_report(RunDocument.model_validate(document), august, july))
    assert not {"script", "b", "i", "u"} & set(page.tags)


@pytest.mark.slow
def test_codes_and_sectors_from_the_data_are_text_in_the_charts(
    market: SmallMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "TEXT_PATTERNS", {CODE: "(?s).*", SECTOR: "(?s).*"})  # else refused when read
    evil = "<b onload=x>&\x01$\\frac{1}{2}$\n"
    renamed = {code: f"{code}<i>\x02$" for code in sorted(set(market.codes))}
    dataset = market.changed(
        tmp_path / "evil.parquet",
        Code=pa.array([renamed[code] for code in market.codes]),
        sector33_code=pa.array([evil] * len(market.codes)),
    )
    told = JudgementSettings(warn_only=(Fault.CODES_UNKNOWN,))
    settings = small_settings(tmp_path / "home", judgement=told)
    run(market, tmp_path / "home", AUGUST, settings, dataset=str(dataset), cold_start=True)
    run(market, tmp_path / "home", SEPTEMBER, settings, dataset=str(dataset))
    data = portfolio(tmp_path / "home", SEPTEMBER).read_bytes("report.html")
    page = Page(data)
    assert page.open == []
    assert not {"b", "i"} & set(page.tags)
    assert "onload" not in {name for name, _ in page.attributes}
    assert len(page.charts) == 6


def test_a_document_that_lacks_something_is_an_error_not_a_blank(
    august: Artifact, july: Artifact, document: dict[str, Any]
) -> None:
    del document["synthetic"]
    with pytest.raises(ValidationError, match="synthetic"):
        render_report(RunDocument.model_validate(document), august, july)


def test_ten_years_of_history_stay_a_small_page(drawn_chain: Path, tmp_path: Path) -> None:
    october, september = portfolio(drawn_chain, OCTOBER), portfolio(drawn_chain, SEPTEMBER)
    history = october.read_json("history.json")
    known, month = len(history["sessions"]), history["months"][-1]
    sessions = [dt.date(2016, 1, 1) + dt.timedelta(days=number) for number in range(2450)]
    long = {
        "sessions": [str(day) for day in sessions],
        "portfolio_value_jpy": [history["portfolio_value_jpy"][number % known] for number in range(2450)],
        "market_returns": [history["market_returns"][number % known] for number in range(2450)],
        "months": [
            {**month, "as_of": str(sessions[number * 20]), "rebalance_date": str(sessions[number * 20 + 1])}
            for number in range(120)
        ],
    }
    assert len(canonical_json(long)) < 250_000
    files = {
        name: october.read_bytes(name)
        for name in ("scores.parquet", "portfolio.csv", "book.json", "run.json")
    }
    plan = Store(tmp_path).write("plan", files={**files, "history.json": canonical_json(long)})
    page = render_report(RunDocument.model_validate_json(files["run.json"]), plan, september)
    assert len(page) < 250_000
    assert Page(page).charts[-2].startswith("Turnover and expected cost of 36 months")
