"""A person's answer to the question whether a month is published: kept in the audit trail, asked for by publish."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import TOKYO
from apex_tasks.monthly.apply_costs import PlanReference
from apex_tasks.monthly.draft import DraftReference
from apex_tasks.monthly.request import RunRequest
from apex_tasks.published import audit
from apex_tasks.refusal import Refusal, Rejected, Unanswered
from apex_tasks.store import Store


class ApprovalOutcome(StrEnum):
    """How the question ended; also the event of its audit record."""

    APPROVED = "approved"
    REJECTED = "rejected"
    TIMED_OUT = "approval_timed_out"


class Person(FrozenModel):
    """Who answered, as the system that asked knows them."""

    id: str
    name: str

    def __str__(self) -> str:
        return self.name if self.name == self.id else f"{self.name} ({self.id})"


class ApprovalAnswer(FrozenModel):
    """What a person said, or that nobody did.

    Attributes
    ----------
    outcome
        Yes, no, or no answer in time.
    by, at
        Who answered and when; None when nobody did.
    note
        What they had to say.
    """

    outcome: ApprovalOutcome
    by: Person | None = None
    at: dt.datetime | None = None
    note: str = ""

    @model_validator(mode="after")
    def _of_somebody(self) -> Self:
        answered = self.outcome is not ApprovalOutcome.TIMED_OUT
        if (self.by is not None, self.at is not None) != (answered, answered):
            raise ValueError("an answer has a person and a time, and nothing else has")
        return self

    def __str__(self) -> str:
        if self.by is None or self.at is None:
            return "no answer in time"
        note = f": {self.note}" if self.note else ", without a note"
        return f"{self.outcome} by {self.by} at {self.at.astimezone(TOKYO):%Y-%m-%d %H:%M} JST{note}"


class Decision(FrozenModel):
    """An answer, and exactly what it is about.

    Attributes
    ----------
    rebalance_date
        The month.
    plan, draft
        Content hashes of what would be published and of what was read.
    run_id, attempt
        The run that asked, and how often its tasks had been cleared: an attempt asks once.
    answer
        What was said.
    """

    rebalance_date: dt.date
    plan: str
    draft: str
    run_id: str
    attempt: int
    answer: ApprovalAnswer

    @property
    def approved(self) -> bool:
        """Whether a person said yes."""
        return self.answer.outcome is ApprovalOutcome.APPROVED

    def refusal(self) -> Refusal:
        """What a run that was not approved fails with."""
        if self.answer.by is None:
            return Unanswered(
                f"nobody has approved {self.rebalance_date} in time, nothing is published",
                expected="an answer within deadlines.approval_minutes",
                received=self.answer,
                where=f"run {self.run_id}",
                remedy="Find somebody who may answer, then clear the task approval: it asks again.",
            )
        return Rejected(
            f"{self.rebalance_date} was rejected by {self.answer.by}, nothing is published",
            expected="an approval",
            received=self.answer,
            where=f"run {self.run_id}",
            remedy="Talk with them. To ask again, clear the task approval; for another plan trigger a run with other "
            "parameters.",
        )


def decide(
    request: RunRequest,
    plan: PlanReference,
    draft: DraftReference,
    run_id: str,
    attempt: int,
    answer: ApprovalAnswer,
) -> Decision:
    """Bind an answer to what it is about."""
    return Decision(
        rebalance_date=request.rebalance_date,
        plan=plan.content_hash,
        draft=draft.content_hash,
        run_id=run_id,
        attempt=attempt,
        answer=answer,
    )


def record_decision(store: Store, decision: Decision) -> Decision:
    """Add a decision to the audit trail, unless its attempt has one already; return the one that stands.

    The first answer of an attempt stands, so that a step that is repeated after a kill neither loses nor doubles it.
    """
    with store.lock("publish"):
        last = last_decision(store, plan=decision.plan, draft=decision.draft, run_id=decision.run_id)
        if last is not None and last.attempt == decision.attempt:
            return last
        details = decision.model_dump(mode="json", exclude={"answer"})
        answer = decision.answer.model_dump(mode="json", exclude={"outcome"})
        audit.append(store, decision.answer.outcome, {**details, **answer})
    return decision


def last_decision(store: Store, *, plan: str, draft: str, run_id: str) -> Decision | None:
    """The newest decision of a run about exactly this plan and draft, or None."""
    for record in reversed(audit.records(store)):
        details = record.details
        if record.event in set(ApprovalOutcome) and (
            details["plan"],
            details["draft"],
            details["run_id"],
        ) == (
            plan,
            draft,
            run_id,
        ):
            said = {name: details[name] for name in ("by", "at", "note")}
            about = {name: value for name, value in details.items() if name not in said}
            return Decision.model_validate({**about, "answer": {"outcome": record.event, **said}})
    return None


def require_approval(store: Store, plan: PlanReference, draft: DraftReference, run_id: str) -> Decision:
    """The approval of exactly this plan and draft by this run.

    Raises
    ------
    Refusal
        There is none, whatever the state of the task that asks: marking it as success is no approval.
    """
    found = last_decision(store, plan=plan.content_hash, draft=draft.content_hash, run_id=run_id)
    if found is None or not found.approved:
        raise Refusal(
            "a person must approve this portfolio before it is published",
            expected=f"an approval of plan {plan.content_hash} and draft {draft.content_hash} by this run in the "
            "audit trail",
            received="none" if found is None else found.answer,
            where=f"run {run_id}, {store.root / 'audit' / audit.TRAIL}",
            remedy="Clear the task approval and answer its question; marking it as success approves nothing.",
        )
    return found
