"""What a plan leaves behind for people: figures, warnings, how the names were chosen, the table of the book."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from apex_tasks.bundle import ResolvedBundle
from apex_tasks.dataset.judgement.faults import shown
from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import CLOSE, CODE, SECTOR
from apex_tasks.market.calendar import LAST_DAY, TseCalendar, tokyo_date
from apex_tasks.monthly.build_panel import PanelReference
from apex_tasks.monthly.request import RunRequest
from apex_tasks.portfolio.ledger import CarriedBook
from apex_tasks.portfolio.monthly_plan import MonthlyPlan
from apex_tasks.portfolio.neutralisation import Neutralised
from apex_tasks.portfolio.orders import Orders
from apex_tasks.portfolio.weights import TargetWeights
from apex_tasks.published.portfolio import SCORES_FILE, PublishedPortfolio
from apex_tasks.published.run_document import (
    Alert,
    NeutralisationRecord,
    ParentPortfolio,
    PlanDocument,
    RunMetrics,
    SelectionRecord,
)
from apex_tasks.settings import Policy, Severity
from apex_tasks.statistics.rank_ic import rank_ic
from apex_tasks.tables import read_table


def plan_document(
    request: RunRequest,
    bundle: ResolvedBundle,
    panel: PanelReference,
    parent: PublishedPortfolio | None,
    carried: CarriedBook | None,
    plan: MonthlyPlan,
    prices: PriceHistory,
    metrics: RunMetrics,
    alerts: Sequence[Alert],
    calendar: TseCalendar,
) -> PlanDocument:
    """Write down what a plan rests on."""
    return PlanDocument(
        rebalance_date=request.rebalance_date,
        as_of=request.as_of,
        features_until=_features_until(request.as_of, bundle.newest_rows_unread, calendar),
        parent=None
        if parent is None
        else ParentPortfolio(portfolio=parent.name, content_hash=parent.content_hash),
        metrics=metrics,
        alerts=tuple(alerts),
        warnings=(
            *bundle.warnings,
            *_threshold_warnings(request),
            *panel.warnings,
            *_carried_warnings(parent, carried),
            *_neutralisation_warnings(plan),
            *_policy_warnings(plan.target),
            *_supply_warnings(plan, prices, request.as_of),
            *_top_k_warnings(request, plan),
            *_order_warnings(plan.orders),
        ),
        dataset_faults={kind: count for kind, count in panel.judgement.counts().items() if count},
        selection=_selection(plan),
        eligible_by_sector=_count_by_sector(plan.ranked, prices, request.as_of),
    )


def plan_metrics(
    request: RunRequest,
    bundle: ResolvedBundle,
    panel: PanelReference,
    parent: PublishedPortfolio | None,
    plan: MonthlyPlan,
) -> RunMetrics:
    """Figures of a plan, as run.json publishes them."""
    scores = plan.ranked["Score"].to_numpy(dtype=np.float64)
    return RunMetrics(
        apex_selected_count=plan.candidates.kept_count,
        apex_effective_dim=bundle.effective_dim,
        apex_daily_cost_bps=plan.orders.cost_bps,
        listed_stocks=panel.listed,
        median_rows=panel.median_rows,
        eligible_stocks=plan.candidates.eligible_count,
        priced_candidates=plan.candidates.priced_count,
        pool_size=plan.candidates.pool_size,
        positions=len(plan.orders.book.positions),
        trades=len(plan.orders.rows),
        turnover=plan.orders.turnover,
        cost_jpy=plan.orders.total_cost_jpy,
        portfolio_value_jpy=plan.orders.portfolio_value_jpy,
        cash_after_jpy=plan.orders.book.cash_jpy,
        non_finite_cells=panel.non_finite_cells,
        filled_features=len(panel.filled_features),
        filled_share=panel.filled_share,
        dataset_faults=len(panel.judgement.faults),
        priced_stocks=panel.judgement.priced,
        traded_stocks=panel.judgement.traded,
        score_best=float(scores[0]),
        score_worst=float(scores[-1]),
        score_std=float(scores.std()),
        first_build=int(plan.first_build),
        hysteresis=int(request.settings.enhanced.hysteresis),
        score_rank_correlation=_rank_correlation(plan.ranked, parent),
        bundle_age_days=_bundle_age_days(bundle, request.as_of),
        calendar_horizon_days=(LAST_DAY - request.rebalance_date).days,
    )


def portfolio_table(plan: MonthlyPlan, prices: PriceHistory, as_of: dt.date) -> pd.DataFrame:
    """The new book, best rank first; names that linger without a score stand last."""
    book = plan.orders.book
    ranks = plan.ranked.set_index(CODE)
    sectors = prices.latest(as_of, SECTOR)
    table = pd.DataFrame(
        {
            "code": code,
            "sector": sectors.get(code, ""),
            "rank": ranks["Rank"].get(code),
            "score": ranks["Score"].get(code, math.nan),
            "weight": plan.target.weights.get(code, 0.0),
            "weight_before": plan.current_weights.get(code, 0.0),
            "shares": position.shares,
            "price_jpy": position.last_price_jpy,
            "price_date": position.price_date,
            "value_jpy": position.value_jpy,
        }
        for code, position in book.positions.items()
    )
    table["rank"] = table["rank"].astype("Int64")
    return table.sort_values(["rank", "code"], na_position="last", ignore_index=True)


def _features_until(as_of: dt.date, newest_rows_unread: int, calendar: TseCalendar) -> dt.date:
    day = as_of
    for _ in range(newest_rows_unread):
        day = calendar.previous_session(day)
    return day


def _rank_correlation(ranked: pd.DataFrame, parent: PublishedPortfolio | None) -> float | None:
    """Spearman correlation of the scores with the parent's published ones, over the stocks in both."""
    if parent is None:
        return None
    both = ranked.merge(read_table(parent.artifact, SCORES_FILE), on=CODE, suffixes=("", "_before"))
    correlation = rank_ic(both["Score"], both["Score_before"])
    return correlation if math.isfinite(correlation) else None


