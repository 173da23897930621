"""The pages without Airflow: what they show of a real store, and what no request can do to them."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from apex_tasks.monthly.draft import DRAFTS
from apex_tasks.store import Store
from apex_tasks.web.pages.rendering import LEAVE_SCRIPT
from apex_tasks.web.pages.responses import PAGE_HEADERS, install_error_pages
from apex_tasks.web.pages.routes import published_pages, run_pages
from apex_tasks.web.pages.run_banner import AnswerState, RunState, TaskState
from tests.support.small_market import (
    AUGUST,
    JULY,
    OCTOBER,
    REBALANCES,
    SmallMarket,
    home_after,
    month,
    portfolio,
    run,
)

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


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Mount the pages on a store, with the runs that a test makes up; any exception fails the test."""

    def mounted(home: Path, **runs: RunState) -> TestClient:
        monkeypatch.setenv("APEX_HOME", str(home))
        return client(lambda _dag, run_id, _airflow: runs.get(run_id))

    return mounted


def client(read_run: Callable[[str, str, str], RunState | None]) -> TestClient:
    pages, server = FastAPI(openapi_url=None), FastAPI(openapi_url=None)
    pages.include_router(published_pages(DAG_ID))
    pages.include_router(run_pages(DAG_ID, read_run))
    install_error_pages(pages)
    server.mount("/apex", pages)
    return TestClient(server)


@pytest.fixture
def copied(chain: Path, tmp_path: Path) -> Path:
    """A home of four months that a test may damage."""
    return home_after(chain, tmp_path / "home", *REBALANCES)


def folder(home: Path, day: Any) -> Path:
    return home / "portfolio" / str(day) / "v1"


def test_months_are_listed_newest_first(serve: Serve, chain: Path) -> None:
    page = Page(serve(chain).get("/apex/months").text)
    assert [row[0] for row in page.rows[1:]] == [str(day) for day in reversed(REBALANCES)]
    for row, day in zip(page.rows[1:], reversed(REBALANCES), strict=True):
        metrics = portfolio(chain, day).read_json("run.json")["metrics"]
        assert row[1] == "v1"
        assert row[2].strip().endswith("OK")
        assert row[3:7] == [
            str(metrics["positions"]),
            f"{100 * metrics['turnover']:.1f}%",
            f"{metrics['apex_daily_cost_bps']:.2f}",
            f"{metrics['portfolio_value_jpy']:,.0f}",
        ]


def test_every_link_of_the_pages_leads_somewhere(serve: Serve, chain: Path) -> None:
    web, seen, todo = serve(chain), set(), ["/apex/months"]
    while todo:
        address = todo.pop()
        if address in seen:
            continue
        seen.add(address)
        answer = web.get(address)
        assert answer.status_code == 200, address
        if "/portfolio-files/" not in address:
            todo += Page(answer.text).links
    assert {f"/apex/portfolio-files/2025-07-01/v1/{name}" for name in ("report.html", "orders.csv")} <= seen
    assert "/apex/compare?from=2025-09-01/v1&to=2025-10-01/v1" in seen


def test_an_empty_store_says_what_to_do(serve: Serve, tmp_path: Path) -> None:
    text = serve(tmp_path / "nothing").get("/apex/months").text
    assert "No month is published yet." in text
    assert DAG_ID in text
    assert "cold_start" in text
    assert "<form" not in text


def test_one_month_has_nothing_to_compare_with(serve: Serve, chain: Path, tmp_path: Path) -> None:
    text = serve(home_after(chain, tmp_path, JULY)).get("/apex/months").text
    assert "1 month," in text
    assert "<form" not in text


def test_alerts_warnings_and_synthetic_data_show(serve: Serve, copied: Path) -> None:
    rewrite_run(copied, OCTOBER, alerts=[ALERT], synthetic=True)
    rewrite_run(copied, AUGUST, warnings=["<b>old</b> prices"])
    text = serve(copied).get("/apex/months").text
    marks = [row[2].strip() for row in Page(text).rows[1:]]
    assert [mark.split(" ", 1)[1] for mark in marks] == ["ATTENTION", "OK", "OK, WITH WARNINGS", "OK"]
    assert len({mark.split(" ", 1)[0] for mark in marks}) == 3, "a symbol for each"
    assert "SYNTHETIC DATA" in text


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


