"""The application: published months in Airflow, and everything in `apex serve`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

import apex_tasks
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.settings import ApexSettings, ServeSettings
from apex_tasks.store import Store
from apex_tasks.web.errors import UnhandledErrorMiddleware, add_error_handlers, documented
from apex_tasks.web.metrics_routes import metrics_router
from apex_tasks.web.middleware.limits import BodyTimeout, DeclaredSizeLimit, RateLimit
from apex_tasks.web.middleware.security_headers import DATA_HEADERS, SecurityHeaders
from apex_tasks.web.published_routes import published_router

if TYPE_CHECKING:
    from apex_tasks.web.middleware.metrics import RequestMetrics
    from apex_tasks.web.predictions.predictor import Predictor

TITLE = "APEX Batch"
DOCS_PATH, DOCS_FILES = "/docs", "/static-offline-docs"
_DESCRIPTION = (
    "Ranks the Tokyo market and shows what was published. Errors are always "
    '`{"detail": [{"field": ..., "reason": ...}]}`.'
)


@dataclass(frozen=True)
class Access:
    """Who may ask: two FastAPI dependencies.

    Attributes
    ----------
    callers
        For predictions and published months.
    probes
        For health and metrics.
    """

    callers: Callable[..., Any]
    probes: Callable[..., Any]


@dataclass(frozen=True)
class Prediction:
    """What the routes of predictions need.

    Attributes
    ----------
    predictor
        Answers them.
    cache_folder
        Folder of its panels; None: it keeps none.
    metrics
        Where its requests are counted.
    """

    predictor: Predictor
    cache_folder: Path | None
    metrics: RequestMetrics


def create_app(
    settings: Callable[[], ApexSettings],
    access: Access,
    calendar: TseCalendar,
    *,
    prediction: Prediction | None = None,
    pages: Callable[[FastAPI], None] | None = None,
    limits: ServeSettings | None = None,
    docs: bool = False,
) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    settings
        Gives the settings in force; called at every request for what was published.
    access
        Who may ask.
    calendar
        TSE sessions.
    prediction
        Adds `/predict`, `/available-dates` and `/health`; None, as in Airflow: only what was published.
    pages
        Adds pages for people, and answers people with pages: errors of the other routes stay JSON.
    limits
        Bounds on requests; None where the surrounding server has its own.
    docs
        Serve the interactive documentation, which needs nothing from the internet.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if prediction is not None:
            prediction.predictor.prepare()
        yield

    metrics = None if prediction is None else prediction.metrics
    counted = []
    if metrics is not None:
        from apex_tasks.web.middleware.metrics import MetricsMiddleware

        counted = [Middleware(MetricsMiddleware, metrics=metrics)]
    answers = [
        Middleware(SecurityHeaders, headers=DATA_HEADERS, docs=(DOCS_PATH, DOCS_FILES) if docs else ()),
        Middleware(UnhandledErrorMiddleware),
    ]
    middleware = [
        *counted,
        *(answers if pages is None else []),
        *([] if limits is None else _bounds(limits)),
    ]
    app = _kind(docs)(
        docs_url=DOCS_PATH if docs else None,
        redoc_url=None,  # it asks another host for its logo
        openapi_url="/openapi.json" if docs else None,
        title=TITLE,
        version=apex_tasks.__version__,
        description=_DESCRIPTION,
        middleware=middleware,
        lifespan=lifespan,
        responses=documented(500) | ({} if limits is None else documented(429)),
    )
    if pages is None:
        add_error_handlers(app)
    else:
        pages(app)
    app.include_router(
        published_router(lambda: Store(settings().home)),
        dependencies=[Depends(access.callers)],
        responses=documented(401, 403),
    )
    app.include_router(metrics_router(settings, calendar, access.probes, metrics))
    if prediction is not None:
        # Where only published months are shown, nobody pays for the libraries of the model.
        from apex_tasks.web.predictions.health import health_router
        from apex_tasks.web.predictions.routes import prediction_router

        app.include_router(prediction_router(prediction.predictor, access.callers))
        app.include_router(health_router(prediction.predictor, prediction.cache_folder, access.probes))
    return app


def _kind(docs: bool) -> Callable[..., FastAPI]:
    if not docs:
        return FastAPI
    from fastapi_offline import FastAPIOffline

    return FastAPIOffline


def _bounds(limits: ServeSettings) -> list[Middleware]:
    return [
        Middleware(RateLimit, rate=limits.rate_limit),
        Middleware(DeclaredSizeLimit, max_bytes=limits.max_body_bytes),
        Middleware(RequestBodyLimitMiddleware, max_body_size=limits.max_body_bytes),
        Middleware(BodyTimeout, seconds=limits.body_timeout_seconds),
    ]
