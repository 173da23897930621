"""Items on the bundle, the dataset and the stages before: each can be done, open or failed, and says why."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from apex_tasks.rehearsal.outcome import ItemState, StageVerdict
from apex_tasks.rehearsal.replay import MonthlyRehearsal
from apex_tasks.rehearsal.smoke_test import SmokeReport
from tests.support import bundle_factory
from tests.support.deployments import DONE, FAILED, OPEN, Deploy, check_item
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    JULY,
    OCTOBER,
    SEPTEMBER,
    SmallMarket,
    home_after,
    write_table,
)


def test_bundle_verified_names_files_and_hash(deploy: Deploy) -> None:
    deployment = deploy()
    state, evidence = check_item("Bundle verified", deployment)
    assert state is DONE
    assert bundle_factory.CHECKPOINT in evidence
    assert bundle_factory.CONFIG in evidence
    assert bundle_factory.GROUPS not in evidence
    assert deployment.bundle.bundle_sha256 in evidence


def test_files_without_a_hash_and_hashes_without_a_file_are_open(deploy: Deploy, tmp_path: Path) -> None:
    title = "Every file has a hash in MANIFEST.lock"
    state, evidence = check_item(title, deploy())
    assert state is OPEN
    unlisted, unshipped = evidence.split("; ")
    assert bundle_factory.GROUPS in unlisted
    assert bundle_factory.ALIASES in unlisted
    assert "output/ml_dataset_latest_clean_with_adv.parquet" in unshipped
    state, evidence = check_item(
        title, deploy(bundle=bundle_factory.Draft().all_listed().folder(tmp_path / "b"))
    )
    assert (state, evidence.startswith("hashed but not in the bundle")) == (OPEN, True)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("candidate_kept", 54, "candidate_kept 54 expected, 53 here"),
        ("top_k", 30, "top_k 30 expected, 35 here"),
        ("horizon", 10, "horizon 10 expected, 20 here"),
        ("rebalance_freq", "weekly", "rebalance_freq weekly expected, monthly here"),
    ],
)
def test_other_behaviour_than_the_manifest_expects_fails(
    deploy: Deploy, tmp_path: Path, name: str, value: object, told: str
) -> None:
    draft = bundle_factory.Draft()
    draft.manifest["expected_behavior"][name] = value
    assert check_item(
        "Expected behaviour of the manifest met", deploy(bundle=draft.folder(tmp_path / "b"))
    ) == (
        FAILED,
        told,
    )


def test_expected_behaviour_is_met_only_as_far_as_it_was_looked_at(deploy: Deploy, tmp_path: Path) -> None:
    title = "Expected behaviour of the manifest met"
    state, evidence = check_item(title, deploy())
    assert state is DONE
    for part in ("effective_dim 178", "candidate_kept 53", "top_k 35", "horizon 20", bundle_factory.INIT_LOG):
        assert part in evidence
    state, evidence = check_item(title, deploy(months=None))
    assert state is OPEN
    assert evidence.startswith("not looked at: candidate_kept 53; met: model_init_log")
    draft = bundle_factory.Draft()
    draft.manifest["expected_behavior"]["mood"] = "good"
    assert check_item(title, deploy(bundle=draft.folder(tmp_path / "mood")))[1].startswith(
        "not looked at: mood good"
    )
    draft.manifest["expected_behavior"] = {}
    assert check_item(title, deploy(bundle=draft.folder(tmp_path / "none"))) == (
        OPEN,
        "not looked at: the manifest expects nothing; met: none",
    )


def test_the_number_that_auto_gives_is_the_same_model(deploy: Deploy, tmp_path: Path) -> None:
    draft = bundle_factory.Draft()
    draft.manifest["expected_behavior"]["model_init_log"] = bundle_factory.INIT_LOG.replace("auto", "2")
    bundle = draft.folder(tmp_path / "b")
    assert check_item("Expected behaviour of the manifest met", deploy(bundle=bundle))[0] is DONE


def test_smoke_test_and_rehearsal_are_items(
    deploy: Deploy, tried: tuple[SmokeReport, MonthlyRehearsal]
) -> None:
    smoke, months = tried
    assert check_item("Smoke test passed", deploy(smoke=None)) == (OPEN, "not run")
    assert check_item("Months rehearsed", deploy(months=None)) == (OPEN, "not run")
    assert check_item("Smoke test passed", deploy()) == (DONE, smoke.summary)
    assert check_item("Months rehearsed", deploy()) == (DONE, months.summary)
    bad = {"verdict": StageVerdict.FAILED, "problems": ("it differs",)}
    assert check_item("Smoke test passed", deploy(smoke=smoke.model_copy(update=bad)))[0] is FAILED
    assert check_item("Months rehearsed", deploy(months=months.model_copy(update=bad))) == (
        FAILED,
        "it differs",
    )
    fewer = months.model_copy(update={"requested": 4})
    state, evidence = check_item("Months rehearsed", deploy(months=fewer))
    assert state is OPEN
    assert (
        "4 were asked for, but the dataset begins on 2024-09-18 and a window needs 180 sessions" in evidence
    )


@pytest.mark.parametrize(
    ("today", "state", "told"),
    [
        (OCTOBER, DONE, "rebalance 2025-10-01, as-of 2025-09-30: 120 rows, trailing median 120"),
        (dt.date(2025, 11, 3), DONE, "rebalance 2025-10-01, as-of 2025-09-30"),
        (dt.date(2025, 11, 4), OPEN, "as-of 2025-10-31: no rows, due; the last date is 2025-10-10"),
    ],
)
def test_the_dataset_is_fresh_for_the_next_run_or_awaited(
    deploy: Deploy, today: dt.date, state: ItemState, told: str
) -> None:
    found = check_item("Dataset fresh for the next run", deploy(today=today))
    assert found[0] is state
    assert told in found[1]


def test_a_delivery_that_is_not_sound_fails(deploy: Deploy, market: SmallMarket, tmp_path: Path) -> None:
    closes = market.values("Close")
    closes[market.dates >= AS_OF[OCTOBER]] *= 1000
    dataset = market.changed(tmp_path / "thousands.parquet", Close=closes)
    state, evidence = check_item("Dataset fresh for the next run", deploy(dataset=dataset, today=OCTOBER))
    assert state is FAILED
    assert "market_moved" in evidence


def test_a_half_delivered_session_is_not_fresh(deploy: Deploy, market: SmallMarket, tmp_path: Path) -> None:
    few = sorted(set(market.codes))[:10]
    kept = [
        day != AS_OF[OCTOBER] or code not in few for day, code in zip(market.dates, market.codes, strict=True)
    ]
    dataset = write_table(market.table.filter(pa.array(kept)), tmp_path / "half.parquet")
    state, evidence = check_item("Dataset fresh for the next run", deploy(dataset=dataset, today=OCTOBER))
    assert state is OPEN
    assert evidence.endswith("110 rows, trailing median 120, at least 95% of it needed")


def test_the_published_month_makes_the_coming_one_next(deploy: Deploy, chain: Path, tmp_path: Path) -> None:
    home = home_after(chain, tmp_path / "published", JULY, AUGUST, SEPTEMBER, OCTOBER)
    assert deploy(today=OCTOBER).next_rebalance == OCTOBER
    assert deploy(today=dt.date(2025, 10, 31)).next_rebalance == OCTOBER
    deployment = deploy(home=home, today=OCTOBER)
    assert deployment.next_rebalance == dt.date(2025, 11, 4)
    state, evidence = check_item("Dataset fresh for the next run", deployment)
    assert (state, "no rows, not yet due" in evidence) == (OPEN, True)
    grace = {"schedule": {"grace_days": 3}}
    assert deploy(today=dt.date(2025, 10, 4), sections=grace).next_rebalance == OCTOBER
    assert deploy(today=dt.date(2025, 10, 5), sections=grace).next_rebalance == dt.date(2025, 11, 4)


def test_a_dataset_that_reaches_not_far_enough_back_fails(
    deploy: Deploy, market: SmallMarket, tmp_path: Path
) -> None:
    title = "Dataset covers the lookback"
    assert check_item(title, deploy()) == (
        DONE,
        "260 sessions from 2024-09-18 to 2025-10-10; "
        "on the last, 120 of 120 stocks have 180 rows, at least 80 needed",
    )
    first = sorted(set(market.dates))[-179]
    dataset = write_table(market.table.filter(pa.array(market.dates >= first)), tmp_path / "short.parquet")
    state, evidence = check_item(title, deploy(dataset=dataset))
    assert state is FAILED
    assert evidence.startswith("179 sessions from ")
    assert "on the last, 0 of 120 stocks have 180 rows" in evidence
