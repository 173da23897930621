"""Step apply-costs: from scores and last month's book to target weights and orders with their costs."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from apex_tasks.bundle import ResolvedBundle
from apex_tasks.dataset.market_returns import market_returns_of
from apex_tasks.dataset.price_history import PriceHistory
from apex_tasks.dataset.prices import ADV
from apex_tasks.dataset.schema import CLOSE, CODE, SECTOR
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import LAST_DAY, TseCalendar, tokyo_date
from apex_tasks.monitoring import alerts
from apex_tasks.monthly.build_panel import PANELS, PanelReference, read_panel_prices, read_panel_risk_factors
from apex_tasks.monthly.infer import SCORES, ScoresReference, ranked_scores, read_forecasts
from apex_tasks.monthly.request import RunRequest
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.ledger import CarriedBook, carry_forward
from apex_tasks.portfolio.monthly_plan import MonthlyPlan, Session, plan_month
from apex_tasks.portfolio.neutralisation import Neutralised
from apex_tasks.portfolio.orders import Orders
from apex_tasks.portfolio.weights import TargetWeights
from apex_tasks.published.history import FORMAT as HISTORY_FORMAT
from apex_tasks.published.history import History, HistoryMonth, has_history, published_history
from apex_tasks.published.portfolio import (
    BOOK_FILE,
    HISTORY_FILE,
    ORDERS_FILE,
    PORTFOLIO_FILE,
    RUN_FILE,
    SCORES_FILE,
    PublishedPortfolio,
    last_published_before,
    latest_version,
)
from apex_tasks.refusal import Refusal
from apex_tasks.statistics.rank_ic import rank_ic
from apex_tasks.store import Store, canonical_json, content_key
from apex_tasks.tables import csv_bytes, parquet_bytes, read_table

PLANS, PLAN_FILE = "plans", "plan.json"

PlanMetrics = Mapping[str, float | None]
"""Metrics of a plan by name, as run.json publishes them; None: it has no value this month."""


class PlanReference(FrozenModel):
    """Target weights and orders in the store.

    Attributes
    ----------
    key, content_hash
        Where they lie, and the hash of all that they hold.
    parent
        Published portfolio that the orders start from, `<date>/v<k>`; None for a cold start.
    positions, turnover, cost_bps, portfolio_value_jpy
        Size of the new book, one-way turnover, cost in bps of the portfolio, value before trading.
    """

    key: str
    content_hash: str
    parent: str | None
    positions: int
    turnover: float
    cost_bps: float
    portfolio_value_jpy: float


def apply_costs(
    request: RunRequest,
    bundle: ResolvedBundle,
    panel: PanelReference,
    scores: ScoresReference,
    store: Store,
    calendar: TseCalendar,
    observe: Callable[[PlanMetrics], None] = lambda _: None,
) -> PlanReference:
    """Select candidates, weigh them against costs and the present book, and estimate the orders.

    `observe` is called with the metrics before the alert thresholds are, so that it learns of a plan that
    breaks one as well.

    Raises
    ------
    Refusal
        Last month has no published book and the run is no cold start, or nothing can be held.
    ThresholdBroken
        A critical alert threshold is broken.
    """
    parent = _parent(request, store, calendar)
    artifact = store.get(PANELS, panel.key)
    prices = PriceHistory(read_panel_prices(artifact))
    carried = None if parent is None else _carry(parent, prices, request.as_of)
    if carried is None:
        current = Book.cold(request.settings.portfolio.initial_capital_jpy, request.as_of)
    else:
        current = carried.book
    plan = plan_month(
        current,
        Session(
            ranked_scores(read_forecasts(store.get(SCORES, scores.key)), request.settings.ranking.horizon),
            prices.on(request.as_of, CLOSE),
            prices.on(request.as_of, ADV),
            read_panel_risk_factors(artifact) if request.settings.enhanced.neutralisation else None,
        ),
        request.settings,
        bundle.selection,
        request.rebalance_date,
    )
    metrics = _metrics(request, bundle, panel, parent, plan)
    observe(metrics)
    broken = alerts.evaluate(
        request.settings.thresholds,
        metrics,
        request.settings.ranking.top_k,
        first_build=plan.first_build,
        hysteresis=request.settings.enhanced.hysteresis,
    )
    alerts.stop_on_critical(broken, f"rebalance {request.rebalance_date}, as-of {request.as_of}")
    document = {
        "rebalance_date": request.rebalance_date,
        "as_of": request.as_of,
        "parent": None if parent is None else {"portfolio": parent.name, "content_hash": parent.content_hash},
        "metrics": metrics,
        "alerts": [alert.model_dump(mode="json") for alert in broken],
        "warnings": [
            *panel.warnings,
            *_carried_warnings(parent, carried),
            *_neutralisation_warnings(plan),
            *_policy_warnings(plan.target),
            *_order_warnings(plan.orders),
        ],
        "selection": _describe_selection(plan),
        "eligible_by_sector": _count_by_sector(plan.ranked, prices, request.as_of),
    }
    key = content_key(
        panel=panel.content_hash,
        scores=scores.content_hash,
        parent=None if parent is None else parent.content_hash,
        plan=document,
        ranking=request.settings.ranking.model_dump(mode="json"),
        portfolio=request.settings.portfolio.model_dump(mode="json"),
        enhanced=request.settings.enhanced.model_dump(mode="json"),
        history_format=HISTORY_FORMAT,
        history=parent.artifact.sha256(HISTORY_FILE) if parent is not None and has_history(parent) else None,
    )
    written = store.write(
        PLANS,
        key,
        files={
            SCORES_FILE: parquet_bytes(plan.ranked),
            PORTFOLIO_FILE: csv_bytes(_portfolio_table(plan, prices, request.as_of)),
            ORDERS_FILE: csv_bytes(pd.DataFrame([row.model_dump(mode="json") for row in plan.orders.rows])),
            BOOK_FILE: canonical_json(
                {"before": current.model_dump(mode="json"), "orders": plan.orders.model_dump(mode="json")}
            ),
            HISTORY_FILE: canonical_json(
                _history(request, parent, carried, prices, current, plan.orders).model_dump(mode="json")
            ),
            PLAN_FILE: canonical_json(document),
        },
    )
    return PlanReference(
        key=key,
        content_hash=written.content_hash,
        parent=None if parent is None else parent.name,
        positions=len(plan.orders.book.positions),
        turnover=plan.orders.turnover,
        cost_bps=plan.orders.cost_bps,
        portfolio_value_jpy=current.portfolio_value_jpy,
    )


def _parent(request: RunRequest, store: Store, calendar: TseCalendar) -> PublishedPortfolio | None:
    """The last published book, no older than the rebalance day before this one; None starts from cash.

    A month that was published from cash starts from cash again: running it once more repeats it.
    """
    parent = last_published_before(store, request.rebalance_date)
    due = calendar.previous_rebalance_session(request.rebalance_date, request.settings.schedule.nth_session)
    if parent is not None and parent.rebalance_date >= due:
        return parent
    own = latest_version(store, request.rebalance_date)
    if request.cold_start or (own is not None and own.artifact.read_json(RUN_FILE)["parent"] is None):
        return None
    raise Refusal(
        f"last month's portfolio is not published, so {request.rebalance_date} has no book to start from",
        expected=f"a portfolio published for {due} or later",
        received="none at all" if parent is None else f"the last one is {parent.name}",
        where=f"{store.root}/portfolio",
        remedy=f"Run the missing months first (from {due}), or trigger this one with cold_start to start "
        "from cash.",
    )


def _carry(parent: PublishedPortfolio, prices: PriceHistory, as_of: dt.date) -> CarriedBook:
    """What became of the parent's orders and book up to the as-of close."""
    return carry_forward(parent.book_before(), parent.orders(), parent.rebalance_date, prices, as_of)


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
    if stale := carried.book.stale_codes:
        warnings.append(
            f"{len(stale)} held stocks have no close on {carried.book.as_of} and are valued at their last: "
            f"{', '.join(stale)}"
        )
    return warnings


