"""Alert thresholds on the metrics of a run."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping

from apex_tasks.published.run_document import Alert
from apex_tasks.refusal import Refusal, ThresholdBroken
from apex_tasks.settings import AlertThreshold, Severity

RUNBOOK = "docs/runbook.md"
INFERENCE_LATENCY = "apex_inference_latency_ms"
"""The one metric that differs between two runs of a month: it is no part of the published result."""

_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
}


def evaluate(
    thresholds: Iterable[AlertThreshold],
    metrics: Mapping[str, float | None],
    top_k: int,
    *,
    first_build: bool = False,
    hysteresis: bool = False,
) -> tuple[Alert, ...]:
    """Compare the published metrics with the thresholds.

    A metric that has no value this month (None) breaks no threshold. The threshold on the inference latency
    is left to `evaluate_latency`.

    Raises
    ------
    Refusal
        A threshold names a metric that is not published.
    """
    broken = []
    for threshold in thresholds:
        if threshold.metric == INFERENCE_LATENCY:
            continue
        if threshold.metric not in metrics:
            raise Refusal(
                "an alert threshold names an unknown metric",
                expected=f"one of {', '.join(sorted([*metrics, INFERENCE_LATENCY]))}",
                received=threshold.metric,
                where="setting thresholds",
                remedy="Correct the name, or remove the threshold.",
            )
        broken += _broken(
            threshold, metrics[threshold.metric], effective_bound(threshold, top_k, first_build, hysteresis)
        )
    return tuple(broken)


def evaluate_latency(
    thresholds: Iterable[AlertThreshold], latency_ms: float, *, cached: bool
) -> tuple[Alert, ...]:
    """Compare the inference latency with its threshold.

    The bound is one of finding scores that were computed before. A forward pass takes seconds, as it should,
    and breaks nothing.
    """
    if not cached:
        return ()
    return tuple(
        alert
        for threshold in thresholds
        if threshold.metric == INFERENCE_LATENCY
        for alert in _broken(threshold, latency_ms, threshold.bound)
    )


def effective_bound(
    threshold: AlertThreshold, top_k: int, first_build: bool, hysteresis: bool = False
) -> float:
    """Bound in force for a book of this size, built from nothing or not, from a gate's candidates or not."""
    bound = threshold.bound
    if first_build and threshold.first_build_bound is not None:
        bound = threshold.first_build_bound
    per_name = threshold.per_name
    if hysteresis and threshold.hysteresis_per_name is not None:
        per_name = threshold.hysteresis_per_name
    if per_name is not None:
        bound = min(bound, math.ceil(per_name * top_k))
    return bound


def stop_on_critical(alerts: Iterable[Alert], where: str) -> None:
    """Stop the run when a critical threshold is broken.

    Raises
    ------
    ThresholdBroken
        Names every critical alert, and the first one's remedy with its place in the runbook.
    """
    critical = [alert for alert in alerts if alert.severity is Severity.CRITICAL]
    if critical:
        raise ThresholdBroken(
            "a critical alert threshold is broken, nothing is published",
            expected=" and ".join(
                f"not {alert.metric} {alert.comparison} {alert.bound:g}" for alert in critical
            ),
            received=", ".join(f"{alert.metric} = {alert.value:g}" for alert in critical),
            where=where,
            remedy=f"{critical[0].remedy} The runbook, {critical[0].runbook}, has more.",
        )


def _broken(threshold: AlertThreshold, value: float | None, bound: float) -> list[Alert]:
    if value is None or not _COMPARISONS[threshold.comparison](value, bound):
        return []
    return [
        Alert(
            metric=threshold.metric,
            value=value,
            comparison=threshold.comparison,
            bound=bound,
            severity=threshold.severity,
            remedy=threshold.remedy,
            runbook=f"{RUNBOOK}#{threshold.runbook}",
        )
    ]
