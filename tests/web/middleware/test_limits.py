"""How many requests one client may send."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from tests.support.serving import ELSEWHERE, client_of
from tests.support.small_market import SmallMarket


def statuses(client: TestClient, count: int) -> list[int]:
    return [client.get("/openapi.json").status_code for _ in range(count)]


def test_too_many_requests_are_told_when_to_come_back(market: SmallMarket, tmp_path: Path) -> None:
    client = client_of(market, tmp_path, rate_limit="3/hour")
    assert statuses(client, 5) == [200, 200, 200, 429, 429]
    answer = client.get("/health")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    assert answer.json()["detail"][0]["reason"] == "more than 3 per 1 hour from this address"


def test_each_client_has_its_own_count(market: SmallMarket, tmp_path: Path) -> None:
    client = client_of(market, tmp_path, rate_limit="2/hour")
    for address, expected in (
        (ELSEWHERE[0], [200, 200, 429]),
        ("203.0.113.8", [200, 200, 429]),
        ("2001:db8::1", [200, 200, 429]),
        ("2001:db8::ffff", [429]),  # the same subscriber
        ("2001:db8:0:1::1", [200]),
    ):
        other = TestClient(client.app, client=(address, 1))
        assert statuses(other, len(expected)) == expected
