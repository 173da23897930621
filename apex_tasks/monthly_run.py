"""One month's run: its steps in order, each starting from what the one before left in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from apex_tasks.apply_costs import PlanReference, apply_costs
from apex_tasks.build_panel import PanelReference, build_panel
from apex_tasks.bundle import ResolvedBundle
from apex_tasks.dataset.freshness import check_freshness
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.handshakes import load_handshake, shake_hands
from apex_tasks.infer import ScoresReference, infer
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.publish import PublishReference, publish
from apex_tasks.request import RunRequest
from apex_tasks.store import Store

Loose = Mapping[str, Any]
"""A reference as it comes back from JSON."""


@dataclass(frozen=True)
class MonthlyRun:
    """The steps of one month; Airflow calls them one per task, `run_month` one after the other.

    Attributes
    ----------
    request
        What to run.
    store
        Where artifacts and portfolios lie.
    calendar
        TSE sessions.
    run_id
        Name of the run in the audit trail.
    log
        Receives one line or block per step, for people.
    progress
        Called with (description, done, total) while the panel is built.
    """

    request: RunRequest
    store: Store
    calendar: TseCalendar
    run_id: str
    log: Callable[[str], None] = print
    progress: ReportProgress | None = None

    def require_fresh_dataset(self) -> None:
        """Refuse an incomplete dataset; under Airflow a sensor waits for it instead.

        Raises
        ------
        Refusal
            The as-of session is missing or has too few rows.
        """
        freshness = check_freshness(self.request.dataset, self.request.as_of, self.request.settings.freshness)
        if not freshness.ready:
            raise freshness.refusal()

    def validate_bundle(self) -> str:
        """Validate the bundle and keep it; return the handshake's key."""
        key = shake_hands(self.request, self.store)
        self.log(self._bundle(key).settings_block())
        return key

    def build_panel(self, handshake: str) -> PanelReference:
        """Build the panel, or find it in the store."""
        panel = build_panel(self.request, self._bundle(handshake), self.store, self.progress)
        origin = "found in the store" if panel.cached else "built"
        self.log(
            f"Panel of {self.request.as_of} {origin}: {panel.eligible} eligible of {panel.listed} stocks"
        )
        for warning in panel.warnings:
            self.log(f"WARNING {warning}")
        return panel

    def infer(self, handshake: str, panel: PanelReference | Loose) -> ScoresReference:
        """Score the panel, or find the scores in the store."""
        bundle = self._bundle(handshake)
        scores = infer(self.request, bundle, PanelReference.model_validate(panel), self.store)
        origin = "found in the store" if scores.cached else "computed"
        self.log(f"Scores of {scores.stocks} stocks {origin} in {scores.latency_ms:.0f} ms")
        return scores

    def apply_costs(
        self, handshake: str, panel: PanelReference | Loose, scores: ScoresReference | Loose
    ) -> PlanReference:
        """Plan target weights and orders."""
        plan = apply_costs(
            self.request,
            self._bundle(handshake),
            PanelReference.model_validate(panel),
            ScoresReference.model_validate(scores),
            self.store,
            self.calendar,
        )
        self.log(
            f"Plan for {self.request.rebalance_date}: {plan.positions} positions, turnover {plan.turnover:.2%}, "
            f"cost {plan.cost_bps:.2f} bps of {plan.portfolio_value_jpy:,.0f} JPY, "
            f"{'from cash' if plan.parent is None else f'after {plan.parent}'}"
        )
        return plan

    def publish(
        self,
        handshake: str,
        panel: PanelReference | Loose,
        scores: ScoresReference | Loose,
        plan: PlanReference | Loose,
    ) -> PublishReference:
        """Publish the plan, or find it published."""
        published = publish(
            self.request,
            self._bundle(handshake),
            PanelReference.model_validate(panel),
            ScoresReference.model_validate(scores),
            PlanReference.model_validate(plan),
            self.store,
            self.run_id,
        )
        state = "was published already, nothing changed" if published.already_published else "published"
        self.log(f"Portfolio {published.portfolio} {state}: {published.folder}")
        return published

    def _bundle(self, handshake: str) -> ResolvedBundle:
        return load_handshake(self.store, handshake, self.request)


def run_month(run: MonthlyRun) -> tuple[PlanReference, PublishReference | None]:
    """Run all steps; a dry run stops before publish and returns None for it.

    Raises
    ------
    Refusal
        Of any step.
    """
    run.require_fresh_dataset()
    handshake = run.validate_bundle()
    panel = run.build_panel(handshake)
    scores = run.infer(handshake, panel)
    plan = run.apply_costs(handshake, panel, scores)
    published = None if run.request.dry_run else run.publish(handshake, panel, scores, plan)
    return plan, published
