"""Who may ask: holders of a key, or this host alone while there is no key."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from apex_tasks.refusal import Refusal
from tests.support.serving import ELSEWHERE, client_of
from tests.support.small_market import SmallMarket

KEY, OTHER = "k" * 32, "o" * 40
ROUTES = [
    ("POST", "/predict"),
    ("GET", "/available-dates"),
    ("GET", "/portfolio/2025-07"),
    ("GET", "/health"),
]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# the desk\n{KEY}\n\n{OTHER}\n")
    return path


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_keys_only_this_host_is_served(
    market: SmallMarket, tmp_path: Path, method: str, path: str
) -> None:
    here = client_of(market, tmp_path)
    assert here.request(method, path, json={}).status_code in (200, 404)
    strangers = [
        client_of(market, tmp_path, client=ELSEWHERE),
        client_of(market, tmp_path, client=ELSEWHERE, base_url="http://localhost"),
        # A page of another host whose name was made to mean this one.
        client_of(market, tmp_path, base_url="http://evil.example:8000"),
    ]
    for stranger in strangers:
        answer = stranger.request(method, path, json={})
        assert answer.status_code == 403
        assert "API key" in answer.json()["detail"][0]["reason"]
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert here.request(method, path, json={}, headers={name: "127.0.0.1"}).status_code == 403


@pytest.mark.parametrize("address", ["::1", "127.0.0.53"])
def test_every_loopback_address_is_this_host(market: SmallMarket, tmp_path: Path, address: str) -> None:
    for url in ("http://localhost:8000", "http://[::1]:8000", "http://127.0.0.1"):
        client = client_of(market, tmp_path, client=(address, 1), base_url=url)
        assert client.get("/available-dates").status_code == 200


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_every_key_opens_either_way(market: SmallMarket, tmp_path: Path, key_file: Path, key: str) -> None:
    client = client_of(market, tmp_path, client=ELSEWHERE, api_key_file=str(key_file))
    assert client.get("/available-dates", headers={"X-API-Key": key}).status_code == 200
    assert client.get("/available-dates", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_hashes_work_as_keys_do(market: SmallMarket, tmp_path: Path, key_file: Path) -> None:
    named = ", ".join([hashed("a" * 20), hashed("b" * 20)])
    client = client_of(market, tmp_path, api_key_hashes=named, api_key_file=str(key_file))
    for key in ("a" * 20, "b" * 20, KEY):
        assert client.get("/available-dates", headers={"X-API-Key": key}).status_code == 200
    assert client.get("/available-dates", headers={"X-API-Key": hashed("a" * 20)}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": KEY.upper()},
        {"X-API-Key": "# the desk"},
        {"X-API-Key": b"\xff\xfe"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"Authorization": "Bearer"},
    ],
    ids=repr,
)
def test_anything_else_is_401_also_from_this_host(
    market: SmallMarket, tmp_path: Path, key_file: Path, headers: dict[str, str | bytes]
) -> None:
    client = client_of(market, tmp_path, api_key_file=str(key_file))
    for method, path in ROUTES[:3]:
        answer = client.request(method, path, json={}, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["detail"][0]["field"] == "X-API-Key"


def test_probes_need_no_key_from_this_host_and_one_from_elsewhere(
    market: SmallMarket, tmp_path: Path, key_file: Path
) -> None:
    here = client_of(market, tmp_path, api_key_file=str(key_file))
    elsewhere = client_of(market, tmp_path, api_key_file=str(key_file), client=ELSEWHERE)
    for path in ("/health", "/metrics"):
        assert here.get(path).status_code == 200
        assert elsewhere.get(path).status_code == 401
        assert elsewhere.get(path, headers={"X-API-Key": KEY}).status_code == 200


def test_a_changed_file_of_keys_is_in_force_at_once(
    market: SmallMarket, tmp_path: Path, key_file: Path
) -> None:
    client = client_of(market, tmp_path, api_key_file=str(key_file))
    assert client.get("/available-dates", headers={"X-API-Key": KEY}).status_code == 200
    key_file.write_text("n" * 32)
    assert client.get("/available-dates", headers={"X-API-Key": KEY}).status_code == 401
    assert client.get("/available-dates", headers={"X-API-Key": "n" * 32}).status_code == 200
    key_file.unlink()  # locked out, not opened to all
    answer = client.get("/available-dates", headers={"X-API-Key": "n" * 32})
    assert answer.status_code == 503
    assert client.get("/available-dates").status_code == 503


@pytest.mark.parametrize("content", ["", "# nothing\n", "short\n", f"{KEY}\nshort\n"])
def test_a_useless_file_of_keys_is_refused_at_the_start(
    market: SmallMarket, tmp_path: Path, key_file: Path, content: str
) -> None:
    key_file.write_text(content)
    with pytest.raises(Refusal, match="API keys") as refused:
        client_of(market, tmp_path, api_key_file=str(key_file))
    assert KEY not in str(refused.value)


def test_no_key_is_ever_logged_or_answered(
    market: SmallMarket, tmp_path: Path, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = client_of(market, tmp_path, api_key_file=str(key_file))
    wrong = "w" * 32
    texts = [
        client.post("/predict", json={"horizon": 7}, headers={"X-API-Key": KEY}).text,
        client.get("/available-dates", headers={"X-API-Key": wrong}).text,
        client.get("/metrics", headers={"X-API-Key": KEY}).text,
        caplog.text,
    ]
    for text in texts:
        assert KEY not in text
        assert wrong not in text
        assert hashed(KEY) not in text
