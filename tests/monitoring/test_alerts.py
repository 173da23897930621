"""Alert thresholds: which values fire, and that only a critical one stops the run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.monitoring.alerts import evaluate, evaluate_latency, stop_on_critical
from apex_tasks.published.run_document import Alert
from apex_tasks.refusal import Refusal, ThresholdBroken
from apex_tasks.settings import AlertThreshold, Severity, load_settings


def threshold(
    comparison: str = "<",
    bound: float = 53,
    *,
    metric: str = "kept",
    per_name: float | None = None,
    first_build_bound: float | None = None,
    severity: Severity = Severity.CRITICAL,
) -> AlertThreshold:
    return AlertThreshold(
        metric=metric,
        comparison=comparison,
        bound=bound,
        per_name=per_name,
        first_build_bound=first_build_bound,
        severity=severity,
        remedy="Look.",
        runbook="low-supply",
    )


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("!=", True, False, True),
        ("==", False, True, False),
    ],
)
def test_a_comparison_fires_where_it_is_true(comparison: str, below: bool, equal: bool, above: bool) -> None:
    fired = [bool(evaluate([threshold(comparison)], {"kept": value}, 35)) for value in (52.0, 53.0, 54.0)]
    assert fired == [below, equal, above]


def test_an_alert_says_what_was_compared() -> None:
    (alert,) = evaluate([threshold()], {"kept": 40.0, "other": 1.0}, 35)
    assert alert == Alert(
        metric="kept",
        value=40.0,
        comparison="<",
        bound=53,
        severity=Severity.CRITICAL,
        remedy="Look.",
        runbook="docs/runbook.md#low-supply",
    )
    assert str(alert) == "CRITICAL: kept = 40, alert when < 53"


def test_alerts_come_in_the_order_of_the_settings() -> None:
    thresholds = [threshold(metric=name) for name in ("z", "a", "m")]
    alerts = evaluate(thresholds, {"a": 1.0, "m": 99.0, "z": 2.0}, 35)
    assert [alert.metric for alert in alerts] == ["z", "a"]


@pytest.mark.parametrize(
    ("top_k", "bound"), [(35, 53), (36, 53), (500, 53), (34, 51), (33, 50), (1, 2), (20, 30)]
)
def test_a_smaller_book_needs_fewer_names_a_larger_one_no_more(top_k: int, bound: int) -> None:
    per_name = [threshold(per_name=1.5)]
    assert evaluate(per_name, {"kept": bound}, top_k) == ()
    (alert,) = evaluate(per_name, {"kept": bound - 1}, top_k)
    assert alert.bound == bound


@given(st.floats(allow_nan=False), st.floats(-1e15, 1e15))
def test_opposite_comparisons_never_agree(value: float, bound: float) -> None:
    for one, other in (("<", ">="), (">", "<="), ("==", "!=")):
        fired = [bool(evaluate([threshold(sign, bound)], {"kept": value}, 35)) for sign in (one, other)]
        assert sorted(fired) == [False, True]


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(Refusal) as refused:
        evaluate([threshold(metric="keept")], {"kept": 1.0, "also": 2.0}, 35)
    assert refused.value.received == "keept"
    assert refused.value.expected == "one of also, apex_inference_latency_ms, kept"


def test_a_metric_without_a_value_breaks_nothing() -> None:
    for comparison in ("<", "<=", ">", ">=", "!=", "=="):
        assert evaluate([threshold(comparison)], {"kept": None}, 35) == ()


def test_a_first_build_has_its_own_bound_where_one_is_set() -> None:
    cost = [threshold(">", 20, metric="cost", first_build_bound=28.6), threshold(">", 20, metric="cost")]
    (alert,) = evaluate(cost, {"cost": 25.0}, 35, first_build=True)
    assert alert.bound == 20, "the second threshold has no other bound"
    assert [alert.bound for alert in evaluate(cost, {"cost": 28.7}, 35, first_build=True)] == [28.6, 20]
    assert [alert.bound for alert in evaluate(cost, {"cost": 20.1}, 35)] == [20, 20]


def test_only_a_cached_latency_is_held_to_its_bound() -> None:
    latency = [threshold(">", 1000, metric="apex_inference_latency_ms"), threshold()]
    assert evaluate_latency(latency, 3_000.0, cached=False) == ()
    assert evaluate_latency(latency, 1_000.0, cached=True) == ()
    (alert,) = evaluate_latency(latency, 1_000.1, cached=True)
    assert (alert.metric, alert.value, alert.bound) == ("apex_inference_latency_ms", 1_000.1, 1_000)
    assert evaluate(latency, {"kept": 53.0}, 35) == (), "it is no metric of the published result"


def test_only_a_critical_alert_stops_the_run() -> None:
    stop_on_critical((), "here")
    warning = evaluate([threshold(severity=Severity.WARNING)], {"kept": 1.0}, 35)
    assert len(warning) == 1
    stop_on_critical(warning, "here")


def test_the_stop_names_every_critical_alert_and_the_first_remedy() -> None:
    thresholds = [threshold(), threshold("!=", 178, metric="dim"), threshold(severity=Severity.WARNING)]
    alerts = evaluate(thresholds, {"kept": 12.0, "dim": 356.0}, 35)
    with pytest.raises(ThresholdBroken) as broken:
        stop_on_critical(alerts, "rebalance 2025-07-01")
    assert broken.value.exit_code == 4
    assert broken.value.expected == "not kept < 53 and not dim != 178"
    assert broken.value.received == "kept = 12, dim = 356"
    assert broken.value.where == "rebalance 2025-07-01"
    assert broken.value.remedy == "Look. The runbook, docs/runbook.md#low-supply, has more."


def test_the_packaged_thresholds_are_the_four_of_the_deployment_notes() -> None:
    thresholds = load_settings().thresholds
    good = {"apex_selected_count": 53, "apex_effective_dim": 178, "apex_daily_cost_bps": 20}
    assert evaluate(thresholds, good, 35) == ()
    for name, value in (("apex_selected_count", 52), ("apex_effective_dim", 89), ("apex_effective_dim", 356)):
        (alert,) = evaluate(thresholds, {**good, name: value}, 35)
        assert (alert.metric, alert.severity) == (name, Severity.CRITICAL)
    assert evaluate(thresholds, {**good, "apex_selected_count": math.ceil(1.5 * 20)}, 20) == ()
    (alert,) = evaluate(thresholds, {**good, "apex_daily_cost_bps": 20.01}, 35)
    assert (alert.metric, alert.severity) == ("apex_daily_cost_bps", Severity.WARNING)
    (alert,) = evaluate_latency(thresholds, 1_001.0, cached=True)
    assert (alert.metric, alert.severity) == ("apex_inference_latency_ms", Severity.WARNING)


def test_a_first_build_may_pay_per_traded_yen_what_any_month_may() -> None:
    """20 bps of the portfolio at the turnover limit, a one-way 35 %, is the price of 70 % of it traded."""
    settings = load_settings()
    (cost,) = (each for each in settings.thresholds if each.metric == "apex_daily_cost_bps")
    traded = 2 * settings.portfolio.turnover_limit
    assert cost.first_build_bound == pytest.approx(cost.bound / traded, abs=0.05)
    # A usual price of the cost model, 10.5 bps of the traded value, is no alarm for a whole book; twice it is
    # one for a month that trades all it holds for other names.
    good = {"apex_selected_count": 53, "apex_effective_dim": 178}
    assert evaluate(settings.thresholds, {**good, "apex_daily_cost_bps": 10.53}, 35, first_build=True) == ()
    assert len(evaluate(settings.thresholds, {**good, "apex_daily_cost_bps": 21.06}, 35)) == 1
    assert (
        len(evaluate(settings.thresholds, {**good, "apex_daily_cost_bps": 30.0}, 35, first_build=True)) == 1
    )
