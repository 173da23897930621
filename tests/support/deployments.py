"""Items of the deployment checklist, checked one by one."""

from __future__ import annotations

from collections.abc import Callable

from apex_tasks.rehearsal.checklist import CHECKLIST, run_checklist
from apex_tasks.rehearsal.deployment import Deployment
from apex_tasks.rehearsal.outcome import ItemState

DONE, OPEN, FAILED = ItemState.DONE, ItemState.OPEN, ItemState.FAILED
ITEMS = {item.title: item for item in CHECKLIST}
Deploy = Callable[..., Deployment]


def check_item(title: str, deployment: Deployment) -> tuple[ItemState, str]:
    """State of one item, and the evidence for it."""
    (outcome,) = run_checklist(deployment, [ITEMS[title]])
    return outcome.state, outcome.evidence