def test_every_version_can_be_compared_and_opened(serve: Serve, copied: Path) -> None:
    shutil.copytree(folder(copied, AUGUST), folder(copied, AUGUST).with_name("v2"))
    (folder(copied, AUGUST).with_name("v3")).mkdir()  # what a killed publication leaves
    web = serve(copied)
    page = web.get("/apex/months").text
    assert Page(page).rows[3][1] == "v2, v1"
    assert page.count('<option value="2025-08-01/v1"') == page.count('<option value="2025-08-01/v2"') == 2
    assert "v3" not in page
    assert "2025-08-01/v2 has replaced it." in web.get("/apex/months/2025-08-01/v1").text
    assert "replaced" not in web.get("/apex/months/2025-08-01/v2").text


def test_comparison_shows_each_name_once(serve: Serve, chain: Path) -> None:
    answer = serve(chain).get("/apex/compare", params={"from": "2025-07-01/v1", "to": "2025-10-01/v1"})
    codes = [row[0] for row in Page(answer.text).rows if row and re.fullmatch(r"[0-9]{5}", row[0])]
    held = {
        code
        for day in (JULY, OCTOBER)
        for code in pd.read_csv(folder(chain, day) / "portfolio.csv", dtype={"code": str})["code"]
    }
    assert sorted(codes) == sorted(held)


@pytest.mark.parametrize("name", FILES)
def test_files_are_downloads_of_the_published_bytes(serve: Serve, chain: Path, name: str) -> None:
    answer = serve(chain).get(f"/apex/portfolio-files/2025-07-01/v1/{name}")
    assert answer.content == (folder(chain, JULY) / name).read_bytes()
    assert answer.headers["content-disposition"] == f'attachment; filename="2025-07-01_v1_{name}"'
    kinds = {
        "csv": "text/csv; charset=utf-8",
        "json": "application/json",
        "parquet": "application/vnd.apache.parquet",
    }
    assert answer.headers["content-type"] == kinds[name.rpartition(".")[2]]


def test_the_report_is_shown_and_not_downloaded(serve: Serve, chain: Path) -> None:
    answer = serve(chain).get("/apex/portfolio-files/2025-07-01/v1/report.html")
    assert answer.content == (folder(chain, JULY) / "report.html").read_bytes()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "content-disposition" not in answer.headers


def test_head_and_other_methods(serve: Serve, chain: Path) -> None:
    web = serve(chain)
    for path in ("/months", "/portfolio-files/2025-07-01/v1/run.json", "/report/other/run"):
        assert web.head(f"/apex{path}").status_code == 200
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = web.request(method, f"/apex{path}")
            assert answer.status_code == 405
            assert PAGE_HEADERS.items() <= {n: answer.headers.get(n) for n in PAGE_HEADERS}.items()


PATHS = (
    *(f"/portfolio-files/{part}/v1/report.html" for part in NASTY),
    *(f"/portfolio-files/2025-07-01/{part}/report.html" for part in NASTY),
    *(f"/portfolio-files/2025-07-01/v1/{part}" for part in NASTY),
    *(f"/draft-files/{part}/report.html" for part in NASTY[::5]),
    *(f"/draft-files/{'a' * 64}/{part}" for part in NASTY[::5]),
    *(f"/months/2025-07-01/{part}" for part in NASTY[::5]),
    *(f"/report/{DAG_ID}/{part}" for part in NASTY),
    *(f"/compare?from=2025-07-01/{part}&to=2025-08-01/v1" for part in NASTY if "&" not in part),
    "/portfolio-files/2025-07-01/v1/",
    "/portfolio-files/../../portfolio/2025-07-01/v1/run.json",
    "/portfolio-files/2025-07-01/v1/../../../audit/trail.jsonl",
    "/compare",
    "/compare?from=2025-07-01/v1",
    "/compare?from=2025-07-01/v1&to=",
    "/compare?from=2025-07-01/v1&to=2025-07-01/v1&to=2024-01-01/v1",
    "/compare?from=2025-07-01/v1&to=2024-01-01/v1",
    "/compare?from=2025-07-01/v1&to=2025-08-01/v2",
)


