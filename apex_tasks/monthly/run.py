"""One month's run: its steps in order, each starting from what the one before left in the store."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from apex_tasks.bundle import ResolvedBundle
from apex_tasks.dataset.freshness import check_freshness
from apex_tasks.dataset.judgement.judge import judge_prices
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monitoring import alerts
from apex_tasks.monitoring.gauges import Gauge, bound_gauges, due_gauges, latency_gauges, metric_gauges
from apex_tasks.monitoring.statsd import Metrics
from apex_tasks.monthly.admission import require_newest
from apex_tasks.monthly.apply_costs import PlanMetrics, PlanReference, apply_costs
from apex_tasks.monthly.approval import ApprovalAnswer, Decision, decide, last_decision, record_decision
from apex_tasks.monthly.build_panel import PanelReference, PanelRequest, build_panel
from apex_tasks.monthly.draft import DRAFTS, DraftReference, draft
from apex_tasks.monthly.infer import ScoresReference, infer
from apex_tasks.monthly.publish import PublishReference, find_published, publish
from apex_tasks.monthly.request import RunRequest
from apex_tasks.monthly.validate_bundle import load_resolved_bundle, resolve_and_store_bundle
from apex_tasks.published.portfolio import REPORT_FILE, published_dates
from apex_tasks.refusal import Refusal, Unanswered
from apex_tasks.store import Store

JsonReference = Mapping[str, Any]
"""A reference as it comes back from JSON."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def _measured(
    step: Callable[Concatenate[MonthlyRun, _Arguments], _Result],
) -> Callable[Concatenate[MonthlyRun, _Arguments], _Result]:
    """Time a step, count its refusals and errors, and send all its metrics at its end."""

    @functools.wraps(step)
    def run(self: MonthlyRun, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with self.metrics.step(step.__name__):
            return step(self, *args, **kwargs)

    return run


@dataclass(frozen=True)
class MonthlyRun:
    """The steps of one month; Airflow calls them one per task, `run_month` one after the other.

    Attributes
    ----------
    request
        What to run.
    store
        Where artifacts and portfolios are stored.
    calendar
        TSE sessions.
    run_id
        Name of the run in the audit trail.
    triggered_by
        Who or what started it, for those who read of its overrides; by default the run.
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
    triggered_by: str | None = None

    @functools.cached_property
    def metrics(self) -> Metrics:
        """Where the steps send their metrics."""
        return Metrics(self.request.settings.statsd)

    @_measured
    def require_fresh_dataset(self) -> None:
        """Refuse an incomplete or unsound dataset; under Airflow a sensor waits for a complete one instead.

        Raises
        ------
        Refusal
            The as-of session is missing or has too few rows, or prices, volumes or dates are not sound.
        """
        dataset = open_dataset(self.request.dataset)
        freshness = check_freshness(dataset, self.request.as_of, self.request.settings.freshness)
        if not freshness.ready:
            raise freshness.refusal()
        judgement = judge_prices(dataset, self.request.as_of, self.request.settings, self.calendar)
        judgement.require_sound(self.request.dataset)

    @_measured
    def validate_bundle(self) -> str:
        """Validate the bundle and keep it; return the handshake's key.

        Raises
        ------
        Refusal
            A later month is published already, or the bundle is refused.
        """
        require_newest(self.request, self.store)
        key = resolve_and_store_bundle(self.request, self.store)
        self.log(self._bundle(key).settings_block())
        return key

    @_measured
    def build_panel(self, handshake: str) -> PanelReference:
        """Build the panel, or find it in the store."""
        panel = build_panel(self._panel_request(handshake), self.store, self.progress)
        origin = "found in the store" if panel.cached else "built"
        self.log(
            f"Panel of {self.request.as_of} {origin}: {panel.eligible} eligible of {panel.listed} stocks"
        )
        for warning in panel.warnings:
            self.log(f"WARNING {warning}")
        self.metrics.count("rows.listed", panel.listed)
        return panel

    @_measured
    def infer(self, handshake: str, panel: PanelReference | JsonReference) -> ScoresReference:
        """Score the panel, or find the scores in the store.

        Raises
        ------
        ThresholdBroken
            The inference latency has a critical threshold and breaks it.
        """
        bundle = self._bundle(handshake)
        scores = infer(
            bundle,
            PanelReference.model_validate(panel),
            self.store,
            self.request.settings.inference,
            least_distinct=self.request.settings.judgement.min_distinct_scores,
        )
        origin = "found in the store" if scores.cached else "computed"
        self.log(f"Scores of {scores.stocks} stocks {origin} in {scores.latency_ms:.0f} ms")
        self.metrics.count("rows.scored", scores.stocks)
        self._show(latency_gauges(scores.latency_ms, cached=scores.cached, moment=time.time()))
        slow = alerts.evaluate_latency(
            self.request.settings.thresholds, scores.latency_ms, cached=scores.cached
        )
        for alert in slow:
            self.log(str(alert))
        alerts.stop_on_critical(slow, f"rebalance {self.request.rebalance_date}, step infer")
        return scores

    @_measured
    def apply_costs(
        self, handshake: str, panel: PanelReference | JsonReference, scores: ScoresReference | JsonReference
    ) -> PlanReference:
        """Plan target weights and orders."""
        plan = apply_costs(
            self.request,
            self._bundle(handshake),
            PanelReference.model_validate(panel),
            ScoresReference.model_validate(scores),
            self.store,
            self.calendar,
            self._show_plan,
        )
        self.log(
            f"Plan for {self.request.rebalance_date}: {plan.positions} positions, turnover {plan.turnover:.2%}, "
            f"cost {plan.cost_bps:.2f} bps of {plan.portfolio_value_jpy:,.0f} JPY, "
            f"{'from cash' if plan.parent is None else f'after {plan.parent}'}"
        )
        return plan

    @_measured
    def draft(
        self,
        handshake: str,
        panel: PanelReference | JsonReference,
        scores: ScoresReference | JsonReference,
        plan: PlanReference | JsonReference,
    ) -> DraftReference:
        """Write what publish would publish, for a person to read."""
        return draft(
            self.request,
            self._bundle(handshake),
            PanelReference.model_validate(panel),
            ScoresReference.model_validate(scores),
            PlanReference.model_validate(plan),
            self.store,
            self.triggered_by or f"run {self.run_id}",
        )

    def awaits_approval(
        self, plan: PlanReference | JsonReference, draft: DraftReference, attempt: int = 0
    ) -> bool:
        """Whether a person has to be asked before this plan is published.

        Nobody is asked where nothing would be published: by a dry run, and when the month is published already with
        this very result. What was approved in this run stays approved.

        Parameters
        ----------
        attempt
            How often tasks of the run have been cleared; each attempt asks once.

        Raises
        ------
        Refusal
            This attempt was answered, and not with yes; or the month is published with a different result.
        """
        plan = PlanReference.model_validate(plan)
        if self.request.dry_run:
            self.log("No approval is asked: a dry run publishes nothing")
            return False
        if not self.request.approval:
            self.log("No approval is asked: neither the run nor the setting wants one")
            return False
        if (same := find_published(self.request, plan, self.store)) is not None:
            self.log(f"No approval is asked: {same.name} is published already with this result")
            return False
        last = last_decision(self.store, plan=plan.content_hash, draft=draft.content_hash, run_id=self.run_id)
        if last is not None and last.approved:
            self.log(f"No approval is asked again: {last.answer}")
            return False
        if last is not None and last.attempt == attempt:
            raise last.refusal()
        return True

    def decide(
        self,
        plan: PlanReference | JsonReference,
        draft: DraftReference | JsonReference,
        answer: ApprovalAnswer,
        attempt: int = 0,
    ) -> Decision:
        """Record an answer in the audit trail.

        Raises
        ------
        Refusal
            It is not yes; the record is written all the same.
        """
        decision = record_decision(
            self.store,
            decide(
                self.request,
                PlanReference.model_validate(plan),
                DraftReference.model_validate(draft),
                self.run_id,
                attempt,
                answer,
            ),
        )
        if not decision.approved:
            raise decision.refusal()
        self.log(f"{decision.rebalance_date} was {decision.answer}")
        return decision

    @_measured
    def publish(
        self,
        panel: PanelReference | JsonReference,
        scores: ScoresReference | JsonReference,
        plan: PlanReference | JsonReference,
        draft: DraftReference | JsonReference | None,
    ) -> PublishReference:
        """Publish the plan with its draft's report, or find it published.

        Raises
        ------
        Refusal
            Nothing was drafted: the step that drafts was skipped by hand.
        """
        if draft is None:
            raise Refusal(
                "there is no draft of this run, nothing is published",
                expected="a draft, which the task approval leaves whether or not anybody has to approve",
                received="none",
                where=f"run {self.run_id}",
                remedy="Clear the task approval; marking it as success drafts nothing.",
            )
        published = publish(
            self.request,
            PanelReference.model_validate(panel),
            ScoresReference.model_validate(scores),
            PlanReference.model_validate(plan),
            DraftReference.model_validate(draft),
            self.store,
            self.run_id,
        )
        state = "was published already, nothing changed" if published.already_published else "published"
        self.log(f"Portfolio {published.portfolio} {state}: {published.folder}")
        self.metrics.count("runs.unchanged" if published.already_published else "runs.published")
        self._show_due()
        return published

    def _show_plan(self, metrics: PlanMetrics) -> None:
        settings = self.request.settings
        bounds = bound_gauges(settings.thresholds, settings.ranking.top_k, metrics)
        self._show([*metric_gauges(metrics), *bounds, Gauge("plan_timestamp_seconds", time.time())])

    def _show(self, gauges: list[Gauge]) -> None:
        """Set gauges of the newest month; a dry run, an off-cycle one or an older month leaves them alone."""
        if not self.metrics.on or self.request.dry_run or self.request.off_cycle:
            return
        if all(day <= self.request.rebalance_date for day in published_dates(self.store)):
            self.metrics.gauges(gauges)

    def _show_due(self) -> None:
        """Tell when the month after the newest published one is due."""
        if self.metrics.on and not self.request.off_cycle:
            newest = published_dates(self.store)[-1]
            self.metrics.gauges(due_gauges(newest, self.calendar, self.request.settings.schedule.nth_session))

    def _panel_request(self, handshake: str) -> PanelRequest:
        request = self.request
        return PanelRequest.of(self._bundle(handshake), request.dataset, request.as_of, request.settings)

    def _bundle(self, handshake: str) -> ResolvedBundle:
        return load_resolved_bundle(self.store, handshake, self.request)


def run_month(
    run: MonthlyRun, approval: ApprovalAnswer | None = None
) -> tuple[PlanReference, PublishReference | None]:
    """Run all steps; a dry run stops before publish and returns None for it.

    Parameters
    ----------
    approval
        What a person says who has read the month's report, for a run that asks.

    Raises
    ------
    Refusal
        Of any step; or a person must approve and nobody has.
    """
    require_newest(run.request, run.store)
    run.require_fresh_dataset()
    handshake = run.validate_bundle()
    panel = run.build_panel(handshake)
    scores = run.infer(handshake, panel)
    plan = run.apply_costs(handshake, panel, scores)
    if run.request.dry_run:
        return plan, None
    drafted = run.draft(handshake, panel, scores, plan)
    if run.awaits_approval(plan, drafted):
        if approval is None:
            raise _unapproved(run, drafted)
        run.decide(plan, drafted, approval)
    return plan, run.publish(panel, scores, plan, drafted)


def _unapproved(run: MonthlyRun, drafted: DraftReference) -> Refusal:
    return Unanswered(
        f"{run.request.rebalance_date} awaits a person's approval, nothing is published",
        expected="--approve NAME, since the run or the setting `approval` asks for it",
        received="nobody's name",
        where=run.store.root / DRAFTS / drafted.key / REPORT_FILE,
        remedy="Read that report, then run the same again with --approve 'NAME: why'; what is computed is found "
        "in the store.",
    )
