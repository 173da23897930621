"""The documented interface: schemathesis asks the running server what its document allows, and what it forbids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from served_apex import ServedApex

from tests.support.serving import client_of
from tests.support.small_market import SmallMarket

SECONDS = 30
KEY = "a-key-for-schemathesis"
EXCLUDED = (
    # Which sessions and months exist, and which horizons a bundle has, no schema can say: those are 422 and 404.
    "positive_data_acceptance",
)


def test_every_route_has_its_errors_and_examples(market: SmallMarket, tmp_path: Path) -> None:
    document = client_of(market, tmp_path).get("/openapi.json").json()
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {
        ("post", "/predict"),
        ("get", "/available-dates"),
        ("get", "/portfolio/{month}"),
        ("get", "/health"),
        ("get", "/metrics"),
    }
    for operation in operations.values():
        assert {"401", "403", "429", "500", "503"} <= operation["responses"].keys()
        assert {"APIKeyHeader": []} in operation["security"]
        assert {"HTTPBearer": []} in operation["security"]
    assert {"400", "408", "413", "422"} <= operations["post", "/predict"]["responses"].keys()
    schemas = document["components"]["schemas"]
    for name in ("PredictionQuery", "PredictionReply", "AvailableDates", "HealthReport"):
        assert schemas[name]["examples"]
    assert set(schemas["ErrorReply"]["properties"]) == {"detail"}
    assert "HTTPValidationError" not in schemas


@pytest.mark.slow
def test_the_server_is_what_its_document_says(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    environment = {
        "APEX_HOME": str(chain),
        "APEX_SERVE__RATE_LIMIT": "1000000/minute",
        "APEX_MODEL": str(market.bundle),
        "APEX_DATASET": str(market.dataset),
        "PANEL_CACHE_DIR": str(tmp_path / "cache"),
    }
    (tmp_path / "keys").write_text(KEY)
    environment["APEX_SERVE__API_KEY_FILE"] = str(tmp_path / "keys")
    with ServedApex(tmp_path / "log", environment=environment) as server:
        assert (
            httpx.post(f"{server.url}/predict", json={}, headers={"X-API-Key": KEY}, timeout=60).status_code
            == 200
        )
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "run",
                f"{server.url}/openapi.json",
                f"--exclude-checks={','.join(EXCLUDED)}",
                "--max-examples=60",
                f"--max-time={SECONDS}",
                "--seed=1",
                f"--header=X-API-Key: {KEY}",
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS * 4,
        )
        assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
        assert "Traceback" not in server.said()
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert 'status="500"' not in httpx.get(f"{server.url}/metrics").text