def _history(
    request: RunRequest,
    parent: PublishedPortfolio | None,
    carried: CarriedBook | None,
    prices: PriceHistory,
    current: Book,
    orders: Orders,
) -> History:
    month = HistoryMonth.of(request.rebalance_date, current, orders)
    if parent is None or carried is None:
        return History.start(month)
    return published_history(parent).then(carried.days, market_returns_of(prices), month)


def _count_by_sector(ranked: pd.DataFrame, prices: PriceHistory, as_of: dt.date) -> dict[str, int]:
    """Number of eligible stocks by their last known sector; an empty text where there is none."""
    sectors = prices.latest(as_of, SECTOR)
    return dict(sorted(Counter(str(sectors.get(code, "")) for code in ranked[CODE]).items()))


def _metrics(
    request: RunRequest,
    bundle: ResolvedBundle,
    panel: PanelReference,
    parent: PublishedPortfolio | None,
    plan: MonthlyPlan,
) -> dict[str, float | None]:
    scores = plan.ranked["Score"].to_numpy(dtype=np.float64)
    return {
        "apex_selected_count": plan.candidates.kept_count,
        "apex_effective_dim": bundle.effective_dim,
        "apex_daily_cost_bps": plan.orders.cost_bps,
        "listed_stocks": panel.listed,
        "median_rows": panel.median_rows,
        "eligible_stocks": plan.candidates.eligible_count,
        "priced_candidates": plan.candidates.priced_count,
        "pool_size": plan.candidates.pool_size,
        "positions": len(plan.orders.book.positions),
        "trades": len(plan.orders.rows),
        "turnover": plan.orders.turnover,
        "cost_jpy": plan.orders.total_cost_jpy,
        "portfolio_value_jpy": plan.orders.portfolio_value_jpy,
        "cash_after_jpy": plan.orders.book.cash_jpy,
        "non_finite_cells": panel.non_finite_cells,
        "filled_features": len(panel.filled_features),
        "score_best": float(scores[0]),
        "score_worst": float(scores[-1]),
        "score_std": float(scores.std()),
        "first_build": int(plan.first_build),
        "hysteresis": int(request.settings.enhanced.hysteresis),
        "score_rank_correlation": _rank_correlation(plan.ranked, parent),
        "bundle_age_days": _bundle_age_days(bundle, request.as_of),
        "calendar_horizon_days": (LAST_DAY - request.rebalance_date).days,
    }


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


