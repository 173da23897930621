"""What a run of a DAG has come to, and what its tab shows of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from apex_tasks.frozen_model import FrozenModel

FAILED = "failed"
WAITS_FOR_A_PERSON = "awaiting_input"
UNDER_WAY = ("running", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "deferred", "restarting")
RUN_ENDED = ("success", FAILED)
APPROVAL_TASK = "approval"
APPROVE = "Approve"


class TaskState(FrozenModel):
    """One task of the run.

    Attributes
    ----------
    state
        As Airflow calls it; None before the scheduler has looked at it.
    page
        Address of its log.
    refusal
        Why it was refused and what to do; None where it was not, or nothing is known of it.
    """

    task_id: str
    state: str | None
    page: str
    refusal: str | None = None


class AnswerState(FrozenModel):
    """The question whether the month is published.

    Attributes
    ----------
    chosen
        What was chosen, such as Approve; empty while nobody has answered.
    by, at
        Who answered, and when.
    """

    chosen: tuple[str, ...] = ()
    by: str | None = None
    at: dt.datetime | None = None

    @property
    def rejected(self) -> bool:
        """Whether a person said no."""
        return self.by is not None and APPROVE not in self.chosen


class RunState(FrozenModel):
    """One run, as far as its tab needs it.

    Attributes
    ----------
    state
        As Airflow calls it.
    dry_run
        Whether it was to publish nothing.
    tasks
        In the order in which they started, those to come last.
    published, already_published
        Name of the portfolio that the run published, and whether it had been there before.
    draft
        Key of the draft in the store.
    waiting
        What the run waits for in the dataset, as one sentence.
    question
        None where nobody was asked.
    actions_page
        Address of what the run waits for people to do.
    """

    run_id: str
    state: str
    dry_run: bool = False
    tasks: tuple[TaskState, ...] = ()
    published: str | None = None
    already_published: bool = False
    draft: str | None = None
    waiting: str | None = None
    question: AnswerState | None = None
    actions_page: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in RUN_ENDED

    def in_state(self, *states: str) -> list[TaskState]:
        """Tasks in any of these states."""
        return [task for task in self.tasks if task.state in states]


class Tone(StrEnum):
    """CSS class of a banner."""

    GOOD = "good"
    WAITS = "waits"
    STOPPED = "stopped"
    NEUTRAL = "neutral"


class Banner(NamedTuple):
    """What stands above the report, or instead of one.

    Attributes
    ----------
    tone
        CSS class.
    word
        The state in capitals.
    text
        One or two sentences.
    pages
        Text and address of pages of Airflow that help.
    """

    tone: Tone
    word: str
    text: str
    pages: tuple[tuple[str, str], ...] = ()


def describe(run: RunState) -> Banner:
    """Say how the run stands."""
    if run.published is not None:
        text = f"This run published {run.published}."
        if run.already_published:
            text = f"{run.published} had been published with the same content; this run changed nothing."
        approved = run.question is not None and not run.question.rejected and run.question.by
        return Banner(Tone.GOOD, "PUBLISHED", f"{text} Approved by {approved}." if approved else text)
    asked = run.in_state(WAITS_FOR_A_PERSON)
    if asked and not run.ended:
        return Banner(
            Tone.WAITS,
            "DRAFT, WAITS FOR APPROVAL",
            "Nothing is published until a person approves it.",
            (("Approve or reject it in the required actions", run.actions_page),),
        )
    failed = run.in_state(FAILED)
    if failed and (stopped := _stopped_by_a_person(run)) is not None:
        return stopped
    if failed:
        return Banner(
            Tone.STOPPED,
            "FAILED: NOTHING WAS PUBLISHED",
            " ".join(_why_failed(failed)),
            tuple((f"Log of {task.task_id}", task.page) for task in failed),
        )
    if run.state == FAILED:
        return Banner(
            Tone.STOPPED,
            "FAILED: NOTHING WAS PUBLISHED",
            "The run ended without a failed task: it was stopped by hand, or took longer than it may.",
        )
    if run.dry_run and (run.ended or run.draft is not None):
        text = "This is what the run would have published." if run.draft else "It left no draft to show."
        return Banner(Tone.NEUTRAL, "DRY RUN: NOTHING WAS PUBLISHED", text)
    if run.ended:
        return Banner(Tone.NEUTRAL, "NOTHING WAS PUBLISHED", "The run ended without publishing a portfolio.")
    return _under_way(run)


def _why_failed(failed: list[TaskState]) -> Iterator[str]:
    """One sentence per cause: tasks that met the same input say the same."""
    for cause in dict.fromkeys(task.refusal for task in failed):
        names = ", ".join(task.task_id for task in failed if task.refusal == cause)
        yield f"{names}: {cause}" if cause else f"{names} failed. The last lines of its log say why."


def _stopped_by_a_person(run: RunState) -> Banner | None:
    """The banner of a run that was not approved, or None when it failed otherwise."""
    approval = next((task for task in run.in_state(FAILED) if task.task_id == APPROVAL_TASK), None)
    if run.question is None or approval is None:
        return None
    pages = (("The question", f"{approval.page}/required_actions"), ("Log of approval", approval.page))
    if run.question.rejected:
        at = f" on {run.question.at:%Y-%m-%d %H:%M} JST" if run.question.at else ""
        return Banner(
            Tone.STOPPED,
            "REJECTED: NOTHING WAS PUBLISHED",
            f"{run.question.by} rejected it{at}. To ask again, clear the task approval.",
            pages,
        )
    if run.question.by is None:
        return Banner(
            Tone.STOPPED,
            "TIMED OUT: NOTHING WAS PUBLISHED",
            "Nobody answered until time was up or somebody stopped it. To ask again, clear the task approval.",
            pages,
        )
    return None


def _under_way(run: RunState) -> Banner:
    busy = run.in_state(*UNDER_WAY)
    names = ", ".join(task.task_id for task in busy) or "no task yet"
    text = f"Now: {names}." + (f" {run.waiting}" if run.waiting else "")
    word = "STILL RUNNING" if run.draft is None else "DRAFT, NOT PUBLISHED YET"
    return Banner(Tone.WAITS, word, text, tuple((f"Log of {task.task_id}", task.page) for task in busy))
