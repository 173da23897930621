"""Predictions: the scores of `apex score`, computed once, found again, and never stale."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from apex_tasks.monthly.score import score
from apex_tasks.parameters import with_parameters
from apex_tasks.settings import load_settings
from tests.support import bundle_factory
from tests.support.serving import client_of
from tests.support.small_market import (
    CALENDAR,
    LAST_SESSION,
    STOCKS,
    SmallMarket,
    replaced,
    write_table,
)

BUILDING = "[Inference] Building panel cache..."
SAVED = "[Inference] Panel cache saved to: "
DAY = dt.date(2025, 9, 30)


@pytest.fixture(scope="module")
def served(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One server for the tests that change nothing."""
    with client_of(market, tmp_path_factory.mktemp("served")) as client:
        yield client


@pytest.fixture
def own(market: SmallMarket, tmp_path: Path) -> SmallMarket:
    """Copies of bundle and dataset that a test may change."""
    shutil.copytree(market.bundle, tmp_path / "bundle")
    shutil.copy(market.dataset, tmp_path / "dataset.parquet")
    return SmallMarket(tmp_path / "dataset.parquet", tmp_path / "bundle")


def replace(dataset: Path, market: SmallMarket) -> None:
    """Deliver other features, as the manual says: beside it, then renamed."""
    feature = bundle_factory.FEATURES[0]
    values = np.random.default_rng(1).standard_normal(market.table.num_rows, dtype=np.float32)
    write_table(replaced(market.table, **{feature: values}), dataset.with_suffix(".new")).replace(dataset)


@pytest.mark.parametrize("horizon", [1, 5, 10, 20])
def test_the_scores_are_those_of_apex_score(served: TestClient, market: SmallMarket, horizon: int) -> None:
    answer = served.post("/predict", json={"horizon": horizon, "top_k": 500, "date": str(DAY)})
    assert answer.status_code == 200
    expected = score(
        market.bundle, market.dataset, DAY, with_parameters(load_settings(), {"horizon": horizon})
    )
    got = answer.json()["predictions"]
    assert [one["code"] for one in got] == expected["Code"].tolist()
    assert np.array_equal(np.array([one["score"] for one in got]), expected["Score"].astype(np.float64))
    assert [one["rank"] for one in got] == list(range(1, STOCKS + 1))


def test_an_answer_says_what_it_is(served: TestClient, market: SmallMarket) -> None:
    answer = served.post("/predict", json={"top_k": 3}).json()
    assert answer["date"] == str(LAST_SESSION)
    assert answer["next_session"] == "2025-10-14"
    assert (answer["horizon"], answer["top_k"], len(answer["predictions"])) == (20, 3, 3)
    assert answer["bundle_version"] == "v0.1.0-prod"
    assert answer["synthetic"] is False
    assert answer["warnings"] == []


def test_every_field_has_a_default_from_the_settings(served: TestClient) -> None:
    answer = served.post("/predict", json={}).json()
    ranking = load_settings().ranking
    assert (answer["horizon"], answer["top_k"]) == (ranking.horizon, ranking.top_k)


def test_the_available_dates_are_those_with_enough_full_windows(
    served: TestClient, market: SmallMarket
) -> None:
    rows = market.prices.reset_index()
    nth = rows.sort_values("Date").groupby("Code").cumcount()
    full = rows[(nth >= 179).reindex(rows.index)].groupby("Date").size()
    expected = [str(day) for day in full[full >= 80].index]
    answer = served.get("/available-dates").json()
    assert answer == {
        "dates": expected,
        "first": expected[0],
        "last": expected[-1],
        "default": str(LAST_SESSION),
    }


