"""The verdict on a month, in one word and one sentence, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from apex_tasks.monitoring import alerts
from apex_tasks.published.run_document import RunDocument
from apex_tasks.settings import Severity

METRIC_LABELS = {
    "apex_selected_count": "Candidates kept",
    "apex_effective_dim": "Model input dimension",
    "apex_daily_cost_bps": "Expected cost",
}
_UNITS = {"apex_daily_cost_bps": " bps"}
_DEMANDS = {
    "<": "at least {}",
    "<=": "more than {}",
    ">": "at most {}",
    ">=": "less than {}",
    "!=": "exactly {}",
    "==": "anything but {}",
}


class ReportState(StrEnum):
    """How a month stands."""

    OK = "ok"
    WARNED = "warned"
    ALERT = "alert"


_WORDS = {ReportState.OK: "OK", ReportState.WARNED: "OK, WITH WARNINGS", ReportState.ALERT: "ATTENTION"}


@dataclass(frozen=True)
class Judgement:
    """One threshold and what the month made of it.

    Attributes
    ----------
    metric
        Name in run.json's metrics.
    value
        Its value; None where the month has none.
    comparison, bound
        The threshold is broken when ``value comparison bound``; the bound is the one in force, see
        `alerts.effective_bound`.
    usual_bound
        The threshold's own bound, which the one in force may stand for.
    severity
        A critical one stops a month before it is published.
    broken
        Whether it is.
    """

    metric: str
    value: float | None
    comparison: str
    bound: float
    usual_bound: float
    severity: Severity
    broken: bool

    @property
    def label(self) -> str:
        """The metric for people; its own name where there is no better."""
        return METRIC_LABELS.get(self.metric, self.metric)

    @property
    def shown(self) -> str:
        """The value with its unit."""
        return "no value" if self.value is None else _with_unit(self.metric, self.value)

    @property
    def demand(self) -> str:
        """What keeps the threshold whole, such as ``at least 53``."""
        return _DEMANDS[self.comparison].format(_with_unit(self.metric, self.bound))


@dataclass(frozen=True)
class Verdict:
    """A month at a glance.

    Attributes
    ----------
    state, word
        ATTENTION: a threshold is broken. OK, WITH WARNINGS: none is, but there is something to know.
        OK: neither.
    sentence
        Size, turnover, cost, and the number of alerts and warnings.
    judgements
        One per threshold, in the order of the settings. That on the inference latency is missing: the latency is no
        part of a month's result, it is in execution.json.
    """

    state: ReportState
    word: str
    sentence: str
    judgements: tuple[Judgement, ...]


def verdict_of(run: RunDocument) -> Verdict:
    """Sum up a month.

    Parameters
    ----------
    run
        Content of run.json.
    """
    state = ReportState.ALERT if run.alerts else ReportState.WARNED if run.warnings else ReportState.OK
    return Verdict(state, _WORDS[state], _sentence(run), _judge(run))


def _sentence(run: RunDocument) -> str:
    metrics = run.metrics
    return (
        f"{count(metrics.positions, 'position')}, {count(metrics.trades, 'order')}, "
        f"turnover {metrics.turnover:.1%}, expected cost {metrics.cost_jpy:,.0f} JPY "
        f"({metrics.apex_daily_cost_bps:.2f} bps) on {metrics.portfolio_value_jpy:,.0f} JPY; "
        f"{count(len(run.alerts), 'alert')}, {count(len(run.warnings), 'warning')}."
    )


def _judge(run: RunDocument) -> tuple[Judgement, ...]:
    metrics, top_k = run.metrics.by_name(), run.settings.ranking.top_k
    first_build, hysteresis = bool(run.metrics.first_build), bool(run.metrics.hysteresis)
    return tuple(
        Judgement(
            metric=threshold.metric,
            value=metrics[threshold.metric],
            comparison=threshold.comparison,
            bound=alerts.effective_bound(threshold, top_k, first_build, hysteresis),
            usual_bound=threshold.bound,
            severity=threshold.severity,
            broken=bool(
                alerts.evaluate([threshold], metrics, top_k, first_build=first_build, hysteresis=hysteresis)
            ),
        )
        for threshold in run.settings.thresholds
        if threshold.metric != alerts.INFERENCE_LATENCY
    )


def count(number: int, noun: str) -> str:
    """A number and its noun: 1 alert, 2 alerts."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _with_unit(metric: str, value: float) -> str:
    text = (
        f"{value:,.0f}" if value == round(value) else f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"
    )
    return text + _UNITS.get(metric, "")
