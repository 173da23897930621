"""`GET /portfolio/{month}` and `/metrics`: what lies in the store, read by pandas and json instead."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pandas as pd
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from apex_tasks.published.portfolio import latest_version
from apex_tasks.store import Store
from apex_tasks.web.app import Access, create_app
from apex_tasks.web.published_routes import published_router
from tests.support.serving import client_of
from tests.support.small_market import (
    AUGUST,
    CALENDAR,
    REBALANCES,
    SmallMarket,
    portfolio,
    run,
    small_settings,
)


@pytest.fixture
def served(market: SmallMarket, chain: Path, tmp_path: Path) -> TestClient:
    return client_of(market, tmp_path, home=chain)


@pytest.mark.parametrize("rebalance", REBALANCES, ids=str)
def test_a_month_is_what_was_published(served: TestClient, chain: Path, rebalance: object) -> None:
    answer = served.get(f"/portfolio/{rebalance:%Y-%m}")
    assert answer.status_code == 200
    got = answer.json()
    published = latest_version(Store(chain), rebalance)
    assert published is not None
    run_json = published.artifact.read_json("run.json")
    assert (got["rebalance_date"], got["as_of"]) == (str(rebalance), run_json["as_of"])
    assert (got["version"], got["content_hash"]) == (1, published.content_hash)
    for name in ("metrics", "warnings", "alerts", "parent", "synthetic"):
        assert got[name] == run_json[name]
    for name, file in (("positions", "portfolio.csv"), ("orders", "orders.csv")):
        written = published.artifact.read_bytes(file)
        table = pd.read_csv(io.BytesIO(written), dtype={"code": str, "sector": str})
        expected = table.astype(object).where(table.notna(), None).to_dict("records")
        assert got[name] == expected


def test_the_newest_version_is_shown(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(chain, tmp_path / "home"))
    run(market, home, AUGUST, top_k=36, republish_reason="one more")
    got = client_of(market, tmp_path, home=home).get("/portfolio/2025-08").json()
    assert got["version"] == 2
    assert len([one for one in got["positions"] if one["weight"] > 0]) == 36


def test_a_month_without_a_portfolio_is_404_with_a_reason(served: TestClient) -> None:
    answer = served.get("/portfolio/2025-06")
    assert answer.status_code == 404
    assert answer.json() == {"detail": [{"field": "month", "reason": "nothing is published for 2025-06"}]}


def test_a_changed_file_is_503_and_says_so(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(chain, tmp_path / "home"))
    csv = Path(portfolio(home, AUGUST).folder.path) / "portfolio.csv"
    csv.write_bytes(csv.read_bytes().replace(b"0", b"1", 1))
    answer = client_of(market, tmp_path, home=home).get("/portfolio/2025-08")
    assert answer.status_code == 503
    assert "a stored file was changed" in answer.json()["detail"][0]["reason"]


def test_metrics_hold_the_months_gauges_and_the_requests(served: TestClient) -> None:
    for _ in range(3):
        served.get("/portfolio/2025-06")
    served.get("/nowhere/at/all")
    text = served.get("/metrics").text
    lines = text.splitlines()
    assert "apex_positions 35.0" in lines
    assert 'apex_serve_requests_total{route="/portfolio/{month}",status="404"} 3.0' in lines
    assert 'apex_serve_requests_total{route="other",status="404"} 1.0' in lines
    assert "nowhere" not in text


def test_the_router_answers_json_in_an_application_of_pages(chain: Path) -> None:
    """As in Airflow, whose application has handlers of its own."""
    app = FastAPI()
    app.include_router(published_router(lambda: Store(chain)))
    client = TestClient(app)
    assert client.get("/portfolio/2025-08").json()["version"] == 1
    for path, status in (("2025-06", 404), ("2025-13", 422)):
        answer = client.get(f"/portfolio/{path}")
        assert answer.status_code == status
        assert answer.json()["detail"][0].keys() == {"field", "reason"}


def test_the_published_part_alone_has_no_predictions(chain: Path) -> None:
    asked: list[str] = []
    access = Access(callers=lambda: asked.append("caller"), probes=lambda: asked.append("probe"))
    client = TestClient(create_app(lambda: small_settings(chain), access, CALENDAR))
    assert client.get("/portfolio/2025-08").status_code == 200
    assert client.get("/metrics").status_code == 200
    assert asked == ["caller", "probe"]
    for method, path in (
        ("POST", "/predict"),
        ("GET", "/health"),
        ("GET", "/available-dates"),
        ("GET", "/docs"),
    ):
        assert client.request(method, path).status_code == 404
