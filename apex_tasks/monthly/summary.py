"""What an operator wants to know of a month that just ran, in a few lines."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.monthly.apply_costs import PLANS, PlanReference, read_plan
from apex_tasks.monthly.publish import PublishReference
from apex_tasks.monthly.request import RunRequest
from apex_tasks.published.portfolio import PORTFOLIO_FILE
from apex_tasks.published.run_document import Alert
from apex_tasks.store import Store
from apex_tasks.tables import read_csv

TOP_NAMES = 5


class MonthOutcome(StrEnum):
    """How a month ended."""

    PUBLISHED = "published"
    UNCHANGED = "was published already, nothing changed"
    DRY_RUN = "dry run, nothing published"
    PROPOSED = "awaits a person's approval"


class TopName(FrozenModel):
    """One of the best ranked names of the new book."""

    code: str
    sector: str | None
    rank: int | None
    score: float | None
    weight: float


class MonthSummary(FrozenModel):
    """A month in short.

    Attributes
    ----------
    rebalance_date, as_of
        Day of the trades, and the session before it.
    verdict
        Published, unchanged, dry run or proposed.
    portfolio, folder
        Published version and its folder; None where nothing is published.
    parent
        Portfolio that the orders start from; None from cash.
    positions, turnover, cost_jpy, cost_bps, portfolio_value_jpy
        Size of the new book, one-way turnover (fraction), cost, and value before trading.
    off_cycle, overrides
        Why the book belongs to no month, None for a month's; and the parameters that differ from the settings.
    triggered_by
        Who or what started the run; None where nobody asked.
    alerts, warnings
        Broken thresholds that did not stop the run, and what a reader must know of the data.
    top
        The best ranked names.
    """

    rebalance_date: dt.date
    as_of: dt.date
    verdict: MonthOutcome
    portfolio: str | None
    folder: str | None
    parent: str | None
    positions: int
    turnover: float
    cost_jpy: float
    cost_bps: float
    portfolio_value_jpy: float
    off_cycle: str | None = None
    overrides: tuple[str, ...] = ()
    triggered_by: str | None = None
    alerts: tuple[str, ...]
    warnings: tuple[str, ...]
    top: tuple[TopName, ...]


def summarize_month(
    request: RunRequest,
    plan: PlanReference,
    published: PublishReference | None,
    store: Store,
    triggered_by: str | None = None,
) -> MonthSummary:
    """Read the plan back from the store and sum it up."""
    artifact = store.get(PLANS, plan.key)
    document = read_plan(store, plan)
    if published is None:
        verdict = MonthOutcome.DRY_RUN if request.dry_run else MonthOutcome.PROPOSED
    else:
        verdict = MonthOutcome.UNCHANGED if published.already_published else MonthOutcome.PUBLISHED
    best = read_csv(artifact, PORTFOLIO_FILE).head(TOP_NAMES)[list(TopName.model_fields)].astype(object)
    return MonthSummary(
        rebalance_date=request.rebalance_date,
        as_of=request.as_of,
        verdict=verdict,
        portfolio=published and published.portfolio,
        folder=published and published.folder,
        parent=plan.parent,
        positions=plan.positions,
        turnover=plan.turnover,
        cost_jpy=document.metrics.cost_jpy,
        cost_bps=plan.cost_bps,
        portfolio_value_jpy=plan.portfolio_value_jpy,
        off_cycle=request.off_cycle,
        overrides=tuple(map(str, request.overrides)),
        triggered_by=triggered_by,
        alerts=tuple(f"{alert.severity}: {alert.metric} = {alert.value:g}" for alert in document.alerts),
        warnings=document.warnings,
        top=tuple(TopName.model_validate(name) for name in best.where(best.notna(), None).to_dict("records")),
    )


def alerts_of(plan: PlanReference, store: Store) -> tuple[Alert, ...]:
    """The broken thresholds of a plan."""
    return read_plan(store, plan).alerts
