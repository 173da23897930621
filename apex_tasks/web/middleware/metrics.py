"""Counts and times of requests, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
OTHER = "other"


class RequestMetrics:
    """Metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "apex_serve_requests", "Answered requests.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "apex_serve_request_seconds",
            "Time to answer a request.",
            ("route",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._predictions = Counter(
            "apex_serve_predictions",
            "Predictions by where their scores came from: memory, disk or built.",
            ("scores",),
            registry=self._registry,
        )
        self._builds = Histogram(
            "apex_serve_build_seconds",
            "Time to build and score a session.",
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._building = Gauge(
            "apex_serve_builds_under_way", "Sessions that are being computed.", registry=self._registry
        )
        for scores in ("memory", "disk", "built"):
            self._predictions.labels(scores)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def predicted(self, scores: str) -> None:
        """Count a prediction."""
        self._predictions.labels(scores).inc()

    @contextmanager
    def building(self) -> Iterator[None]:
        """Time a build."""
        with self._building.track_inprogress(), self._builds.time():
            yield

    def exposition(self) -> str:
        """All of it as Prometheus scrapes it."""
        return generate_latest(self._registry).decode()


class MetricsMiddleware:
    """Counts every request by the route that answered it, so that no client can make up labels."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request and time it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", OTHER)
                self._metrics.answered(route, message["status"], time.perf_counter() - started)
            await send(message)

        await self.app(scope, receive, watched)
