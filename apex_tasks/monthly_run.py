"""One month without Airflow: the same steps, in order, on the same store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from apex_tasks.apply_costs import PlanReference, apply_costs
from apex_tasks.build_panel import build_panel
from apex_tasks.dataset.freshness import check_freshness
from apex_tasks.dataset.panel import Progress
from apex_tasks.handshakes import load_handshake, shake_hands
from apex_tasks.infer import infer
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.publish import PublishReference, publish
from apex_tasks.request import RunRequest
from apex_tasks.store import Store


@dataclass(frozen=True)
class MonthResult:
    """Outcome of a month; `published` is None for a dry run."""

    plan: PlanReference
    published: PublishReference | None


def run_month(
    request: RunRequest,
    store: Store,
    calendar: TseCalendar,
    run_id: str,
    *,
    log: Callable[[str], None] = lambda message: None,
    progress: Progress | None = None,
) -> MonthResult:
    """Run all steps of one month; a dry run stops before publish.

    Raises
    ------
    Refusal
        Of any step. An incomplete dataset is refused at once: only the DAG's sensor waits.
    """
    freshness = check_freshness(request.dataset, request.as_of, request.settings.freshness)
    if not freshness.ready:
        raise freshness.refusal()
    bundle = load_handshake(store, shake_hands(request, store), request)
    log(bundle.settings_block())
    panel = build_panel(request, bundle, store, progress)
    log(f"panel: {panel.eligible} eligible of {panel.listed} listed stocks{' (cached)' if panel.cached else ''}")
    scores = infer(request, bundle, panel, store)
    log(f"scores: {scores.stocks} stocks in {scores.latency_ms:.0f} ms{' (cached)' if scores.cached else ''}")
    plan = apply_costs(request, bundle, panel, scores, store, calendar)
    if request.dry_run:
        return MonthResult(plan, None)
    return MonthResult(plan, publish(request, bundle, panel, scores, plan, store, run_id))
