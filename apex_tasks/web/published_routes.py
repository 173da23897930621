"""`GET /portfolio/{month}`: what was published."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.published.portfolio import (
    ORDERS_FILE,
    PORTFOLIO_FILE,
    PublishedPortfolio,
    newest_of_month,
)
from apex_tasks.published.run_document import Alert
from apex_tasks.store import Store
from apex_tasks.web.errors import ApiError, JsonErrors, documented


class Position(FrozenModel):
    """One stock of the book after the trades."""

    code: str
    sector: str | None
    rank: int | None = Field(description="null: no longer scored.")
    score: float | None
    weight: float = Field(description="Fraction of the portfolio's value.")
    weight_before: float
    shares: float
    price_jpy: float
    price_date: dt.date
    value_jpy: float


class Order(FrozenModel):
    """One trade, estimated at the as-of close."""

    code: str
    side: str = Field(description="BUY or SELL.")
    shares: float
    price_jpy: float
    value_jpy: float
    adv_jpy: float | None = Field(description="Average daily traded value.")
    adv_share: float | None = Field(description="Value as a fraction of it.")
    commission_jpy: float
    slippage_jpy: float
    cost_jpy: float
    cost_bps: float
    weight_before: float
    weight_after: float


class Parent(FrozenModel):
    """The published portfolio that the orders start from."""

    portfolio: str
    content_hash: str


class PortfolioReply(FrozenModel):
    """A month's newest version."""

    rebalance_date: dt.date = Field(description="Day of the trades.")
    as_of: dt.date = Field(description="Session whose close decided.")
    version: int
    content_hash: str
    parent: Parent | None = Field(description="null: from cash.")
    synthetic: bool
    metrics: dict[str, float | None]
    alerts: tuple[Alert, ...] = Field(description="Thresholds that were broken without stopping the month.")
    warnings: tuple[str, ...]
    positions: tuple[Position, ...]
    orders: tuple[Order, ...]


def published_router(store: Callable[[], Store]) -> APIRouter:
    """Routes of what was published.

    Parameters
    ----------
    store
        Gives the store; called at every request, so that settings in force are used.
    """
    router = APIRouter(tags=["published"], route_class=JsonErrors)

    @router.get(
        "/portfolio/{month}",
        summary="A month's published portfolio",
        response_model=PortfolioReply,
        responses=documented(404, 422, 503),
    )
    def portfolio(
        month: Annotated[
            str,
            Path(
                pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$",
                min_length=7,
                max_length=7,
                description="Month of the rebalance, YYYY-MM.",
                examples=["2025-11"],
            ),
        ],
    ) -> PortfolioReply:
        """Book, orders, metrics and warnings of the month's newest version."""
        found = newest_of_month(store(), month)
        if found is None:
            raise ApiError(404, "month", f"nothing is published for {month}")
        return portfolio_reply(found)

    return router


def portfolio_reply(published: PublishedPortfolio) -> PortfolioReply:
    """Read a published portfolio, every file checked against its manifest."""
    run = published.run()
    return PortfolioReply(
        rebalance_date=published.rebalance_date,
        as_of=published.as_of,
        version=published.version,
        content_hash=published.content_hash,
        parent=run.parent and Parent.model_validate(run.parent.model_dump()),
        synthetic=run.synthetic,
        metrics=run.metrics.by_name(),
        alerts=run.alerts,
        warnings=run.warnings,
        positions=tuple(Position.model_validate(row) for row in _rows(published, PORTFOLIO_FILE)),
        orders=tuple(Order.model_validate(row) for row in _rows(published, ORDERS_FILE)),
    )


def _rows(published: PublishedPortfolio, name: str) -> list[dict[str, Any]]:
    from apex_tasks.tables import read_csv  # brings pandas, which no other route of published months needs

    table = read_csv(published.artifact, name).astype(object)
    return [
        dict(zip(table.columns, row, strict=True))
        for row in table.where(table.notna(), None).itertuples(index=False)
    ]
