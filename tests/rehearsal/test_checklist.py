"""The checklist as a whole: nothing fails on a sound deployment, and what breaks a check is its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apex_tasks.rehearsal.checklist import Item, failures, run_checklist
from apex_tasks.rehearsal.deployment import Deployment
from apex_tasks.rehearsal.outcome import ItemOutcome, done
from tests.support import bundle_factory
from tests.support.deployments import DONE, FAILED, ITEMS, OPEN, Deploy
from tests.support.small_market import (
    AUGUST,
    OCTOBER,
    SEPTEMBER,
    SmallMarket,
    run_chain,
)

pytestmark = pytest.mark.slow


def test_a_new_deployment_has_open_items_and_no_failed_one(deploy: Deploy) -> None:
    outcomes = run_checklist(deploy())
    assert [item.title for item in outcomes] == list(ITEMS)
    assert {item.title for item in outcomes if item.state is OPEN} == {
        "Every file has a hash in MANIFEST.lock",
        "Book to start from",
        "Audit trail verified",
        "Somebody is told",
        "Metrics are sent",
    }
    assert failures(outcomes) == []
    for item in outcomes:
        assert len(item.evidence) > 5
        assert "\n" not in item.evidence


def test_a_deployment_in_order_has_everything_done(
    deploy: Deploy, market: SmallMarket, tmp_path: Path
) -> None:
    draft = bundle_factory.Draft().all_listed()
    del draft.manifest["dataset"]
    run_chain(market, tmp_path / "home", (AUGUST, SEPTEMBER))
    deployment = deploy(
        bundle=draft.folder(tmp_path / "listed"),
        today=OCTOBER,
        sections={"notifications": {"email_to": ("a@example.com",)}, "statsd": {"host": "127.0.0.1"}},
        connections={"apex_slack": False, "apex_smtp": True},
    )
    outcomes = run_checklist(deployment)
    assert [f"{f.title}: {f.evidence}" for f in outcomes if f.state is not DONE] == []


def test_a_check_that_meets_a_refusal_or_a_lost_disk_has_failed(deploy: Deploy, tmp_path: Path) -> None:
    def lost(_: Deployment) -> Any:
        raise OSError(5, "Input/output error")

    (tmp_path / "file").write_text("in the way")
    deployment = deploy(home=tmp_path / "file" / "home")
    items = [
        Item("Lost", lost),
        ITEMS["Store can be written and locked"],
        Item("After", lambda _: done("seen")),
    ]
    first, second, after = run_checklist(deployment, items)
    assert (first.state, first.evidence) == (FAILED, "OSError: [Errno 5] Input/output error")
    assert second.state is FAILED
    assert str(tmp_path / "file") in second.evidence
    assert after == ItemOutcome(title="After", state=DONE, evidence="seen")
    assert failures([first, second, after]) == [f"{f.title}: {f.evidence}" for f in (first, second)]