def _bundle_age_days(bundle: ResolvedBundle, as_of: dt.date) -> int | None:
    """Days from the manifest's `created` to the as-of session; None when that names no date."""
    try:
        created = dt.datetime.fromisoformat(str(bundle.created))
    except ValueError:
        return None
    day = created.date() if created.utcoffset() is None else tokyo_date(created)
    return (as_of - day).days


def _selection(plan: MonthlyPlan) -> SelectionRecord:
    target = plan.target
    return SelectionRecord(
        candidates=tuple(plan.candidates.codes),
        fallback=plan.candidates.fallback,
        threshold=plan.candidates.threshold,
        alpha=target.alpha,
        turnover_unconstrained=target.turnover_unconstrained,
        turnover_of_weights=target.turnover,
        dropped_min_weight=tuple(target.dropped_min_weight),
        dropped_turnover=tuple(target.dropped_turnover),
        notes=tuple(str(note) for note in target.notes),
        score_penalties=dict(target.score_penalties),
        neutralisation=_neutralisation(plan.neutralised),
        target_weights=dict(target.weights),
    )


def _neutralisation(neutralised: Neutralised | None) -> NeutralisationRecord | None:
    if neutralised is None:
        return None
    return NeutralisationRecord(
        outcome=str(neutralised.reason),
        r_squared=neutralised.r_squared,
        max_abs_t=neutralised.max_abs_t,
        missing=dict(neutralised.missing),
        clipped=neutralised.clipped,
    )


def _threshold_warnings(request: RunRequest) -> list[str]:
    """Where a settings file of one's own has lost the thresholds, which have no defaults but the packaged file's."""
    if any(threshold.severity is Severity.CRITICAL for threshold in request.settings.thresholds):
        return []
    return ["no critical alert threshold is set: no alert can stop a plan"]