def test_the_first_prediction_builds_and_the_next_ones_do_not(
    market: SmallMarket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with client_of(market, tmp_path) as client:
        first, second = (client.post("/predict", json={"top_k": 2}).json() for _ in range(2))
    assert (first.pop("cached"), second.pop("cached")) == (False, True)
    assert first == second
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count(BUILDING) == 1
    (saved,) = [line.removeprefix(SAVED) for line in lines if line.startswith(SAVED)]
    assert (Path(saved) / "rows.npy").is_file()

    caplog.clear()
    with client_of(market, tmp_path) as client:
        after = client.post("/predict", json={"top_k": 2}).json()
    assert after.pop("cached") is True
    assert after == first
    lines = [record.getMessage() for record in caplog.records]
    assert BUILDING not in lines
    assert f"[Inference] Panel cache hit: {saved}" in lines


def test_without_a_cache_every_prediction_is_built_and_nothing_stays(
    market: SmallMarket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    served: TestClient,
) -> None:
    caplog.set_level(logging.INFO)
    # Scratch folders of other servers on this machine come and go meanwhile.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with client_of(market, tmp_path, use_cache=False) as client:
        answers = [client.post("/predict", json={"top_k": 4}).json() for _ in range(2)]
        assert client.get("/health").json()["checks"]["cache"] == "off"
    assert [answer["cached"] for answer in answers] == [False, False]
    assert answers[0]["predictions"] == served.post("/predict", json={"top_k": 4}).json()["predictions"]
    assert [record.getMessage() for record in caplog.records].count(BUILDING) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_replaced_dataset_gives_new_scores_at_the_next_request(
    own: SmallMarket, market: SmallMarket, tmp_path: Path
) -> None:
    with client_of(own, tmp_path) as client:
        before = client.post("/predict", json={}).json()
        replace(own.dataset, market)
        after = client.post("/predict", json={}).json()
        assert after["cached"] is False
        assert after["dataset_sha256"] != before["dataset_sha256"]
        expected = score(own.bundle, own.dataset, LAST_SESSION, load_settings()).head(35)
        assert [one["code"] for one in after["predictions"]] == expected["Code"].tolist()
        assert [one["score"] for one in after["predictions"]] == expected["Score"].astype(float).tolist()
        assert after["predictions"] != before["predictions"]


@pytest.mark.slow
def test_a_dataset_that_goes_back_in_time_and_keeps_its_size_is_noticed(
    own: SmallMarket, market: SmallMarket, tmp_path: Path
) -> None:
    """An rsync that keeps times: neither size nor time of change tell."""

    status = own.dataset.stat()
    with client_of(own, tmp_path) as client:
        before = client.post("/predict", json={}).json()
        data = bytearray(own.dataset.read_bytes())
        other = market.changed(
            tmp_path / "other.parquet",
            **{bundle_factory.FEATURES[0]: -market.values(bundle_factory.FEATURES[0])},
        ).read_bytes()
        assert len(other) == len(data)
        own.dataset.write_bytes(other)
        os.utime(own.dataset, ns=(status.st_atime_ns, status.st_mtime_ns))
        after = client.post("/predict", json={}).json()
    assert after["dataset_sha256"] != before["dataset_sha256"]


def test_a_broken_dataset_is_told_and_a_mended_one_is_served_again(own: SmallMarket, tmp_path: Path) -> None:
    whole = own.dataset.read_bytes()
    with client_of(own, tmp_path) as client:
        before = client.post("/predict", json={}).json()
        own.dataset.write_bytes(whole[: len(whole) // 2])
        for answer in (client.post("/predict", json={}), client.get("/available-dates")):
            assert answer.status_code == 503
            (problem,) = answer.json()["detail"]
            assert "dataset is not a readable parquet file" in problem["reason"]
            assert answer.headers["retry-after"]
        health = client.get("/health")
        assert health.status_code == 503
        assert health.json()["status"] == "unavailable"
        assert "dataset is not a readable parquet file" in health.json()["reason"]
        own.dataset.unlink()
        assert "dataset is missing" in client.get("/health").json()["reason"]
        own.dataset.write_bytes(whole)
        assert client.get("/health").status_code == 200
        assert client.post("/predict", json={}).json()["predictions"] == before["predictions"]


def test_a_changed_bundle_is_refused_and_the_restored_one_served_again(
    own: SmallMarket, tmp_path: Path
) -> None:
    checkpoint = own.bundle / bundle_factory.CHECKPOINT
    whole = checkpoint.read_bytes()
    with client_of(own, tmp_path) as client:
        assert client.get("/health").status_code == 200
        checkpoint.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        answer = client.post("/predict", json={})
        assert answer.status_code == 503
        assert "sha256" in answer.json()["detail"][0]["reason"]
        assert client.get("/health").status_code == 503
        checkpoint.write_bytes(whole)
        assert client.post("/predict", json={}).status_code == 200
        assert client.get("/health").status_code == 200


def test_a_server_that_starts_on_a_broken_bundle_recovers_too(own: SmallMarket, tmp_path: Path) -> None:
    manifest = own.bundle / bundle_factory.MANIFEST
    whole = manifest.read_bytes()
    manifest.unlink()
    with client_of(own, tmp_path) as client:
        assert client.get("/health").status_code == 503
        manifest.write_bytes(whole)
        assert client.post("/predict", json={}).status_code == 200


def test_the_default_session_is_the_newest_complete_one(
    own: SmallMarket, market: SmallMarket, tmp_path: Path
) -> None:
    """A quarter of the last session's rows have not arrived."""
    kept = ~((market.dates == LAST_SESSION) & (np.arange(market.table.num_rows) % 4 == 0))
    write_table(market.table.filter(kept), own.dataset)
    with client_of(own, tmp_path) as client:
        assert client.post("/predict", json={}).json()["date"] == str(CALENDAR.previous_session(LAST_SESSION))
        named = client.post("/predict", json={"date": str(LAST_SESSION)})
    assert named.status_code == 503
    assert "prices_missing" in named.text


def test_a_bundle_with_other_weights_scores_the_same_panel_anew(
    own: SmallMarket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(own, tmp_path) as client:
        before = client.post("/predict", json={}).json()
        shutil.rmtree(own.bundle)
        weights = {name: -tensor for name, tensor in bundle_factory.weights().items()}
        bundle_factory.Draft(payload=weights).folder(own.bundle)
        caplog.clear()
        after = client.post("/predict", json={}).json()
    assert after["cached"] is False
    assert after["bundle_sha256"] != before["bundle_sha256"]
    assert after["predictions"] != before["predictions"]
    assert BUILDING not in caplog.text


def test_a_synthetic_bundle_is_marked(market: SmallMarket, tmp_path: Path) -> None:
    draft = bundle_factory.Draft()
    draft.manifest["synthetic"] = True
    made_up = dataclasses.replace(market, bundle=draft.folder(tmp_path / "bundle"))
    with client_of(made_up, tmp_path) as client:
        assert client.post("/predict", json={"top_k": 1}).json()["synthetic"] is True