@pytest.mark.slow
def test_nasty_paths_are_refused_readably(serve: Serve, chain: Path) -> None:
    web = serve(chain)
    for path in PATHS:
        # A client takes dots away by itself, but these are sent as they are.
        answer = web.get(f"/apex{path.replace('/..', '/%2e%2e').replace('/.', '/%2e')}")
        assert answer.status_code in (404, 422), path
        assert "<script>alert" not in answer.text
        assert "Traceback" not in answer.text
        assert len(answer.text) < 20_000
        if "%0a" in path:
            continue  # the server around the application hands no line break on
        for name, value in PAGE_HEADERS.items():
            assert answer.headers.get(name) == value, path


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [
            "/portfolio-files/{}/{}/{}",
            "/draft-files/{}/{}",
            "/months/{}/{}",
            "/report/{}/{}",
            "/{}",
            "/compare?from={}&to={}",
        ]
    ),
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
            st.sampled_from(["2025-07-01", "v1", "run.json", "2025-07-01/v1", DAG_ID, "x" * 64]),
        ),
        min_size=3,
        max_size=3,
    ),
)
def test_no_path_is_an_error_of_ours(serve: Serve, chain: Path, form: str, parts: list[str]) -> None:
    answer = serve(chain).get("/apex" + form.format(*(quote(part, safe="") for part in parts)))
    assert answer.status_code < 500


def flip(data: bytes) -> bytes:
    return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "run.json flipped": lambda of: (of / "run.json").write_bytes(flip((of / "run.json").read_bytes())),
    "run.json gone": lambda of: (of / "run.json").unlink(),
    "run.json a folder": lambda of: ((of / "run.json").unlink(), (of / "run.json").mkdir()),
    "manifest cut": lambda of: (of / "manifest.json").write_bytes((of / "manifest.json").read_bytes()[:40]),
    "manifest empty": lambda of: (of / "manifest.json").write_bytes(b""),
    "manifest a list": lambda of: (of / "manifest.json").write_text("[]"),
    "manifest without files": lambda of: (of / "manifest.json").write_text(
        '{"files": {}, "identity": [], "details": {}}'
    ),
    "manifest of nonsense": lambda of: (of / "manifest.json").write_text(
        '{"files": {"run.json": 5, "report.html": null}, "identity": 3, "details": null}'
    ),
    "manifest of lists": lambda of: (of / "manifest.json").write_text(
        '{"files": ["run.json"], "identity": [], "details": {}}'
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_month_says_so_and_hides_no_other(serve: Serve, copied: Path, damage: str) -> None:
    DAMAGES[damage](folder(copied, AUGUST))
    web = serve(copied, run=RunState(run_id="run", state="success", published="2025-08-01/v1"))
    rows = Page(web.get("/apex/months").text).rows[1:]
    assert [row[2].strip()[2:] for row in rows] == ["OK", "OK", "DAMAGED", "OK"]
    for path in (
        "/portfolio-files/2025-08-01/v1/run.json",
        "/months/2025-08-01/v1",
        "/compare?from=2025-08-01/v1&to=2025-10-01/v1",
        f"/report/{DAG_ID}/run",
    ):
        answer = web.get(f"/apex{path}")
        assert answer.status_code in (404, 503), (path, answer.text[-500:])
        assert "Traceback" not in answer.text
    assert web.get("/apex/months/2025-07-01/v1").status_code == 200


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b"{}", b'{"alerts": [], "warnings": [], "metrics": 1}', b"not json", b"\xff"]
)
def test_a_run_file_of_another_form_is_damage(serve: Serve, copied: Path, content: bytes) -> None:
    replace(copied, AUGUST, "run.json", content)
    web = serve(copied)
    assert [row[2].strip()[2:] for row in Page(web.get("/apex/months").text).rows[1:]][2] == "DAMAGED"
    assert web.get("/apex/months/2025-08-01/v1").status_code == 503
    assert web.get("/apex/compare?from=2025-08-01/v1&to=2025-10-01/v1").status_code == 503


@pytest.mark.parametrize("content", [b"", b"code,weight\n1,x\n", b"\xff\xfe", b"a\n1\n"])
def test_a_table_of_another_form_is_damage(serve: Serve, copied: Path, content: bytes) -> None:
    replace(copied, AUGUST, "portfolio.csv", content)
    replace(copied, OCTOBER, "scores.parquet", content)
    for day in ("2025-08-01", "2025-10-01"):
        assert serve(copied).get(f"/apex/compare?from=2025-07-01/v1&to={day}/v1").status_code == 503


def test_a_store_that_is_none_is_one_readable_refusal(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    answer = serve(tmp_path / "file").get("/apex/months")
    assert answer.status_code == 503
    assert "the store is not a folder" in answer.text
    monkeypatch.setenv("APEX_RANKING__TOP_K", "many")
    answer = serve(tmp_path).get("/apex/months")
    assert answer.status_code == 503
    assert "What to do" in answer.text


def test_what_nobody_expected_is_a_page_and_a_log_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: str) -> RunState | None:
        raise RuntimeError("secret of the database")

    monkeypatch.setenv("APEX_HOME", str(tmp_path))
    answer = client(broken).get(f"/apex/report/{DAG_ID}/run")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"] == PAGE_HEADERS["Content-Security-Policy"]
    assert "secret of the database" in caplog.text


