"""The pages without Airflow: what they show of a real store, and what no request can do to them."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apex_tasks.web.pages.responses import PAGE_HEADERS
from tests.support.pages import ALERT, DAG_ID, FILES, NASTY, Page, Serve, folder, rewrite_run
from tests.support.small_market import (
    AUGUST,
    JULY,
    OCTOBER,
    REBALANCES,
    home_after,
    portfolio,
)


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


def test_pages_need_no_network(serve: Serve, chain: Path) -> None:
    web = serve(chain)
    for path in ("/months", "/months/2025-08-01/v1", "/compare?from=2025-07-01/v1&to=2025-10-01/v1"):
        page = Page(web.get(f"/apex{path}").text)
        assert not {"script", "link", "img", "object", "embed"} & set(page.tags)
        assert all(link.startswith("/apex/") for link in page.links)


def test_downloads_are_what_a_spreadsheet_reads(serve: Serve, chain: Path) -> None:
    content = serve(chain).get("/apex/portfolio-files/2025-10-01/v1/portfolio.csv").content
    assert pd.read_csv(io.BytesIO(content))["weight"].sum() == pytest.approx(1.0, abs=0.05)