def _carried_warnings(parent: PublishedPortfolio | None, carried: CarriedBook | None) -> list[str]:
    if parent is None or carried is None:
        return []
    fill_date = parent.rebalance_date
    warnings = []
    if carried.fills is None:
        warnings.append(f"no closes of {fill_date} in the dataset: last month's orders count as estimated")
    elif carried.fills.unpriced_buys:
        warnings.append(
            f"{len(carried.fills.unpriced_buys)} buys of {fill_date} were not filled, no close that day: "
            f"{', '.join(carried.fills.unpriced_buys)}"
        )
    if carried.replaced:
        warnings.append(
            f"{len(carried.replaced)} held codes came back as other stocks, and the shares of the old ones keep "
            f"their last price: {', '.join(carried.replaced)}"
        )
    if stale := carried.book.stale_codes:
        warnings.append(
            f"{len(stale)} held stocks have no close on {carried.book.as_of} and are valued at their last: "
            f"{', '.join(stale)}"
        )
    return warnings


def _neutralisation_warnings(plan: MonthlyPlan) -> list[str]:
    if plan.neutralised is None or plan.neutralised.applied:
        return []
    return [f"the scores were not neutralised: {plan.neutralised.reason}"]


def _policy_warnings(target: TargetWeights) -> list[str]:
    return [f"the policy gave something up: {note}" for note in target.notes]


def _supply_warnings(plan: MonthlyPlan, prices: PriceHistory, as_of: dt.date) -> list[str]:
    """Names that would be in the pool if they had a close, and names of the book without a sector."""
    warnings = []
    closes, pool, unpriced = prices.on(as_of, CLOSE), 0, []
    for code in plan.ranked[CODE]:
        if pool == plan.candidates.pool_size:
            break
        if code in closes:
            pool += 1
        else:
            unpriced.append(code)
    if unpriced:
        warnings.append(
            f"{len(unpriced)} stocks would be in the pool by their scores and have no close on {as_of}: "
            f"{shown(unpriced)}"
        )
    sectors = prices.latest(as_of, SECTOR)
    without = [code for code in plan.orders.book.positions if code not in sectors]
    if without:
        warnings.append(f"{len(without)} names of the book have no sector: {shown(without)}")
    return warnings


def _top_k_warnings(request: RunRequest, plan: MonthlyPlan) -> list[str]:
    """Where the baseline aims at fewer names than were asked for; the capped policy says so by its own notes."""
    top_k, portfolio = request.settings.ranking.top_k, request.settings.portfolio
    if portfolio.policy is not Policy.BASELINE:
        return []
    warnings = []
    kept = plan.candidates.kept_count
    if kept < top_k:
        warnings.append(f"top_k {top_k} is more than there are candidates: {kept}")
    if dropped := plan.target.dropped_min_weight:
        warnings.append(
            f"top_k {top_k} is more than min_weight {portfolio.min_weight:g} allows: aimed at "
            f"{min(top_k, kept) - len(dropped)} names, {len(dropped)} were left out"
        )
    return warnings


def _order_warnings(orders: Orders) -> list[str]:
    warnings = []
    if orders.unpriced_buys:
        warnings.append(f"not bought, no close on {orders.as_of}: {', '.join(orders.unpriced_buys)}")
    if orders.stale_sells:
        warnings.append(
            f"sold at an older price, no close on {orders.as_of}: {', '.join(orders.stale_sells)}"
        )
    unknown = [row.code for row in orders.rows if row.adv_jpy is None]
    if unknown:
        warnings.append(
            f"{len(unknown)} trades without a known volume are costed at 1 % participation: {', '.join(unknown)}"
        )
    return warnings


def _count_by_sector(ranked: pd.DataFrame, prices: PriceHistory, as_of: dt.date) -> dict[str, int]:
    """Number of eligible stocks by their last known sector; an empty text where there is none."""
    sectors = prices.latest(as_of, SECTOR)
    return dict(sorted(Counter(str(sectors.get(code, "")) for code in ranked[CODE]).items()))