@pytest.fixture(scope="session")
def drafted(market: SmallMarket, chain: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with July published, and the key of August's draft."""
    home = home_after(chain, tmp_path_factory.mktemp("drafted"), JULY)
    run(market, home, AUGUST)
    assert month(market, home, AUGUST)
    shutil.rmtree(home / "portfolio" / str(AUGUST))
    (key,) = Store(home).names(DRAFTS)
    return home, key


def task(task_id: str, state: str | None) -> TaskState:
    return TaskState(task_id=task_id, state=state, page=f"/dags/{DAG_ID}/runs/run/tasks/{task_id}")


def states() -> Iterator[tuple[str, dict[str, Any], bool, str]]:
    """Name, what the run came to, whether it has a draft, and what the banner says."""
    no = AnswerState(chosen=("Reject",), by="Eve <b>", at="2025-08-01T09:30:00+09:00")
    running, failed = {"state": "running"}, {"state": "failed"}
    approval_failed = (task("approval", "failed"), task("publish", "upstream_failed"))
    yield (
        "asked",
        {**running, "tasks": (task("approval", "awaiting_input"),)},
        True,
        "DRAFT, WAITS FOR APPROVAL",
    )
    yield (
        "rejected",
        {**failed, "tasks": approval_failed, "question": no},
        True,
        "REJECTED: NOTHING WAS PUBLISHED",
    )
    yield (
        "timed out",
        {**failed, "tasks": approval_failed, "question": AnswerState()},
        True,
        "TIMED OUT: NOTHING WAS PUBLISHED",
    )
    yield "draft failed", {**failed, "tasks": approval_failed}, False, "FAILED: NOTHING WAS PUBLISHED"
    yield (
        "publish failed",
        {**failed, "tasks": (task("approval", "success"), task("publish", "failed"))},
        True,
        "FAILED: NOTHING WAS PUBLISHED",
    )
    yield "dry", {"state": "success", "dry_run": True}, True, "DRY RUN: NOTHING WAS PUBLISHED"
    yield "dry, old", {"state": "success", "dry_run": True}, False, "DRY RUN: NOTHING WAS PUBLISHED"
    yield "publishing", {**running, "tasks": (task("publish", "running"),)}, True, "DRAFT, NOT PUBLISHED YET"
    yield "computing", {**running, "tasks": (task("infer", "running"),)}, False, "STILL RUNNING"
    yield "queued", {"state": "queued"}, False, "STILL RUNNING"
    yield "stopped by hand", {**failed, "tasks": (task("infer", "skipped"),)}, False, "FAILED: NOTHING"
    yield "marked as success", {"state": "success"}, False, "NOTHING WAS PUBLISHED"


@pytest.mark.parametrize(
    ("came_to", "has_draft", "word"),
    [(came_to, has_draft, word) for _, came_to, has_draft, word in states()],
    ids=[name for name, *_ in states()],
)
def test_a_run_that_published_nothing_says_why(
    serve: Serve, drafted: tuple[Path, str], came_to: dict[str, Any], has_draft: bool, word: str
) -> None:
    home, key = drafted
    state = RunState(run_id="run", draft=key if has_draft else None, actions_page="/actions", **came_to)
    web = serve(home, run=state)
    text = web.get(f"/apex/report/{DAG_ID}/run").text
    page = Page(text)
    assert f" {word}" in text
    assert "<b>" not in text
    frames = [link for link in page.links if link.endswith("report.html")]
    assert frames == ([f"/apex/draft-files/{key}/report.html"] if has_draft else [])
    for frame in frames:
        answer = web.get(frame)
        assert answer.content == (home / DRAFTS / key / "report.html").read_bytes()
    for name in [one.task_id for one in state.in_state("failed") if not state.question]:
        assert f"/dags/{DAG_ID}/runs/run/tasks/{name}" in page.links
    assert ("/actions" in page.links) == word.startswith("DRAFT, WAITS")
    question = f"/dags/{DAG_ID}/runs/run/tasks/approval/required_actions"
    assert (question in page.links) == word.startswith(("REJECTED", "TIMED"))
    assert ('http-equiv="refresh"' in text) == (not has_draft and not state.ended)


def test_tasks_with_one_cause_say_it_once(serve: Serve, chain: Path) -> None:
    tasks = [
        TaskState(task_id=name, state="failed", page=f"/log/{name}", refusal=refusal)
        for name, refusal in (("one", "no data"), ("two", None), ("three", "no data"))
    ]
    state = RunState(run_id="run", state="failed", tasks=tuple(tasks))
    text = serve(chain, run=state).get(f"/apex/report/{DAG_ID}/run").text
    assert "one, three: no data two failed. The last lines of its log say why." in text


def test_the_person_who_rejected_is_named(serve: Serve, drafted: tuple[Path, str]) -> None:
    states_by_name = {name: came_to for name, came_to, *_ in states()}
    state = RunState(run_id="run", draft=drafted[1], **states_by_name["rejected"])
    text = serve(drafted[0], run=state).get(f"/apex/report/{DAG_ID}/run").text
    assert "Eve &lt;b&gt; rejected it on 2025-08-01 09:30 JST." in text


def test_a_published_run_shows_the_published_report(serve: Serve, chain: Path) -> None:
    web = serve(
        chain,
        first=RunState(run_id="first", state="success", published="2025-08-01/v1"),
        again=RunState(run_id="again", state="success", published="2025-08-01/v1", already_published=True),
        approved=RunState(
            run_id="approved",
            state="success",
            published="2025-08-01/v1",
            question=AnswerState(chosen=("Approve",), by="Ann"),
        ),
    )
    for run_id, words in (
        ("first", "This run published 2025-08-01/v1."),
        ("again", "this run changed nothing"),
        ("approved", "Approved by Ann."),
    ):
        text = web.get(f"/apex/report/{DAG_ID}/{run_id}").text
        assert words in text
        assert "Verdict: ✓ OK." in text
        assert "/apex/portfolio-files/2025-08-01/v1/report.html" in Page(text).links


def test_a_run_whose_result_is_elsewhere_says_so(serve: Serve, chain: Path) -> None:
    web = serve(
        chain,
        elsewhere=RunState(run_id="elsewhere", state="success", published="2024-08-01/v1"),
        nonsense=RunState(run_id="nonsense", state="success", published="../../etc"),
        swept=RunState(run_id="swept", state="success", dry_run=True, draft="a" * 64),
        strange=RunState(run_id="strange", state="success", dry_run=True, draft="../portfolio"),
    )
    for run_id in ("elsewhere", "nonsense"):
        answer = web.get(f"/apex/report/{DAG_ID}/{run_id}")
        assert answer.status_code == 503
        assert "APEX_HOME" in answer.text
    for run_id in ("swept", "strange"):
        text = web.get(f"/apex/report/{DAG_ID}/{run_id}").text
        assert "no longer in the store" in text
        assert "<iframe" not in text


def test_other_dags_and_unknown_runs(serve: Serve, chain: Path) -> None:
    web = serve(chain)
    other = web.get("/apex/report/apex_performance/some_run")
    assert other.status_code == 200
    assert "apex_performance publishes no portfolio" in other.text
    unknown = web.get(f"/apex/report/{DAG_ID}/some_run")
    assert unknown.status_code == 404
    assert "some_run" in unknown.text


def test_the_only_script_is_the_one_that_the_policy_allows(serve: Serve, drafted: tuple[Path, str]) -> None:
    import base64
    import hashlib

    state = RunState(run_id="run", state="failed", tasks=(task("infer", "failed"),))
    answer = serve(drafted[0], run=state).get(f"/apex/report/{DAG_ID}/run")
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.S)
    assert script == LEAVE_SCRIPT
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{sha256}'" in answer.headers["content-security-policy"]


def test_pages_need_no_network(serve: Serve, chain: Path) -> None:
    web = serve(chain)
    for path in ("/months", "/months/2025-08-01/v1", "/compare?from=2025-07-01/v1&to=2025-10-01/v1"):
        page = Page(web.get(f"/apex{path}").text)
        assert not {"script", "link", "img", "object", "embed"} & set(page.tags)
        assert all(link.startswith("/apex/") for link in page.links)


def test_downloads_are_what_a_spreadsheet_reads(serve: Serve, chain: Path) -> None:
    content = serve(chain).get("/apex/portfolio-files/2025-10-01/v1/portfolio.csv").content
    assert pd.read_csv(io.BytesIO(content))["weight"].sum() == pytest.approx(1.0, abs=0.05)
