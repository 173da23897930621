"""Every bad request: a 4xx with field and reason, in one form, and never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from apex_tasks.web.errors import UnhandledErrorMiddleware, add_error_handlers
from tests.support.serving import client_of
from tests.support.small_market import SmallMarket


@pytest.fixture(scope="module")
def served(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_of(market, tmp_path_factory.mktemp("served"), max_body_bytes=2_000) as client:
        yield client


def problems(answer: Any, status: int) -> list[dict[str, Any]]:
    """The detail of an error, after a look at its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    body = answer.json()
    assert body.keys() == {"detail"}
    for problem in body["detail"]:
        assert problem.keys() == {"field", "reason"}
        assert problem["reason"]
    assert "Traceback" not in answer.text
    return list(body["detail"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"horizon": 7}, "horizon"),
        ({"horizon": 0}, "horizon"),
        ({"horizon": "20"}, "horizon"),
        ({"horizon": 20.5}, "horizon"),
        ({"horizon": True}, "horizon"),
        ({"horizon": [20]}, "horizon"),
        ({"horizon": 10**400}, "horizon"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 501}, "top_k"),
        ({"top_k": "many"}, "top_k"),
        ({"date": "2025-10-11"}, "date"),
        ({"date": "2025-10-31"}, "date"),
        ({"date": "2024-09-02"}, "date"),
        ({"date": "1999-01-04"}, "date"),
        ({"date": "9999-12-31"}, "date"),
        ({"date": "2025-02-30"}, "date"),
        ({"date": "yesterday"}, "date"),
        ({"date": "2025-10-10T00:00:00"}, "date"),
        ({"date": 1_760_054_400}, "date"),
        ({"date": ""}, "date"),
        ({"dates": "2025-10-10"}, "dates"),
        ({"<script>": 1}, "<script>"),
    ],
    ids=str,
)
def test_a_bad_field_is_named(served: TestClient, body: dict[str, Any], field: str) -> None:
    assert [problem["field"] for problem in problems(served.post("/predict", json=body), 422)] == [field]


def test_several_bad_fields_are_all_named(served: TestClient) -> None:
    answer = served.post("/predict", json={"horizon": "x", "top_k": 0, "surplus": 1})
    assert {problem["field"] for problem in problems(answer, 422)} == {"horizon", "top_k", "surplus"}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"null", 422),
        (b"[]", 422),
        (b"20", 422),
        (b'"x"', 422),
        (b"{", 422),
        (b'{"horizon": NaN}', 422),
        (b'{"\\ud800": 1}', 422),
        (b'{"horizon": "\\ud800"}', 422),
        (b'{"\xff": 1}', 400),
        (b"\x00", 422),
        (b"[" * 1_900, 400),
    ],
    ids=repr,
)
def test_a_bad_body_is_refused(served: TestClient, content: bytes, status: int) -> None:
    answer = served.post("/predict", content=content, headers={"Content-Type": "application/json"})
    problems(answer, status)


def test_another_content_type_is_refused(served: TestClient) -> None:
    problems(served.post("/predict", data={"horizon": "20"}), 422)


def test_no_more_than_a_few_problems_are_told(served: TestClient) -> None:
    answer = served.post("/predict", json={str(number): 0 for number in range(200)})
    assert len(problems(answer, 422)) == 20


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "streamed"])
def test_a_large_body_is_refused(served: TestClient, declared: bool) -> None:
    content = b'{"horizon": 20' + b" " * 2_000 + b"}"
    parts = content if declared else iter([content[:1_000], content[1_000:]])
    answer = served.post("/predict", content=parts, headers={"Content-Type": "application/json"})
    problems(answer, 413)
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/predict", 405),
        ("DELETE", "/predict", 405),
        ("POST", "/health", 405),
        ("GET", "/portfolio", 404),
        ("GET", "/portfolio/2025-07", 404),
        ("GET", "/portfolio/2025-13", 422),
        ("GET", "/portfolio/2025-7", 422),
        ("GET", "/portfolio/2025-07%0a", 422),
        ("GET", "/portfolio/..", 404),
        ("GET", "/portfolio/%2e%2e%2f%2e%2e", 404),
        ("GET", "/portfolio/２０２５-０７", 422),
        ("GET", "/portfolio/%ff", 422),
        ("GET", "/static-offline-docs/../../pyproject.toml", 404),
    ],
)
def test_a_bad_address_is_refused(served: TestClient, method: str, path: str, status: int) -> None:
    answer = served.request(method, path)
    problems(answer, status)
    assert ("allow" in answer.headers) == (status == 405)


def test_a_bug_is_an_id_for_the_caller_and_a_traceback_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    add_error_handlers(app)
    app.add_middleware(UnhandledErrorMiddleware)

    @app.get("/bug")
    def bug() -> None:
        raise KeyError("secret detail")

    answer = TestClient(app).get("/bug")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    (problem,) = answer.json()["detail"]
    number = problem["reason"].removeprefix("internal error ")
    assert number in caplog.text
    assert "secret detail" in caplog.text


def test_client_errors_leave_no_stack_in_the_log(
    served: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    served.post("/predict", content=b"{")
    served.get("/nowhere")
    assert "Traceback" not in caplog.text


def test_the_documentation_needs_no_other_host(served: TestClient, tmp_path: Path) -> None:
    page = served.get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://127.0.0.1", "")
    assert "https://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert served.get(f"/static-offline-docs/{name}").status_code == 200
    assert served.get("/redoc").status_code == 404
