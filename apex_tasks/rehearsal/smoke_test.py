"""The smoke test: the newest sessions scored twice, by two ways that share nothing but the inputs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from apex_tasks.backtesting.backtest import open_market
from apex_tasks.bundle import ResolvedBundle
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monthly.score import score
from apex_tasks.monthly.validate_bundle import validate_bundle
from apex_tasks.refusal import Refusal
from apex_tasks.rehearsal.outcome import StageOutcome, verdict_on
from apex_tasks.rehearsal.request import RehearsalRequest
from apex_tasks.rehearsal.score_comparison import SessionComparison, compare_passes
from apex_tasks.settings import InferenceSettings

SCORING_AGAIN = "Scoring again"
OTHER_BATCH_SIZES = (17, 31)
"""Batch sizes of the second pass: odd, so that batches end elsewhere; two, so that one is never the setting."""


class PassDescription(FrozenModel):
    """How one pass went, and what it read.

    Attributes
    ----------
    how
        Panels, batch size and workers.
    bundle_sha256, dataset_sha256
        Of what was read at its beginning.
    """

    how: str
    bundle_sha256: str
    dataset_sha256: str


class SmokeReport(StageOutcome):
    """Outcome of the smoke test.

    Attributes
    ----------
    problems
        Inputs that changed between the passes, then the sessions, oldest first.
    top_k
        Names compared per session.
    first, second
        The two passes.
    sessions
        Oldest first.
    """

    stage: ClassVar[str] = "smoke test"
    top_k: int
    first: PassDescription
    second: PassDescription
    sessions: tuple[SessionComparison, ...]

    @property
    def largest_score_difference(self) -> float:
        """Over all sessions and stocks."""
        return max(session.largest_score_difference for session in self.sessions)

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        days = f"{len(self.sessions)} sessions from {self.sessions[0].session} to {self.sessions[-1].session}"
        if self.problems:
            return f"{days}: {'; '.join(self.problems)}"
        ties = sum(session.ties for session in self.sessions)
        return (
            f"{days} scored twice, the best {self.top_k} names equal in order, scores within "
            f"{self.largest_score_difference:.1e}, {ties} ties"
        )


@dataclass(frozen=True)
class ScoredPass:
    """Ranked scores of some sessions, and how they came about."""

    description: PassDescription
    scores: Mapping[dt.date, pd.DataFrame]


def smoke_test(
    request: RehearsalRequest, calendar: TseCalendar, progress: ReportProgress | None = None
) -> SmokeReport:
    """Score the newest sessions of the dataset twice and compare.

    The first pass is a backtest's: one bundle, one panel that all sessions share. The second starts from the files
    again for each session: bundle read and verified again, a panel of that session alone, other batches, another
    number of workers. A difference is no refusal: the report names it.

    Parameters
    ----------
    progress
        Called with (description, done, total); with `SCORING_AGAIN` and 0 between the passes.

    Raises
    ------
    Refusal
        Bundle or dataset are refused, the dataset has fewer sessions, or one of its newest dates is no TSE session.
    """
    first = score_together(request, calendar, progress)
    if progress:
        progress(SCORING_AGAIN, 0, len(first.scores))
    second = score_independently(request, list(first.scores), progress)
    return compare_scored_passes(first, second, request.settings.ranking.top_k)


def score_together(
    request: RehearsalRequest, calendar: TseCalendar, progress: ReportProgress | None = None
) -> ScoredPass:
    """Score the newest sessions from one panel that they share."""
    market = open_market(request.whole_dataset, calendar, progress)
    sessions = market.days[-request.sessions :]
    if len(sessions) < request.sessions:
        raise Refusal(
            "the dataset has too few sessions for the smoke test",
            expected=f"{request.sessions} sessions",
            received=len(sessions),
            where=request.dataset,
            remedy="Deliver a longer dataset, or ask for fewer sessions.",
        )
    for session in sessions:
        calendar.require_session(session)
    market.scores.prepare(sessions)
    scores = {session: market.scores.ranked(session) for session in sessions}
    how = f"one panel of {len(sessions)} sessions, {_described(request.settings.inference)}"
    return _scored_pass(how, market.bundle, market.dataset.sha256, scores)


def score_independently(
    request: RehearsalRequest, sessions: Sequence[dt.date], progress: ReportProgress | None = None
) -> ScoredPass:
    """Score sessions one by one, each from the files, with other batches and workers."""
    inference = _other(request.settings.inference)
    settings = request.settings.model_copy(update={"inference": inference})
    dataset = open_dataset(request.dataset)
    bundle = validate_bundle(request.bundle, request.dataset, settings)
    scores = {}
    for number, session in enumerate(sessions, start=1):
        scores[session] = score(request.bundle, request.dataset, session, settings)
        if progress:
            progress(SCORING_AGAIN, number, len(sessions))
    how = f"a panel per session, {_described(inference)}"
    dataset.require_unchanged()
    return _scored_pass(how, bundle, dataset.sha256, scores)


def compare_scored_passes(first: ScoredPass, second: ScoredPass, top_k: int) -> SmokeReport:
    """Compare two passes, and what they were made from."""
    changed = [
        name
        for name in ("bundle", "dataset")
        if getattr(first.description, f"{name}_sha256") != getattr(second.description, f"{name}_sha256")
    ]
    sessions = compare_passes(first.scores, second.scores, top_k=top_k)
    problems = [f"the {name} was changed between the passes" for name in changed]
    problems += [problem for session in sessions for problem in session.problems]
    return SmokeReport(
        verdict=verdict_on(problems),
        problems=tuple(problems),
        top_k=top_k,
        first=first.description,
        second=second.description,
        sessions=sessions,
    )


def _scored_pass(
    how: str, bundle: ResolvedBundle, dataset_sha256: str, scores: Mapping[dt.date, pd.DataFrame]
) -> ScoredPass:
    description = PassDescription(how=how, bundle_sha256=bundle.bundle_sha256, dataset_sha256=dataset_sha256)
    return ScoredPass(description, scores)


def _other(inference: InferenceSettings) -> InferenceSettings:
    """Batches that end elsewhere, and another number of workers."""
    batch_size = next(size for size in OTHER_BATCH_SIZES if size != inference.batch_size)
    return InferenceSettings(batch_size=batch_size, workers=2 if inference.workers == 1 else 1)


def _described(inference: InferenceSettings) -> str:
    workers = "one worker per core" if inference.workers is None else f"workers: {inference.workers}"
    return f"batches of {inference.batch_size}, {workers}"
