"""What Airflow's web server answers under /apex: a tab on each run, the published months, metrics."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.configuration import conf

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.types import ASGIApp, Receive, Scope, Send

DAG_ID = "apex_monthly_rebalance"
PREFIX = "/apex"
TOKEN_VARIABLE = "APEX_METRICS_TOKEN"  # noqa: S105 - the name of a variable, not a token
BASE = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + PREFIX
"""Where a browser finds the application: Airflow itself may be served below a path."""

# One gray that stands out from all backgrounds of Airflow's navigation, light, dark and chosen.
ICON = "data:image/svg+xml," + quote(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="#8a94a3">'
    '<path d="M3 13h4v8H3zM10 8h4v13h-4zM17 3h4v18h-4z"/></svg>'
)

_log = logging.getLogger(__name__)


class LazyWebApp:
    """ASGI application that is built at its first request.

    Every component of Airflow loads the plugin, but only the web server answers requests: the others must not
    pay for a web framework.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the application, or say that it could not be built; the log then says why."""
        try:
            application = _application()
        except Exception:
            _log.exception("APEX Batch cannot answer under %s", PREFIX)
            if scope["type"] == "http":
                await _say_unavailable(send)
            return
        await application(scope, receive, send)


FASTAPI_APPS: list[dict[str, Any]] = [{"app": LazyWebApp(), "url_prefix": PREFIX, "name": "APEX Batch"}]
"""The application, built at its first request."""
EXTERNAL_VIEWS: list[dict[str, Any]] = [
    {
        "name": "Portfolio",
        "href": f"{BASE}/report/{{DAG_ID}}/{{RUN_ID}}",
        "destination": "dag_run",
        "url_route": "portfolio",
        "icon": ICON,
    },
    {
        "name": "Portfolios",
        "href": f"{BASE}/months",
        "destination": "nav",
        "nav_top_level": True,
        "url_route": "portfolios",
        "icon": ICON,
    },
]
"""The tab on each run, and the page of the published months."""


@cache
def _application() -> ASGIApp:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
    from fastapi import Depends

    from apex_airflow.run_state import check_ids, read_run_state
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.settings import load_settings
    from apex_tasks.web.access import ScraperAccess
    from apex_tasks.web.app import Access, create_app
    from apex_tasks.web.pages.responses import install_error_pages
    from apex_tasks.web.pages.routes import published_pages, run_pages

    of_portfolios = requires_access_dag(method="GET", param_dag_id=DAG_ID)
    of_the_run = requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_INSTANCE)

    def add_pages(application: FastAPI) -> None:
        application.include_router(published_pages(DAG_ID), dependencies=[Depends(of_portfolios)])
        # Nothing is shown before the login, and no malformed id reaches the database.
        application.include_router(
            run_pages(DAG_ID, read_run_state),
            dependencies=[Depends(get_user), Depends(check_ids), Depends(of_the_run)],
        )
        install_error_pages(application, _login)

    access = Access(callers=of_portfolios, probes=ScraperAccess(TOKEN_VARIABLE))
    return create_app(load_settings, access, TseCalendar.load(), pages=add_pages)


def _login(request: Request) -> list[tuple[str, str]]:
    """Airflow's own way to its login page, and back."""
    airflow = str(request.scope.get("root_path", "")).rstrip("/").removesuffix(PREFIX)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return [("Log in to Airflow", f"{airflow}/api/v2/auth/login?next={quote(here, safe='')}")]


async def _say_unavailable(send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    body = b"APEX Batch could not be loaded; the web server's log says why.\n"
    await send({"type": "http.response.body", "body": body})
