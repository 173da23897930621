"""What a month looks like from outside: gauges of the newest book, its alert bounds and when the next is due."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monitoring.alerts import INFERENCE_LATENCY, effective_bound
from apex_tasks.published.portfolio import published_months
from apex_tasks.settings import AlertThreshold, ApexSettings
from apex_tasks.store import Store

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

PREFIX = "apex"
HELP = "Of the newest published month; docs/monitoring.md says what it is."
PUBLISH_WITHIN_SESSIONS = 3
"""A month is overdue when this many sessions, the due day among them, have passed without it."""


class Gauge(NamedTuple):
    """One value that holds until the next one; None: there is none this month.

    Prometheus shows it as `apex_<name>{<labels>}`; over statsd the label values follow the name, which the
    exporter's mapping turns back.
    """

    name: str
    value: float | None
    labels: Mapping[str, str] = {}

    @property
    def statsd_name(self) -> str:
        """Name below the statsd prefix."""
        return ".".join((self.name, *self.labels.values()))


def metric_gauges(metrics: Mapping[str, float | None]) -> list[Gauge]:
    """Gauges of a plan's metrics, as run.json publishes them."""
    return [Gauge(name.removeprefix(f"{PREFIX}_"), value) for name, value in metrics.items()]


def bound_gauges(
    thresholds: Iterable[AlertThreshold], top_k: int, metrics: Mapping[str, float | None]
) -> list[Gauge]:
    """Bounds in force for a plan with these metrics, so that Prometheus alerts by the settings of the run."""
    first_build, hysteresis = bool(metrics.get("first_build")), bool(metrics.get("hysteresis"))
    return [
        Gauge(
            "threshold",
            effective_bound(threshold, top_k, first_build, hysteresis),
            {"severity": threshold.severity.lower(), "metric": threshold.metric},
        )
        for threshold in thresholds
    ]


def latency_gauges(latency_ms: float, *, cached: bool, moment: float) -> list[Gauge]:
    """Inference latency and its unix time, apart for scores that were found and scores that were computed."""
    labels = {"scores": "cached" if cached else "computed"}
    return [
        Gauge(INFERENCE_LATENCY.removeprefix(f"{PREFIX}_"), latency_ms, labels),
        Gauge("inference_timestamp_seconds", moment, labels),
    ]


def due_gauges(published: dt.date, calendar: TseCalendar, nth_session: int) -> list[Gauge]:
    """Unix times that follow from the newest published rebalance day.

    The next month is due at the opening of its rebalance day, and overdue at the opening of the session
    `PUBLISH_WITHIN_SESSIONS` later.
    """
    due = overdue = calendar.next_rebalance_session(published, nth_session)
    for _ in range(PUBLISH_WITHIN_SESSIONS):
        overdue = calendar.next_session(overdue)
    days = {"rebalance": published, "next_rebalance": due, "publish_deadline": overdue}
    return [
        Gauge(f"{name}_timestamp_seconds", calendar.rebalance_instant(day).timestamp())
        for name, day in days.items()
    ]


def published_gauges(store: Store, settings: ApexSettings, calendar: TseCalendar) -> list[Gauge]:
    """Gauges of the newest published month, read back from the store; none before the first month."""
    months = published_months(store)
    if not months:
        return []
    newest = months[-1]
    run = newest.run()
    metrics, top_k = run.metrics.by_name(), run.settings.ranking.top_k
    return [
        *metric_gauges(metrics),
        *bound_gauges(settings.thresholds, top_k, metrics),
        *due_gauges(newest.rebalance_date, calendar, settings.schedule.nth_session),
    ]


def exposition(gauges: Iterable[Gauge]) -> str:
    """Text that Prometheus scrapes; gauges without a value are left out."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily

    families: dict[str, GaugeMetricFamily] = {}
    for gauge in gauges:
        if gauge.value is not None:
            name = f"{PREFIX}_{gauge.name}"
            family = families.setdefault(name, GaugeMetricFamily(name, HELP, labels=list(gauge.labels)))
            family.add_metric(list(gauge.labels.values()), gauge.value)
    registry = CollectorRegistry()
    registry.register(_Families(families.values()))
    return generate_latest(registry).decode()


class _Families:
    """What is to be exposed, in the form that the client library asks for."""

    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families
