"""Pages as a browser gets them, and months that are changed under them."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from starlette.testclient import TestClient

from apex_tasks.web.pages.responses import install_error_pages
from apex_tasks.web.pages.routes import published_pages, run_pages
from apex_tasks.web.pages.run_banner import RunState

DAG_ID = "apex_monthly_rebalance"


FILES = ("portfolio.csv", "orders.csv", "scores.parquet", "book.json", "run.json", "execution.json")


NASTY = (
    "..",
    ".",
    "%2e%2e",
    "..%2f..",
    "%2e%2e%2fv1",
    "..%5c..",
    "%00",
    "v1%00",
    "%0a",
    "v1%0a",
    "v0",
    "v01",
    "v-1",
    "v1.0",
    "V1",
    "v",
    "v" + "9" * 400,
    "v1 ",
    "%20v1",
    "v" + quote("１"),  # a digit, but of another script
    "v" + quote("١"),
    quote("２０２５-０７-０１"),
    "2025-7-1",
    "2025-02-30",
    "20250701",
    "0000-00-00",
    "9999-99-99",
    "2025-W27-2",
    "manifest.json",
    "portfolio.csv.bak",
    "PORTFOLIO.CSV",
    "run.json%00.html",
    ".publish.lock",
    "a" * 5000,
    quote("レポート"),
    "<script>alert(1)</script>",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "' OR 1=1 --",
    "{{7*7}}",
    "%ff%fe",
    "%ed%a0%80",
)


class Page(HTMLParser):
    """Texts of the table cells by row, links, and whether all tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


Serve = Callable[..., TestClient]


def client(read_run: Callable[[str, str, str], RunState | None]) -> TestClient:
    pages, server = FastAPI(openapi_url=None), FastAPI(openapi_url=None)
    pages.include_router(published_pages(DAG_ID))
    pages.include_router(run_pages(DAG_ID, read_run))
    install_error_pages(pages)
    server.mount("/apex", pages)
    return TestClient(server)


def folder(home: Path, day: Any) -> Path:
    return home / "portfolio" / str(day) / "v1"


ALERT = {
    "metric": "apex_daily_cost_bps",
    "value": 31.2,
    "comparison": ">",
    "bound": 20.0,
    "severity": "WARNING",
    "remedy": "Look.",
    "runbook": "docs/runbook.md#high-costs",
}


def rewrite_run(home: Path, day: Any, **changes: object) -> None:
    """Publish other content of run.json in the place of a month's, with a manifest that is right."""
    content = json.loads((folder(home, day) / "run.json").read_bytes())
    replace(home, day, "run.json", json.dumps(content | changes).encode())


def replace(home: Path, day: Any, name: str, data: bytes) -> None:
    import hashlib

    (folder(home, day) / name).write_bytes(data)
    manifest = json.loads((folder(home, day) / "manifest.json").read_bytes())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder(home, day) / "manifest.json").write_text(json.dumps(manifest))
