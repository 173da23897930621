"""Step apply-costs: from scores and last month's book to target weights and orders with their costs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import pandas as pd

from apex_tasks.bundle import ResolvedBundle
from apex_tasks.dataset.judgement.faults import shown
from apex_tasks.dataset.prices.daily_prices import ADV
from apex_tasks.dataset.prices.market_returns import market_returns_of
from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import CLOSE, CODE
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monitoring import alerts
from apex_tasks.monthly.build_panel import (
    PANELS,
    PanelReference,
    read_panel_earlier_prices,
    read_panel_new_histories,
    read_panel_prices,
    read_panel_risk_factors,
)
from apex_tasks.monthly.infer import SCORES, ScoresReference, read_forecasts
from apex_tasks.monthly.plan_record import plan_document, plan_metrics, portfolio_table
from apex_tasks.monthly.request import RunRequest
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.ledger import CarriedBook, carry_forward
from apex_tasks.portfolio.monthly_plan import Session, plan_month, require_within_limits
from apex_tasks.portfolio.orders import Orders
from apex_tasks.portfolio.selection import ranked_scores
from apex_tasks.published.chain import book_to_start_from, due_before
from apex_tasks.published.history import FORMAT as HISTORY_FORMAT
from apex_tasks.published.history import History, HistoryMonth, has_history, published_history
from apex_tasks.published.portfolio import (
    BOOK_FILE,
    HISTORY_FILE,
    ORDERS_FILE,
    PORTFOLIO_FILE,
    SCORES_FILE,
    BookDocument,
    PublishedPortfolio,
    last_published_before,
    latest_of_kind,
)
from apex_tasks.published.run_document import PlanDocument
from apex_tasks.refusal import DatasetUnsound, Refusal
from apex_tasks.settings import MarketRules
from apex_tasks.store import Artifact, ArtifactReference, Store, canonical_json, content_key
from apex_tasks.tables import csv_bytes, parquet_bytes

PLANS, PLAN_FILE = "plans", "plan.json"

PlanMetrics = Mapping[str, float | None]
"""Metrics of a plan by name, as run.json publishes them; None: it has no value this month."""


FEW_LOST = 2
"""So many names may leave within a month whatever the size of the book."""


class PlanReference(ArtifactReference):
    """Target weights and orders in the store.

    Attributes
    ----------
    parent
        Published portfolio that the orders start from, `<date>/v<k>`; None for a cold start.
    positions, turnover, cost_bps, portfolio_value_jpy
        Size of the new book, one-way turnover, cost in bps of the portfolio, value before trading.
    """

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
        Last month has no published book and the run is no cold start, nothing can be held, or the plan goes beyond
        the setting `limits`.
    ThresholdBroken
        A critical alert threshold is broken.
    """
    parent = _parent(request, store, calendar)
    artifact = store.get(PANELS, panel.key)
    prices = PriceHistory(read_panel_prices(artifact))
    if parent is not None:
        _require_known_names(parent, prices, request)
    carried = None if parent is None else _carry(parent, prices, artifact, request.as_of)
    if carried is None:
        current = Book.cold(request.settings.portfolio.initial_capital_jpy, request.as_of)
    else:
        current = carried.book
    plan = plan_month(
        current,
        Session(
            ranked_scores(
                read_forecasts(store.get(SCORES, scores.key)), bundle.horizon, bundle.selection.sign
            ),
            prices.on(request.as_of, CLOSE),
            prices.on(request.as_of, ADV),
            read_panel_risk_factors(artifact) if request.settings.enhanced.neutralisation else None,
        ),
        request.settings,
        bundle.selection,
        request.rebalance_date,
    )
    metrics = plan_metrics(request, bundle, panel, parent, plan)
    observe(metrics.by_name())
    broken = alerts.evaluate(
        request.settings.thresholds,
        metrics.by_name(),
        request.settings.ranking.top_k,
        first_build=plan.first_build,
        hysteresis=request.settings.enhanced.hysteresis,
    )
    alerts.stop_on_critical(broken, f"rebalance {request.rebalance_date}, as-of {request.as_of}")
    require_within_limits(plan, request.settings.limits, request.rebalance_date)
    names = {*current.positions, *(row.code for row in plan.orders.rows)}
    panel.judgement.require_sound_names(names, f"rebalance {request.rebalance_date}, as-of {request.as_of}")
    document = plan_document(request, bundle, panel, parent, carried, plan, prices, metrics, broken, calendar)
    key = content_key(
        panel=panel.content_hash,
        scores=scores.content_hash,
        parent=None if parent is None else parent.content_hash,
        plan=document.model_dump(mode="json"),
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
            PORTFOLIO_FILE: csv_bytes(portfolio_table(plan, prices, request.as_of)),
            ORDERS_FILE: csv_bytes(pd.DataFrame([row.model_dump(mode="json") for row in plan.orders.rows])),
            BOOK_FILE: canonical_json(
                BookDocument(before=current, orders=plan.orders).model_dump(mode="json")
            ),
            HISTORY_FILE: canonical_json(
                _history(request, parent, carried, prices, current, plan.orders).model_dump(mode="json")
            ),
            PLAN_FILE: canonical_json(document.model_dump(mode="json")),
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


def read_plan(store: Store, plan: PlanReference) -> PlanDocument:
    """What a plan rests on, read back from the store."""
    return PlanDocument.model_validate_json(store.get(PLANS, plan.key).read_bytes(PLAN_FILE))


def _parent(request: RunRequest, store: Store, calendar: TseCalendar) -> PublishedPortfolio | None:
    """The last published book, no older than the rebalance day before this one; None starts from cash.

    A month that was published from cash starts from cash again: running it again repeats it.
    """
    due = due_before(store, request.rebalance_date, calendar, request.settings.schedule.nth_session)
    parent = book_to_start_from(store, request.rebalance_date, due, calendar)
    if parent is not None:
        return parent
    older = last_published_before(store, request.rebalance_date)
    own = latest_of_kind(store, request.rebalance_date, off_cycle=request.off_cycle is not None)
    if request.cold_start or (own is not None and own.run().parent is None):
        return None
    raise Refusal(
        f"last month's portfolio is not published, so {request.rebalance_date} has no book to start from",
        expected=f"a portfolio published for {due} or later",
        received="none at all" if older is None else f"the last one is {older.name}",
        where=f"{store.root}/portfolio",
        remedy=f"Run the missing months first (from {due}), or trigger this one with cold_start to start "
        "from cash.",
    )


def _require_known_names(parent: PublishedPortfolio, prices: PriceHistory, request: RunRequest) -> None:
    """Refuse a dataset that knows too few of the names held or ordered: its codes are probably others by now."""
    names = sorted({*parent.book_before().positions, *(row.code for row in parent.orders().rows)})
    there = set(prices.between(parent.rebalance_date, request.as_of).frame[CODE])
    lost = [code for code in names if code not in there]
    if len(lost) > max(FEW_LOST, request.settings.judgement.max_lost_share * len(names)):
        raise DatasetUnsound(
            "held or ordered names have no row in the dataset",
            expected=f"a row since {parent.rebalance_date} of {len(names)} names but "
            f"{request.settings.judgement.max_lost_share:.0%}",
            received=f"{len(lost)} without: {shown(lost)}",
            where=f"{request.dataset}, against {parent.name}",
            remedy="Check whether the codes changed (4 or 5 characters). If so many names really left, raise "
            "judgement.max_lost_share for this month.",
        )


def _carry(parent: PublishedPortfolio, prices: PriceHistory, panel: Artifact, as_of: dt.date) -> CarriedBook:
    """What became of the parent's orders and book up to the as-of close."""
    return carry_forward(
        parent.book_before(),
        parent.orders(),
        parent.rebalance_date,
        prices,
        as_of,
        read_panel_earlier_prices(panel),
        read_panel_new_histories(panel),
    )


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
    limited = request.settings.judgement.market is MarketRules.TSE
    return published_history(parent).then(
        carried.days, market_returns_of(prices, daily_limits=limited), month
    )
