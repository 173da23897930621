"""A bundle whose lower outputs are better: everything that ranks agrees with what is traded.

The mirrored bundle has the heads of the other negated and says `sign: -1`; float32 negates exactly, so that all it
publishes must be the other's, to the byte.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from apex_tasks.backtesting.backtest import BacktestRequest, backtest, open_market
from apex_tasks.monthly.score import score
from tests.support.bundle_factory import mirrored_bundle
from tests.support.serving import client_of
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    CALENDAR,
    JULY,
    LAST_SESSION,
    SmallMarket,
    portfolio,
    run,
    small_settings,
)

NEUTRAL = {"hysteresis": True, "neutralisation": True}


@pytest.fixture(scope="module")
def pair(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> list[SmallMarket]:
    folder = tmp_path_factory.mktemp("mirrored")
    return [SmallMarket(market.dataset, mirrored_bundle(folder / f"{sign:+d}", sign)) for sign in (1, -1)]


def without_identities(run_json: bytes) -> dict[str, Any]:
    document = json.loads(run_json)
    for part in ("hashes", "bundle", "parent"):
        del document[part]
    return document


@pytest.mark.parametrize("enhanced", [{}, NEUTRAL], ids=["baseline", "neutralised"])
def test_a_mirrored_bundle_publishes_the_same_bytes(
    pair: list[SmallMarket], tmp_path: Path, enhanced: dict[str, Any]
) -> None:
    files: list[dict[str, Any]] = []
    for number, mirrored in enumerate(pair):
        home, found = tmp_path / str(number), {}
        settings = small_settings(home)
        settings = settings.model_copy(update={"enhanced": settings.enhanced.model_copy(update=enhanced)})
        for day in (JULY, AUGUST):
            run(mirrored, home, day, settings, cold_start=day == JULY)
            published = portfolio(home, day)
            for name in ("scores.parquet", "portfolio.csv", "orders.csv", "book.json"):
                found[f"{day} {name}"] = published.read_bytes(name)
            found[f"{day} run.json"] = without_identities(published.read_bytes("run.json"))
        files.append(found)
    assert files[0] == files[1]


def test_the_best_rank_is_what_is_bought(pair: list[SmallMarket], tmp_path: Path) -> None:
    run(pair[1], tmp_path, JULY, cold_start=True)
    published = portfolio(tmp_path, JULY)
    scores = pd.read_parquet(io.BytesIO(published.read_bytes("scores.parquet")))
    assert scores["Score"].is_monotonic_decreasing
    assert scores["Rank"].tolist() == list(range(1, len(scores) + 1))
    document = json.loads(published.read_bytes("run.json"))
    candidates = document["selection"]["candidates"]
    assert candidates == scores["Code"].head(len(candidates)).tolist()
    metrics = document["metrics"]
    assert (metrics["score_best"], metrics["score_worst"]) == (scores["Score"].max(), scores["Score"].min())
    book = pd.read_csv(io.BytesIO(published.read_bytes("portfolio.csv")), dtype={"code": str})
    assert set(book["code"]) <= set(candidates)
    assert book["rank"].max() <= len(candidates)
    assert book["score"].is_monotonic_decreasing


@pytest.mark.parametrize("horizon", [5, 20])
def test_apex_score_and_the_api_rank_as_a_run_does(
    pair: list[SmallMarket], tmp_path: Path, horizon: int
) -> None:
    day = AS_OF[AUGUST]
    settings = small_settings(tmp_path)
    ranking = settings.ranking.model_copy(update={"horizon": horizon})
    settings = settings.model_copy(update={"ranking": ranking})
    tables = [score(mirrored.bundle, mirrored.dataset, day, settings) for mirrored in pair]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    query = {"date": str(day), "horizon": horizon, "top_k": 10}
    with client_of(pair[1], tmp_path) as client:
        reply = client.post("/predict", json=query).json()
    best = tables[0].head(10)
    assert [row["code"] for row in reply["predictions"]] == best["Code"].tolist()
    assert [row["score"] for row in reply["predictions"]] == best["Score"].tolist()


@pytest.mark.slow
def test_backtests_of_mirrored_bundles_are_equal(pair: list[SmallMarket]) -> None:
    one, other = (
        backtest(
            open_market(
                BacktestRequest(
                    bundle=str(mirrored.bundle),
                    dataset=str(mirrored.dataset),
                    start=JULY,
                    end=LAST_SESSION,
                    settings=small_settings("unused"),
                ),
                CALENDAR,
            )
        )
        for mirrored in pair
    )
    assert (one.daily, one.rebalances) == (other.daily, other.rebalances)
