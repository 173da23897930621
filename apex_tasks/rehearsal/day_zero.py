"""Day zero in order: handshake, smoke test, monthly rehearsal, checklist; `apex smoke-test` and a DAG call it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from apex_tasks.bundle import ResolvedBundle
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monthly.validate_bundle import validate_bundle
from apex_tasks.rehearsal.checklist import failures, run_checklist
from apex_tasks.rehearsal.deployment import Deployment
from apex_tasks.rehearsal.outcome import ItemOutcome, ItemState, StageOutcome, verdict_on
from apex_tasks.rehearsal.replay import MonthlyRehearsal, rehearse_months
from apex_tasks.rehearsal.request import RehearsalRequest
from apex_tasks.rehearsal.smoke_test import SmokeReport, smoke_test
from apex_tasks.settings import NotificationSettings
from apex_tasks.store import Store, canonical_json, content_key

REHEARSALS, REHEARSAL_FILE = "rehearsals", "rehearsal.json"
MARKS = {ItemState.DONE: "✔ done  ", ItemState.OPEN: "○ open  ", ItemState.FAILED: "✘ failed"}

JsonReference = Mapping[str, Any]
"""A report as it comes back from JSON."""


class RehearsalReport(StageOutcome):
    """All of a rehearsal.

    Attributes
    ----------
    problems
        Failed items of the checklist; the other two stages are items of it.
    synthetic
        Bundle or dataset say that they are made up.
    bundle_sha256, bundle, dataset, today
        What was rehearsed, and for which day.
    """

    stage: ClassVar[str] = "rehearsal"
    synthetic: bool
    bundle: str
    bundle_sha256: str
    dataset: str
    today: dt.date
    smoke_test: SmokeReport
    monthly_rehearsal: MonthlyRehearsal
    checklist: tuple[ItemOutcome, ...]

    @property
    def key(self) -> str:
        """Name of the report in the store."""
        return content_key(report=self.model_dump(mode="json"))


@dataclass(frozen=True)
class DayZero:
    """The stages of a rehearsal; none of them publishes or changes what is published.

    Attributes
    ----------
    request
        What to rehearse.
    calendar
        TSE sessions.
    connections
        Says which Airflow connections for messages are defined; None outside Airflow, where they cannot be seen.
    log
        Receives one line or block per stage, for people.
    progress
        Called with (description, done, total).
    """

    request: RehearsalRequest
    calendar: TseCalendar
    connections: Callable[[NotificationSettings], Mapping[str, bool]] | None = None
    log: Callable[[str], None] = print
    progress: ReportProgress | None = None

    def handshake(self) -> ResolvedBundle:
        """Validate bundle and dataset: the dry run.

        Raises
        ------
        Refusal
            See `validate_bundle`.
        """
        resolved = validate_bundle(self.request.bundle, self.request.dataset, self.request.settings)
        self.log(resolved.settings_block())
        return resolved

    def smoke_test(self) -> SmokeReport:
        """Score the newest sessions twice; see `smoke_test.smoke_test`."""
        report = smoke_test(self.request, self.calendar, self.progress)
        self.log(f"Smoke test {report.verdict}: {report.summary}")
        return report

    def monthly_rehearsal(self) -> MonthlyRehearsal:
        """Replay the newest months; see `replay.rehearse_months`."""
        months = rehearse_months(self.request, self.calendar, self.progress)
        self.log(f"Monthly rehearsal {months.verdict}: {months.summary}")
        for month in months.months:
            self.log(
                f"  {month.rebalance_date}: {month.positions} positions, {month.candidate_kept} candidates kept, "
                f"turnover {month.turnover:.2%}, cost {month.cost_bps:.2f} bps"
                + "".join(f"; {remark}" for remark in month.remarks)
            )
        for warning in months.warnings:
            self.log(f"WARNING {warning}")
        return months

    def report(
        self, smoke: SmokeReport | JsonReference, months: MonthlyRehearsal | JsonReference
    ) -> RehearsalReport:
        """Run the checklist and keep the whole rehearsal in the store.

        A store that cannot be written is a failed item of the checklist, and keeps nothing.

        Parameters
        ----------
        smoke, months
            What the stages before it left.
        """
        request, store = self.request, Store(self.request.settings.home)
        resolved = validate_bundle(request.bundle, request.dataset, request.settings)
        dataset = open_dataset(request.dataset)
        smoke, months = SmokeReport.model_validate(smoke), MonthlyRehearsal.model_validate(months)
        connections = self.connections and self.connections(request.settings.notifications)
        checklist = run_checklist(
            Deployment(request, resolved, dataset, store, self.calendar, smoke, months, connections)
        )
        problems = failures(checklist)
        report = RehearsalReport(
            verdict=verdict_on(problems),
            problems=tuple(problems),
            synthetic=resolved.synthetic or dataset.synthetic,
            bundle=request.bundle,
            bundle_sha256=resolved.bundle_sha256,
            dataset=request.dataset,
            today=request.today,
            smoke_test=smoke,
            monthly_rehearsal=months,
            checklist=checklist,
        )
        for item in report.checklist:
            self.log(f"{MARKS[item.state]} {item.title}: {item.evidence}")
        try:
            self._keep(report, store)
        except OSError as error:
            self.log(f"WARNING the report is not kept: {error}")
        return report

    def _keep(self, report: RehearsalReport, store: Store) -> None:
        content = canonical_json(report.model_dump(mode="json"))
        kept = store.write(REHEARSALS, report.key, files={REHEARSAL_FILE: content})
        self.log(f"Rehearsal {report.verdict}, kept in {kept.folder}")
