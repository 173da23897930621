"""What Airflow's web server answers under /apex: the last published month's numbers, for Prometheus."""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import MutableMapping
from functools import cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin

TOKEN_VARIABLE = "APEX_METRICS_TOKEN"  # noqa: S105 - the name of a variable, not a token


class LazyWebApp:
    """ASGI application that is built at its first request.

    Every component of Airflow loads this plugin, and only the web server answers requests: the others shall not
    pay for a web framework.
    """

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Hand a request to the application."""
        await _application()(scope, receive, send)


class ApexWebPlugin(AirflowPlugin):
    """Mounts the application."""

    name = "apex_web"
    fastapi_apps = [{"app": LazyWebApp(), "url_prefix": "/apex", "name": "APEX Batch"}]  # noqa: RUF012


@cache
def _application() -> Any:
    from starlette.applications import Starlette
    from starlette.routing import Route

    return Starlette(routes=[Route("/metrics", _metrics)])


def _metrics(request: Any) -> Any:
    """Gauges of the newest published month, read from the store: a restart of anything leaves no gap."""
    from starlette.responses import PlainTextResponse

    from apex_tasks.gauges import exposition, published_gauges
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.refusal import Refusal
    from apex_tasks.settings import load_settings
    from apex_tasks.store import Store

    if not _may_read(request):
        return PlainTextResponse(
            f"Metrics are for this host, or for a bearer of the token in {TOKEN_VARIABLE}.\n", status_code=403
        )
    try:
        settings = load_settings()
        text = exposition(published_gauges(Store(settings.home), settings, TseCalendar.load()))
    except Refusal as refusal:
        return PlainTextResponse(f"{refusal}\n", status_code=503)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _may_read(request: Any) -> bool:
    token = os.environ.get(TOKEN_VARIABLE)
    if token:
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except (AttributeError, ValueError):
        return False
