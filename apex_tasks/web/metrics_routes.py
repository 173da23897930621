"""`GET /metrics`: gauges of the newest published month, and counts of requests where they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends
from starlette.responses import PlainTextResponse

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monitoring.gauges import exposition, published_gauges
from apex_tasks.performance.gauges import performance_gauges
from apex_tasks.performance.stored_reports import newest_report
from apex_tasks.settings import ApexSettings
from apex_tasks.store import Store
from apex_tasks.web.access import NO_KEY_NEEDED
from apex_tasks.web.errors import JsonErrors, documented

if TYPE_CHECKING:
    from apex_tasks.web.middleware.metrics import RequestMetrics

CONTENT_TYPE = "text/plain; version=0.0.4"


def store_metrics(settings: ApexSettings, calendar: TseCalendar) -> str:
    """Gauges of the newest published month and of its live performance, as Prometheus scrapes them."""
    store = Store(settings.home)
    judged = newest_report(store)
    gauges = published_gauges(store, settings, calendar)
    return exposition([*gauges, *(performance_gauges(judged) if judged else ())])


def metrics_router(
    settings: Callable[[], ApexSettings],
    calendar: TseCalendar,
    access: Callable[..., Any],
    requests: RequestMetrics | None = None,
) -> APIRouter:
    """The route that Prometheus scrapes.

    Parameters
    ----------
    settings
        Gives the settings in force; called at every request.
    access
        Dependency that decides who may ask.
    requests
        Counts of this application's requests.
    """
    router = APIRouter(tags=["operation"], route_class=JsonErrors)

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=PlainTextResponse,
        responses={
            200: {"content": {"text/plain": {"example": "apex_turnover 0.34\n"}}, "description": "Metrics."},
            **documented(401, 403, 503),
        },
        dependencies=[Depends(access)],
        openapi_extra=NO_KEY_NEEDED,
    )
    def metrics() -> PlainTextResponse:
        """Gauges of the newest published month and its performance, read from the store: a restart leaves no gap."""
        text = store_metrics(settings(), calendar)
        return PlainTextResponse(
            text + (requests.exposition() if requests is not None else ""), media_type=CONTENT_TYPE
        )

    return router
