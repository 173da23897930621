"""The published metrics beside the four alerts: rank correlation, bundle age, horizon, latency alerts."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from apex_tasks.refusal import ThresholdBroken
from apex_tasks.settings import AlertThreshold
from tests.support import bundle_factory
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    JULY,
    REBALANCES,
    SmallMarket,
    home_after,
    month,
    portfolio,
    run,
    small_settings,
    write_table,
)

pytestmark = pytest.mark.slow


def metrics(home: object, rebalance: dt.date) -> dict:
    return portfolio(home, rebalance).read_json("run.json")["metrics"]


def scores(home: object, rebalance: dt.date) -> dict[str, float]:
    table = pd.read_parquet(io.BytesIO(portfolio(home, rebalance).read_bytes("scores.parquet")))
    return dict(zip(table["Code"], table["Score"].astype(float), strict=True))


def spearman_by_hand(a: dict[str, float], b: dict[str, float]) -> float:
    """1 - 6 sum(d^2) / (n (n^2 - 1)), d the difference of a stock's places; no two scores are equal here."""
    both = sorted(a.keys() & b.keys())
    total = 0
    for code in both:
        place_a = sum(1 for other in both if a[other] <= a[code])
        place_b = sum(1 for other in both if b[other] <= b[code])
        total += (place_a - place_b) ** 2
    n = len(both)
    return 1 - 6 * total / (n * (n * n - 1))


def test_the_rank_correlation_is_that_with_the_parents_scores(chain: Path) -> None:
    assert metrics(chain, JULY)["score_rank_correlation"] is None
    for before, now in pairwise(REBALANCES):
        expected = spearman_by_hand(scores(chain, before), scores(chain, now))
        assert metrics(chain, now)["score_rank_correlation"] == pytest.approx(expected, abs=1e-12)
        assert 0.1 < expected < 1


def test_the_rank_correlation_counts_stocks_in_both_months_only(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    """A stock that left the dataset since has a score in the parent alone."""
    home = home_after(chain, tmp_path, JULY)
    gone = set(list(scores(chain, JULY))[10:20])
    kept = pa.array([code not in gone for code in market.codes])
    settings = small_settings(home)
    freshness = settings.freshness.model_copy(update={"min_row_ratio": 0.5})
    dataset = write_table(market.table.filter(kept), tmp_path / "fewer.parquet")
    judgement = settings.judgement.model_copy(update={"min_priced_ratio": 0.5, "max_lost_share": 0.5})
    settings = settings.model_copy(update={"freshness": freshness, "judgement": judgement})
    run(market, home, AUGUST, settings, dataset=str(dataset))
    now = scores(home, AUGUST)
    assert len(now) == 110
    expected = spearman_by_hand(scores(chain, JULY), now)
    assert metrics(home, AUGUST)["score_rank_correlation"] == pytest.approx(expected, abs=1e-12)


def test_only_a_book_built_from_cash_is_a_first_build(chain: Path) -> None:
    assert [metrics(chain, day)["first_build"] for day in REBALANCES] == [1, 0, 0, 0]


def test_the_calendar_horizon_is_what_is_left_of_it(chain: Path) -> None:
    for day in REBALANCES:
        assert day + dt.timedelta(metrics(chain, day)["calendar_horizon_days"]) == dt.date(2099, 12, 31)


@pytest.mark.parametrize(
    ("created", "age"),
    [
        ("2025-06-20", 10),
        ("2025-06-20T23:59:59", 10),
        ("2025-06-20T14:59:00Z", 10),
        ("2025-06-20T15:00:00Z", 9),  # midnight in Tokyo
        ("2025-07-05", -5),
        ("last week", None),
        (None, None),
        (20250620.5, None),
    ],
)
def test_the_bundle_age_runs_from_its_creation_to_the_as_of(
    market: SmallMarket, tmp_path: Path, created: object, age: int | None
) -> None:
    draft = bundle_factory.Draft()
    draft.manifest["created"] = created
    run(market, tmp_path, JULY, cold_start=True, bundle=str(draft.folder(tmp_path / "bundle")))
    assert AS_OF[JULY] == dt.date(2025, 6, 30)
    assert metrics(tmp_path, JULY)["bundle_age_days"] == age


def latency_settings(home: Path, severity: str) -> dict:
    bound = AlertThreshold(
        metric="apex_inference_latency_ms",
        comparison=">",
        bound=0,
        severity=severity,
        remedy="Look.",
        runbook="slow-inference",
    )
    return {"settings": small_settings(home, thresholds=(bound,))}


def test_a_slow_answer_of_the_store_is_told_but_not_part_of_the_result(
    market: SmallMarket, tmp_path: Path
) -> None:
    warned = latency_settings(tmp_path, "WARNING")
    run(market, tmp_path, JULY, **warned, cold_start=True, dry_run=True)  # computes the scores
    said: list[str] = []
    steps = replace(month(market, tmp_path, JULY, **warned, cold_start=True), log=said.append)
    handshake = steps.validate_bundle()
    panel = steps.build_panel(handshake)
    again = steps.infer(handshake, panel)
    assert again.cached
    assert any(line.startswith("WARNING: apex_inference_latency_ms = ") for line in said)
    plan = steps.apply_costs(handshake, panel, again)
    steps.publish(panel, again, plan, steps.draft(handshake, panel, again, plan))
    published = portfolio(tmp_path, JULY)
    (alert,) = published.read_json("execution.json")["alerts"]
    assert (alert["metric"], alert["value"]) == ("apex_inference_latency_ms", again.latency_ms)
    assert published.read_json("run.json")["alerts"] == []


def test_a_first_pass_over_the_scores_is_never_slow(market: SmallMarket, tmp_path: Path) -> None:
    run(market, tmp_path, JULY, **latency_settings(tmp_path, "CRITICAL"), cold_start=True)
    assert portfolio(tmp_path, JULY).read_json("execution.json")["alerts"] == []


def test_a_critical_latency_stops_the_run_before_its_plan(market: SmallMarket, tmp_path: Path) -> None:
    critical = latency_settings(tmp_path, "CRITICAL")
    run(market, tmp_path, JULY, **critical, cold_start=True, dry_run=True)
    with pytest.raises(ThresholdBroken, match="apex_inference_latency_ms"):
        run(market, tmp_path, JULY, **critical, cold_start=True)
    assert not (tmp_path / "portfolio").exists()
