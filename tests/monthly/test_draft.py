"""The draft: what publish publishes, and nothing else than that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apex_tasks.monthly.apply_costs import PlanReference
from apex_tasks.monthly.build_panel import PanelReference
from apex_tasks.monthly.draft import DRAFTS, DraftReference
from apex_tasks.monthly.infer import ScoresReference
from apex_tasks.monthly.run import MonthlyRun
from apex_tasks.published.run_document import read_run
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store
from tests.support.small_market import JULY, SmallMarket, month, portfolio, published_bytes

Steps = tuple[MonthlyRun, PanelReference, ScoresReference, PlanReference, DraftReference]


def drafted(market: SmallMarket, home: Path, **given: Any) -> Steps:
    run = month(market, home, JULY, cold_start=True, **given)
    handshake = run.validate_bundle()
    panel = run.build_panel(handshake)
    scores = run.infer(handshake, panel)
    plan = run.apply_costs(handshake, panel, scores)
    return run, panel, scores, plan, run.draft(handshake, panel, scores, plan)


@pytest.fixture
def steps(market: SmallMarket, tmp_path: Path) -> Steps:
    return drafted(market, tmp_path)


def test_what_was_drafted_is_what_is_published(steps: Steps) -> None:
    run, panel, scores, plan, draft = steps
    run.publish(panel, scores, plan, draft)
    read = run.store.get(DRAFTS, draft.key)
    published = portfolio(run.store.root, JULY)
    for name in ("run.json", "report.html"):
        assert read.read_bytes(name) == published.read_bytes(name)


def test_a_draft_is_found_again(steps: Steps, market: SmallMarket, tmp_path: Path) -> None:
    assert drafted(market, tmp_path)[-1] == steps[-1]


def test_the_draft_of_another_plan_is_not_published(
    steps: Steps, market: SmallMarket, tmp_path: Path
) -> None:
    run, panel, scores, plan, draft = steps
    *_, other_plan, other_draft = drafted(market, tmp_path, top_k=36)
    for mixed_plan, mixed_draft in ((plan, other_draft), (other_plan, draft)):
        with pytest.raises(Refusal, match="not that of the plan") as refused:
            run.publish(panel, scores, mixed_plan, mixed_draft)
        assert mixed_plan.content_hash in refused.value.expected
        assert read_run(run.store.get(DRAFTS, mixed_draft.key)).hashes["plan"] in refused.value.received
    assert published_bytes(tmp_path) == {}


def test_a_draft_that_was_replaced_is_not_published(steps: Steps, tmp_path: Path) -> None:
    run, panel, scores, plan, draft = steps
    with pytest.raises(Refusal, match="not that of the plan"):
        run.publish(panel, scores, plan, draft.model_copy(update={"content_hash": "0" * 64}))
    assert published_bytes(tmp_path) == {}


def test_without_a_draft_nothing_is_published_and_the_message_says_what_to_clear(
    steps: Steps, tmp_path: Path
) -> None:
    run, panel, scores, plan, _ = steps
    with pytest.raises(Refusal, match="there is no draft of this run") as refused:
        run.publish(panel, scores, plan, None)
    assert "Clear the task approval" in refused.value.remedy
    assert published_bytes(tmp_path) == {}


def test_a_draft_of_another_store_is_not_found(steps: Steps, tmp_path: Path) -> None:
    run, panel, scores, plan, draft = steps
    elsewhere = replace(run, store=Store(tmp_path / "elsewhere"))
    with pytest.raises(Refusal, match="not in the store"):
        elsewhere.publish(panel, scores, plan, draft)
