"""Alert thresholds on the metrics that are published."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

from apex_tasks.refusal import Refusal, ThresholdBroken
from apex_tasks.settings import AlertThreshold, Severity

_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
}


class Alert(BaseModel):
    """A broken threshold: `metric comparison bound` was true for `value`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float
    comparison: str
    bound: float
    severity: Severity
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.metric} = {self.value:g}, alert when {self.comparison} {self.bound:g}"


def evaluate(
    thresholds: Iterable[AlertThreshold], metrics: Mapping[str, float], top_k: int
) -> tuple[Alert, ...]:
    """Compare the published metrics with the thresholds.

    Raises
    ------
    Refusal
        A threshold names a metric that is not published.
    """
    alerts = []
    for threshold in thresholds:
        if threshold.metric not in metrics:
            raise Refusal(
                "an alert threshold names an unknown metric",
                expected=f"one of {', '.join(sorted(metrics))}",
                received=threshold.metric,
                where="setting thresholds",
                remedy="Correct the name, or remove the threshold.",
            )
        bound = threshold.bound
        if threshold.per_name is not None:
            bound = min(bound, math.ceil(threshold.per_name * top_k))
        value = metrics[threshold.metric]
        if _COMPARISONS[threshold.comparison](value, bound):
            alerts.append(
                Alert(
                    metric=threshold.metric,
                    value=value,
                    comparison=threshold.comparison,
                    bound=bound,
                    severity=threshold.severity,
                    remedy=threshold.remedy,
                )
            )
    return tuple(alerts)


def stop_on_critical(alerts: Iterable[Alert], where: str) -> None:
    """Stop the run when a critical threshold is broken.

    Raises
    ------
    ThresholdBroken
        Names every critical alert and the first one's remedy.
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
            remedy=critical[0].remedy,
        )
