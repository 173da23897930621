"""The deployment checklist: every item with the evidence for its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from apex_tasks.refusal import Refusal
from apex_tasks.rehearsal import input_checks, operation_checks, store_checks
from apex_tasks.rehearsal.deployment import Deployment, Finding, ItemAnswer, ItemState, failed


class Item(NamedTuple):
    """A title, and the check that answers for it."""

    title: str
    check: Callable[[Deployment], ItemAnswer]


CHECKLIST = (
    Item("Bundle verified", input_checks.bundle_verified),
    Item("Every file has a hash in MANIFEST.lock", input_checks.manifest_complete),
    Item("Smoke test passed", input_checks.smoke_tested),
    Item("Months rehearsed", input_checks.months_rehearsed),
    Item("Expected behaviour of the manifest met", input_checks.behaves_as_expected),
    Item("Dataset covers the lookback", input_checks.dataset_covers_lookback),
    Item("Dataset fresh for the next run", input_checks.dataset_fresh),
    Item("Next run known", operation_checks.next_run_known),
    Item("Book to start from", store_checks.book_to_start_from),
    Item("Store can be written and locked", store_checks.store_writable),
    Item("Room for a year of panels", store_checks.room_for_panels),
    Item("Audit trail verified", store_checks.audit_trail_verifies),
    Item("Calendar reaches far enough", operation_checks.calendar_reaches),
    Item("Settings named", operation_checks.settings_named),
    Item("Alert thresholds set", operation_checks.thresholds_present),
    Item("Packages as tested", operation_checks.packages_pinned),
    Item("Somebody is told", operation_checks.notifications_configured),
    Item("Metrics are sent", operation_checks.metrics_sent),
)


def run_checklist(deployment: Deployment, items: Sequence[Item] = CHECKLIST) -> tuple[Finding, ...]:
    """Look at every item, in order.

    A check that meets a refusal or an unreachable file has failed, with that as the evidence; the items after it are
    looked at all the same.
    """
    return tuple(_look(item, deployment) for item in items)


def failures(findings: Sequence[Finding]) -> list[str]:
    """Failed items, one sentence each."""
    return [
        f"{finding.title}: {finding.evidence}" for finding in findings if finding.state is ItemState.FAILED
    ]


def _look(item: Item, deployment: Deployment) -> Finding:
    try:
        state, evidence = item.check(deployment)
    except (Refusal, OSError) as error:
        state, evidence = failed(
            f"{type(error).__name__}: {error}" if isinstance(error, OSError) else str(error)
        )
    return Finding(title=item.title, state=state, evidence=" ".join(evidence.split()))
