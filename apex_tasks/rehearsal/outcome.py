"""How a rehearsal ends: a verdict on each of its stages, and a state with evidence of each item of its checklist."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Self

from apex_tasks.frozen_model import StoredDocument
from apex_tasks.refusal import CheckFailed


class StageVerdict(StrEnum):
    """Whether a stage did what it must."""

    PASSED = "passed"
    FAILED = "failed"


class StageOutcome(StoredDocument):
    """What every stage of the rehearsal leaves, and the rehearsal as a whole.

    Attributes
    ----------
    stage
        Name of the stage.
    verdict
        Failed when there is a problem.
    problems
        One sentence each.
    """

    stage: ClassVar[str]
    verdict: StageVerdict
    problems: tuple[str, ...]

    def require_passed(self) -> Self:
        """Stop when the stage has failed.

        Raises
        ------
        CheckFailed
            Names every problem.
        """
        if self.verdict is StageVerdict.FAILED:
            raise CheckFailed(
                f"the {self.stage} failed",
                expected="no problem",
                received="; ".join(self.problems),
                where=self.stage,
                remedy="Publish nothing with this deployment; docs/day-zero.md says what each verdict means.",
            )
        return self


def verdict_on(problems: Sequence[str]) -> StageVerdict:
    """Passed when there is no problem."""
    return StageVerdict.FAILED if problems else StageVerdict.PASSED


class ItemState(StrEnum):
    """The state of an item of the checklist; only `failed` stops a deployment."""

    DONE = "done"
    OPEN = "open"
    FAILED = "failed"


class ItemOutcome(StoredDocument):
    """One item of the checklist, checked.

    Attributes
    ----------
    title
        Of the item; the checklist adds it to what the check says.
    state, evidence
        What the check found, and what shows it, in one line.
    """

    title: str = ""
    state: ItemState
    evidence: str


def done(evidence: str) -> ItemOutcome:
    """The item is as it must be, and this shows it."""
    return ItemOutcome(state=ItemState.DONE, evidence=evidence)


def still_open(evidence: str) -> ItemOutcome:
    """The item is not there yet, cannot be seen from here, or is left for people to decide."""
    return ItemOutcome(state=ItemState.OPEN, evidence=evidence)


def failed(evidence: str) -> ItemOutcome:
    """The item is wrong: a run would be stopped, or could not be trusted."""
    return ItemOutcome(state=ItemState.FAILED, evidence=evidence)
