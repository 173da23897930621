"""`apex serve` as its users run it: a process of its own, real connections, signals."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from bench_serve import burst
from served_apex import ServedApex

from apex_tasks.monthly.score import score
from apex_tasks.settings import load_settings
from tests.support import bundle_factory
from tests.support.small_market import AUGUST, LAST_SESSION, SmallMarket

pytestmark = pytest.mark.slow

BUILDING = "[Inference] Building panel cache..."
SAVED = "[Inference] Panel cache saved to: "
HIT = "[Inference] Panel cache hit: "
CLIENTS = 200

Serve = Callable[..., ServedApex]


@pytest.fixture
def serve(market: SmallMarket, tmp_path: Path) -> Serve:
    """A server of the small market with its cache below the test's folder; variables of its own."""

    def make(*options: object, **environment: str) -> ServedApex:
        return ServedApex(
            tmp_path / "log",
            *options,
            environment={
                "APEX_MODEL": str(market.bundle),
                "APEX_DATASET": str(market.dataset),
                "APEX_HOME": str(tmp_path / "home"),
                "PANEL_CACHE_DIR": str(tmp_path / "cache"),
                **environment,
            },
        )

    return make


def predict(server: ServedApex, **query: object) -> httpx.Response:
    return httpx.post(f"{server.url}/predict", json=query, timeout=60)


def test_a_restart_finds_what_was_built(serve: Serve, market: SmallMarket) -> None:
    with serve() as server:
        first = predict(server, top_k=500)
        assert first.status_code == 200
        assert predict(server, top_k=500).json()["cached"] is True
        lines = server.said().splitlines()
        assert lines.count(BUILDING) == 1
        (saved,) = [line.removeprefix(SAVED) for line in lines if line.startswith(SAVED)]
        assert (Path(saved) / "manifest.json").is_file()
        assert server.stop() in (0, -signal.SIGTERM)
    expected = score(market.bundle, market.dataset, LAST_SESSION, load_settings())
    assert [one["code"] for one in first.json()["predictions"]] == expected["Code"].tolist()
    assert [one["score"] for one in first.json()["predictions"]] == expected["Score"].astype(float).tolist()

    with serve() as server:
        again = predict(server, top_k=500)
        assert again.json() == {**first.json(), "cached": True}
        lines = server.said().splitlines()
        assert BUILDING not in lines
        assert HIT + saved in lines


