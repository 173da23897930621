"""Bounds on requests: how many, how large, how slow."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apex_tasks.web.errors import ApiError, Problem, error_response

IPV6_NETWORK_BITS = 64
"""One subscriber usually has that many addresses, so they count as one client."""


class RateLimit:
    """Middleware that answers 429 to a client address with too many requests."""

    def __init__(self, app: ASGIApp, rate: str) -> None:
        self.app = app
        self._rate = parse(rate)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request, or refuse it."""
        if scope["type"] == "http":
            client = _client(scope)
            if not self._limiter.hit(self._rate, client):
                free_at = self._limiter.get_window_stats(self._rate, client).reset_time
                seconds = max(1, math.ceil(free_at - time.time()))
                reply = error_response(
                    429,
                    [Problem(field=None, reason=f"more than {self._rate} from this address")],
                    {"Retry-After": str(seconds)},
                )
                await reply(scope, receive, send)
                return
        await self.app(scope, receive, send)


class DeclaredSizeLimit:
    """Middleware that answers 413 to a declared body size, before Starlette's own limit does it as plain text."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request, or refuse it."""
        if scope["type"] == "http":
            declared = Headers(scope=scope).get("content-length", "0")
            if declared.isascii() and declared.isdigit() and int(declared[:20]) > self._max_bytes:
                reply = error_response(
                    413,
                    [Problem(field=None, reason=f"the body is larger than {self._max_bytes} bytes")],
                    {"Connection": "close"},
                )
                await reply(scope, receive, send)
                return
        await self.app(scope, receive, send)


class BodyTimeout:
    """Middleware that gives up a request body which does not arrive in time."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request whose body has a deadline."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self._seconds
        complete = False

        async def receive_in_time() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, None, f"the body did not arrive within {self._seconds:g} s") from None
            complete = not message.get("more_body", False)
            return message

        await self.app(scope, receive_in_time, send)


def _client(scope: Scope) -> str:
    host = str(scope["client"][0]) if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((int(address), IPV6_NETWORK_BITS), strict=False))