def _describe_selection(plan: MonthlyPlan) -> dict[str, Any]:
    target = plan.target
    return {
        "candidates": list(plan.candidates.codes),
        "fallback": plan.candidates.fallback,
        "threshold": plan.candidates.threshold,
        "alpha": target.alpha,
        "turnover_unconstrained": target.turnover_unconstrained,
        "turnover_of_weights": target.turnover,
        "dropped_min_weight": list(target.dropped_min_weight),
        "dropped_turnover": list(target.dropped_turnover),
        "notes": [str(note) for note in target.notes],
        "score_penalties": dict(target.score_penalties),
        "neutralisation": _describe_neutralisation(plan.neutralised),
        "target_weights": dict(target.weights),
    }


def _describe_neutralisation(neutralised: Neutralised | None) -> dict[str, Any] | None:
    if neutralised is None:
        return None
    return {
        "outcome": str(neutralised.reason),
        "r_squared": neutralised.r_squared,
        "max_abs_t": neutralised.max_abs_t,
        "missing": dict(neutralised.missing),
        "clipped": neutralised.clipped,
    }


def _neutralisation_warnings(plan: MonthlyPlan) -> list[str]:
    if plan.neutralised is None or plan.neutralised.applied:
        return []
    return [f"the scores were not neutralised: {plan.neutralised.reason}"]


def _policy_warnings(target: TargetWeights) -> list[str]:
    return [f"the policy gave something up: {note}" for note in target.notes]


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


def _portfolio_table(plan: MonthlyPlan, prices: PriceHistory, as_of: dt.date) -> pd.DataFrame:
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
