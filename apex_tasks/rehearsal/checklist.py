"""The deployment checklist: every item with the evidence for its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from apex_tasks.refusal import Refusal
from apex_tasks.rehearsal import input_checks, operation_checks, store_checks
from apex_tasks.rehearsal.deployment import Deployment
from apex_tasks.rehearsal.outcome import ItemOutcome, ItemState, failed


class Item(NamedTuple):
    """A title, and the check behind it."""

    title: str
    check: Callable[[Deployment], ItemOutcome]


CHECKLIST = (
    Item("Bundle verified", input_checks.bundle_verified),
    Item("Every file has a hash in MANIFEST.lock", input_checks.manifest_complete),
    Item("Smoke test passed", input_checks.smoke_tested),
    Item("Months rehearsed", input_checks.months_rehearsed),
    Item("Expected behaviour of the manifest met", input_checks.behaves_as_expected),
    Item("Dataset covers the lookback", input_checks.dataset_covers_lookback),
    Item("Dataset fresh for the next run", input_checks.dataset_fresh),
    Item("Next run known", operation_checks.next_run_known),
    Item("Book to start from", store_checks.previous_book),
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


def run_checklist(deployment: Deployment, items: Sequence[Item] = CHECKLIST) -> tuple[ItemOutcome, ...]:
    """Check every item, in order.

    A check that meets a refusal or an unreachable file has failed, with that as the evidence; the items after it are
    checked all the same.
    """
    return tuple(_check(item, deployment) for item in items)


def failures(outcomes: Sequence[ItemOutcome]) -> list[str]:
    """Failed items, one sentence each."""
    return [
        f"{outcome.title}: {outcome.evidence}" for outcome in outcomes if outcome.state is ItemState.FAILED
    ]


def _check(item: Item, deployment: Deployment) -> ItemOutcome:
    try:
        outcome = item.check(deployment)
    except OSError as error:
        outcome = failed(f"{type(error).__name__}: {error}")
    except Refusal as refusal:
        outcome = failed(str(refusal))
    return ItemOutcome(title=item.title, state=outcome.state, evidence=" ".join(outcome.evidence.split()))