def test_two_hundred_first_requests_build_once_and_so_do_two_servers(serve: Serve, tmp_path: Path) -> None:
    with serve() as one, serve() as other:
        for server in (one, other):
            assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200

        async def both() -> list[int]:
            rounds = await asyncio.gather(
                *(burst("cold", server.url, CLIENTS // 2) for server in (one, other))
            )
            return [each.errors for each in rounds]

        assert asyncio.run(both()) == [0, 0]
        assert (tmp_path / "log").read_text().count(BUILDING) == 1


def test_two_hundred_clients_at_once_are_all_answered(serve: Serve) -> None:
    with serve() as server:
        for name in ("cold", "warm", "warm"):
            assert asyncio.run(burst(name, server.url, CLIENTS)).errors == 0
        assert server.said().count(BUILDING) == 1
    with serve() as server:
        assert asyncio.run(burst("restarted", server.url, CLIENTS)).errors == 0
        assert asyncio.run(burst("warm", server.url, CLIENTS, repeats=5)).errors == 0
        metrics = httpx.get(f"{server.url}/metrics").text
        assert f'apex_serve_requests_total{{route="/predict",status="200"}} {CLIENTS * 6}.0' in metrics
        assert 'apex_serve_predictions_total{scores="built"} 0.0' in metrics


def test_a_kill_in_the_middle_of_a_build_leaves_nothing_half(serve: Serve, tmp_path: Path) -> None:
    with serve() as server, ThreadPoolExecutor() as pool:
        asking = pool.submit(predict, server)
        while BUILDING not in server.said():
            time.sleep(0.001)
        server.stop(signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            asking.result()
    with serve() as server:
        answer = predict(server)
        assert answer.status_code == 200
        assert answer.json()["predictions"]
    for folder in tmp_path.glob("cache/*/*/*"):
        assert (folder / "manifest.json").is_file()
        assert [file for file in folder.iterdir() if file.name.startswith(".")] == []


def test_a_request_that_takes_too_long_is_told_so_while_its_build_goes_on(serve: Serve) -> None:
    with serve(APEX_SERVE__REQUEST_TIMEOUT_SECONDS="0.05") as server:
        late = []
        while (answer := predict(server)).status_code != 200:
            late.append(answer)
        assert late
        for answer in late:
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert "not ready within 0.05 s" in answer.json()["detail"][0]["reason"]
        assert server.said().count(BUILDING) == 1
        assert "Traceback" not in server.said()


def test_a_signal_lets_open_requests_end(serve: Serve) -> None:
    with serve() as server, ThreadPoolExecutor() as pool:
        asking = pool.submit(predict, server)
        while BUILDING not in server.said():
            time.sleep(0.001)
        assert server.stop() in (0, -signal.SIGTERM)
        assert asking.result().status_code == 200
        assert "Traceback" not in server.said()


@pytest.mark.parametrize("sent", [b"", b'{"horizon"'], ids=["nothing", "half"])
def test_a_body_that_does_not_arrive_is_given_up(serve: Serve, sent: bytes) -> None:
    with serve(APEX_SERVE__BODY_TIMEOUT_SECONDS="0.3") as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 20\r\n\r\n" + sent
            )
            received = b""
            while part := connection.recv(65_536):  # until the server closes
                received += part
        head, _, body = received.partition(b"\r\n\r\n")
        assert b" 408 " in head.splitlines()[0]
        assert json.loads(body)["detail"][0]["reason"] == "the body did not arrive within 0.3 s"
        assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200


def test_a_client_behind_a_proxy_is_not_this_host(serve: Serve) -> None:
    with serve(FORWARDED_ALLOW_IPS="*") as server:
        for name in ("203.0.113.7", "127.0.0.1", "127.0.0.1, 203.0.113.7"):
            answer = httpx.get(f"{server.url}/available-dates", headers={"X-Forwarded-For": name})
            assert answer.status_code == 403


def test_keys_open_and_stay_out_of_the_log(serve: Serve, tmp_path: Path) -> None:
    key, wrong = "correct-horse-battery", "wrong-horse-battery-staple"
    (tmp_path / "keys").write_text(key)
    with serve(APEX_SERVE__API_KEY_FILE=str(tmp_path / "keys")) as server:
        assert predict(server).status_code == 401
        for name, status in ((key, 200), (wrong, 401)):
            for headers in ({"X-API-Key": name}, {"Authorization": f"Bearer {name}"}):
                answer = httpx.post(f"{server.url}/predict", json={}, headers=headers, timeout=60)
                assert answer.status_code == status
        assert httpx.get(f"{server.url}/health").status_code == 200
        said = server.said()
    assert key not in said
    assert wrong not in said


def test_published_months_are_served_beside_predictions(serve: Serve, chain: Path) -> None:
    with serve(APEX_HOME=str(chain)) as server:
        answer = httpx.get(f"{server.url}/portfolio/2025-08")
        assert answer.json()["rebalance_date"] == str(AUGUST)
        assert "apex_turnover " in httpx.get(f"{server.url}/metrics").text


def test_the_checkpoint_and_config_of_the_notes_are_taken(serve: Serve, market: SmallMarket) -> None:
    options = ("--config", market.bundle / bundle_factory.CONFIG, "--horizon", 5)
    with serve(*options, APEX_MODEL=str(market.bundle / bundle_factory.CHECKPOINT), USE_CACHE="0") as server:
        answers = [predict(server).json() for _ in range(2)]
        assert [(one["horizon"], one["cached"]) for one in answers] == [(5, False), (5, False)]
        assert server.said().count(BUILDING) == 2


@pytest.mark.parametrize("fault", ["config", "port", "cache", "use", "model"])
def test_a_wrong_start_ends_at_once_with_one_message(
    market: SmallMarket, tmp_path: Path, chain: Path, fault: str
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("APEX_")},
        "APEX_MODEL": str(market.bundle),
        "APEX_DATASET": str(market.dataset),
        "PANEL_CACHE_DIR": str(chain if fault == "cache" else tmp_path / "cache"),
    }
    options, code = [], 3
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if fault == "config":
            other = Path(shutil.copy(market.bundle / bundle_factory.CONFIG, tmp_path / "other.yaml"))
            other.write_text(other.read_text().replace("min_stocks_per_day: 80", "min_stocks_per_day: 1"))
            environment["APEX_CONFIG"] = str(other)
        elif fault == "port":
            options = ["--port", str(taken.getsockname()[1])]
        elif fault == "use":
            environment["USE_CACHE"], code = "perhaps", 2
        elif fault == "model":
            del environment["APEX_MODEL"]
        done = subprocess.run(
            [sys.executable, "-m", "apex_tasks.cli", "serve", *options],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code == 3:
        assert done.stderr.splitlines()[-1].startswith("REFUSED ")
