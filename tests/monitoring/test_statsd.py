"""Metrics: what a run tells, by names that Prometheus gets; that telling costs nothing and breaks nothing."""

from __future__ import annotations

import datetime as dt
import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.market.calendar import TOKYO, TseCalendar
from apex_tasks.monitoring.gauges import Gauge, due_gauges, exposition, published_gauges
from apex_tasks.monitoring.statsd import Metrics
from apex_tasks.monthly.run import run_month
from apex_tasks.refusal import Refusal, ThresholdBroken
from apex_tasks.settings import AlertThreshold, ApexSettings, StatsdSettings, configs_folder
from apex_tasks.store import Store
from tests.support.small_market import (
    AUGUST,
    CALENDAR,
    JULY,
    OCTOBER,
    REBALANCES,
    SEPTEMBER,
    SmallMarket,
    home_after,
    month,
    portfolio,
    small_settings,
)
from tests.support.statsd_exporter_double import Mapper, Registry, StatsdExporterDouble

MAPPING = configs_folder() / "statsd" / "mapping.yaml"


@pytest.fixture
def exporter() -> Iterator[StatsdExporterDouble]:
    with StatsdExporterDouble(MAPPING) as double:
        yield double


def sending_to(exporter: StatsdExporterDouble, home: object, **changes: object) -> ApexSettings:
    return small_settings(home, statsd=StatsdSettings(host="127.0.0.1", port=exporter.statsd_port), **changes)


def shown(exporter: StatsdExporterDouble) -> dict[str, float]:
    """All series with their values, as Prometheus would write them."""
    exporter.drain()
    return {str(series): value for series, value in exporter.registry.values.items()}


def run(
    market: SmallMarket, home: Path, rebalance: dt.date, exporter: StatsdExporterDouble, **given: object
) -> None:
    settings = sending_to(exporter, home)
    run_month(month(market, home, rebalance, settings, **given))


def test_a_month_tells_the_four_metrics_and_the_real_supply(
    market: SmallMarket, chain: Path, tmp_path: Path, exporter: StatsdExporterDouble
) -> None:
    home = home_after(chain, tmp_path, JULY)
    before = time.time()
    run(market, home, AUGUST, exporter)
    series = shown(exporter)
    published = portfolio(home, AUGUST).read_json("run.json")["metrics"]
    assert series["apex_selected_count"] == published["apex_selected_count"] == 53
    assert series["apex_effective_dim"] == published["apex_effective_dim"] == 178
    assert series["apex_daily_cost_bps"] == published["apex_daily_cost_bps"] > 0
    latency = portfolio(home, AUGUST).read_json("execution.json")["apex_inference_latency_ms"]
    assert series['apex_inference_latency_ms{scores="computed"}'] == latency > 0
    assert not any("cached" in name for name in series)
    names = {name if name.startswith("apex_") else f"apex_{name}" for name in published}
    assert {name: series[name] for name in names} == {
        name if name.startswith("apex_") else f"apex_{name}": value for name, value in published.items()
    }
    assert {name: value for name, value in series.items() if name.startswith("apex_threshold")} == {
        'apex_threshold{metric="apex_selected_count",severity="critical"}': 53,
        'apex_threshold{metric="apex_effective_dim",severity="critical"}': 178,
        'apex_threshold{metric="apex_inference_latency_ms",severity="warning"}': 1000,
        'apex_threshold{metric="apex_daily_cost_bps",severity="warning"}': 20,
    }
    assert series['apex_rows_total{kind="listed"}'] == series['apex_rows_total{kind="scored"}'] == 120
    assert series['apex_runs_total{result="published"}'] == 1
    assert before <= series["apex_plan_timestamp_seconds"] <= time.time()
    assert before <= series['apex_inference_timestamp_seconds{scores="computed"}'] <= time.time()
    counted = {str(name): count for name, count in exporter.registry.counts.items()}
    steps = (
        "require_fresh_dataset",
        "validate_bundle",
        "build_panel",
        "infer",
        "apply_costs",
        "draft",
        "publish",
    )
    assert counted == {f'apex_step_duration_seconds{{step="{step}"}}': 1 for step in steps}
    total = sum(series[name] for name in counted)
    assert 0 < total < time.time() - before


def test_a_negative_number_arrives_as_one(exporter: StatsdExporterDouble) -> None:
    metrics = Metrics(StatsdSettings(host="127.0.0.1", port=exporter.statsd_port))
    for value in (0.75, -0.5, -0.25, 0.0):
        metrics.gauges([Gauge("score_rank_correlation", value)])
        metrics.flush()
        assert shown(exporter)["apex_score_rank_correlation"] == value


def test_a_gauge_without_a_value_is_not_sent(exporter: StatsdExporterDouble) -> None:
    metrics = Metrics(StatsdSettings(host="127.0.0.1", port=exporter.statsd_port))
    metrics.gauges([Gauge("a", None), Gauge("b", math.nan), Gauge("c", math.inf), Gauge("d", 1.0)])
    metrics.flush()
    assert shown(exporter) == {"apex_d": 1.0}


def test_the_same_month_again_tells_its_values_anew_and_a_cached_latency(
    market: SmallMarket, tmp_path: Path, exporter: StatsdExporterDouble
) -> None:
    run_month(month(market, tmp_path, JULY, cold_start=True))
    assert shown(exporter) == {}
    run(market, tmp_path, JULY, exporter, cold_start=True)
    series = shown(exporter)
    assert series['apex_runs_total{result="unchanged"}'] == 1
    assert series["apex_selected_count"] == 53
    assert series["apex_publish_deadline_timestamp_seconds"] > series["apex_next_rebalance_timestamp_seconds"]
    assert series['apex_inference_latency_ms{scores="cached"}'] > 0
    assert 'apex_inference_latency_ms{scores="computed"}' not in series


@pytest.mark.slow
@pytest.mark.parametrize("rebalance", [JULY, AUGUST])
def test_the_text_for_prometheus_and_the_mapped_datagrams_agree(
    market: SmallMarket, chain: Path, tmp_path: Path, exporter: StatsdExporterDouble, rebalance: dt.date
) -> None:
    home = home_after(chain, tmp_path, *(day for day in REBALANCES if day < rebalance))
    run(market, home, rebalance, exporter, cold_start=rebalance == JULY)
    by_statsd = shown(exporter)
    text = exposition(published_gauges(Store(home), small_settings(home), CALENDAR))
    scraped = {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    }
    renamed = {_sorted_labels(name): value for name, value in scraped.items()}
    assert len(renamed) > 25
    assert renamed == {name: by_statsd[name] for name in renamed}
    for name in {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}:
        assert text.count(f"# TYPE {name} gauge\n") == 1


def _sorted_labels(name: str) -> str:
    head, brace, labels = name.partition("{")
    return f"{head}{{{','.join(sorted(labels[:-1].split(',')))}}}" if brace else name


def test_before_the_first_month_there_is_nothing_to_scrape(tmp_path: Path) -> None:
    assert published_gauges(Store(tmp_path), small_settings(tmp_path), CALENDAR) == []
    assert exposition([]) == ""


def test_a_broken_threshold_is_seen_with_its_bound_although_nothing_is_published(
    market: SmallMarket, tmp_path: Path, exporter: StatsdExporterDouble
) -> None:
    thresholds = (
        AlertThreshold(
            metric="eligible_stocks",
            comparison="<",
            bound=121,
            severity="CRITICAL",
            remedy="Look.",
            runbook="x",
        ),
    )
    settings = sending_to(exporter, tmp_path, thresholds=thresholds)
    with pytest.raises(ThresholdBroken):
        run_month(month(market, tmp_path, JULY, settings, cold_start=True))
    series = shown(exporter)
    assert series["apex_eligible_stocks"] == 120
    assert series['apex_threshold{metric="eligible_stocks",severity="critical"}'] == 121
    assert series['apex_refusals_total{step="apply_costs"}'] == 1
    assert "apex_publish_deadline_timestamp_seconds" not in series


def test_a_first_build_is_held_to_its_own_cost_bound(
    market: SmallMarket, tmp_path: Path, exporter: StatsdExporterDouble
) -> None:
    run(market, tmp_path, JULY, exporter, cold_start=True)
    series = shown(exporter)
    assert series["apex_first_build"] == 1
    assert series['apex_threshold{metric="apex_daily_cost_bps",severity="warning"}'] == 28.6
    assert "apex_score_rank_correlation" not in series


@pytest.mark.slow
def test_dry_runs_and_older_months_leave_the_gauges_alone(
    market: SmallMarket, chain: Path, tmp_path: Path, exporter: StatsdExporterDouble
) -> None:
    home = home_after(chain, tmp_path, *REBALANCES[:3])
    run(market, home, OCTOBER, exporter, dry_run=True, top_k=20)
    run(market, home, AUGUST, exporter)
    series = shown(exporter)
    assert series['apex_rows_total{kind="scored"}'] == 240, "counters count all runs"
    gauges = {name for name, value in series.items() if "_total" not in name and "duration" not in name}
    assert gauges == {
        f"apex_{name}_timestamp_seconds" for name in ("rebalance", "next_rebalance", "publish_deadline")
    }
    opening = dt.datetime.combine(SEPTEMBER, dt.time(9), TOKYO)
    assert series["apex_rebalance_timestamp_seconds"] == opening.timestamp()


def test_refusals_and_errors_are_counted_and_pass_unchanged(exporter: StatsdExporterDouble) -> None:
    metrics = Metrics(StatsdSettings(host="127.0.0.1", port=exporter.statsd_port))
    refusal = Refusal("no", expected=1, received=2, where="here", remedy="Look.")
    with pytest.raises(Refusal) as refused, metrics.step("infer"):
        raise refusal
    assert refused.value is refusal
    with pytest.raises(ZeroDivisionError), metrics.step("infer"):
        _ = 1 / 0
    with metrics.step("infer"):
        time.sleep(0.05)
    series = shown(exporter)
    assert 0.05 <= series['apex_step_duration_seconds{step="infer"}'] < 5, "seconds of all three"
    assert series['apex_refusals_total{step="infer"}'] == 1
    assert series['apex_errors_total{step="infer"}'] == 1
    assert set(exporter.registry.counts.values()) == {3}


def burst_seconds(settings: StatsdSettings) -> float:
    """Best of three: the machine may be busy with something else."""
    taken = []
    metrics = Metrics(settings)
    for _ in range(3):
        started = time.perf_counter()
        with metrics.step("burst"):
            for number in range(5_000):
                metrics.count("rows.burst")
                metrics.gauges([Gauge("burst", number)])
        taken.append(time.perf_counter() - started)
    return min(taken)


@pytest.mark.parametrize("reader", ["nobody", "deaf", "off"])
def test_a_burst_of_ten_thousand_waits_for_nobody(reader: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
        if reader == "nobody":
            receiver.close()
        settings = StatsdSettings(host=None if reader == "off" else "127.0.0.1", port=port)
        assert burst_seconds(settings) < 1.0  # some 0.02 on a quiet machine


def test_a_burst_arrives(exporter: StatsdExporterDouble) -> None:
    metrics = Metrics(StatsdSettings(host="127.0.0.1", port=exporter.statsd_port))
    with metrics.step("burst"):
        for _ in range(500):
            metrics.count("rows.burst", 2)
    assert shown(exporter)['apex_rows_total{kind="burst"}'] == 1000


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("host", ["no-such-host.invalid", "bad..name", "a" * 70 + ".example", "::1"])
def test_a_host_that_cannot_be_resolved_costs_a_moment_and_breaks_nothing(
    host: str,
) -> None:
    started = time.perf_counter()
    metrics = Metrics(StatsdSettings(host=host))
    with metrics.step("infer"):
        metrics.count("rows.scored")
    assert time.perf_counter() - started < 1.0


def test_a_resolver_that_hangs_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def resolve(*_: object) -> None:
        time.sleep(2)
        raise OSError

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    started = time.perf_counter()
    metrics = Metrics(StatsdSettings(host="statsd"))
    assert time.perf_counter() - started < 1.0
    assert not metrics.on
    assert "statsd host statsd is not resolved" in caplog.text


@pytest.mark.slow
def test_without_a_host_a_month_is_the_same_bytes(
    market: SmallMarket, tmp_path: Path, exporter: StatsdExporterDouble
) -> None:
    run(market, tmp_path / "told", JULY, exporter, cold_start=True)
    run_month(month(market, tmp_path / "silent", JULY, cold_start=True))
    told, silent = portfolio(tmp_path / "told", JULY), portfolio(tmp_path / "silent", JULY)
    for name in told.manifest.files:
        if name != "execution.json":
            assert told.read_bytes(name) == silent.read_bytes(name), name


@given(st.dates(dt.date(2001, 1, 1), dt.date(2030, 12, 31)), st.integers(1, 5))
def test_due_times_are_counted_in_sessions(day: dt.date, nth: int) -> None:
    values = {gauge.name: gauge.value for gauge in due_gauges(_rebalance(day, nth), CALENDAR, nth)}
    published, due, overdue = (
        dt.datetime.fromtimestamp(values[f"{name}_timestamp_seconds"], TOKYO)
        for name in ("rebalance", "next_rebalance", "publish_deadline")
    )
    assert published.date() == _rebalance(day, nth)
    assert {moment.time() for moment in (published, due, overdue)} == {dt.time(9)}
    month_after = (published.date().replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    assert due.date() == _rebalance(month_after, nth)
    sessions_between = [
        due.date() + dt.timedelta(days=number)
        for number in range((overdue - due).days)
        if CALENDAR.is_session(due.date() + dt.timedelta(days=number))
    ]
    assert len(sessions_between) == 3
    assert CALENDAR.is_session(overdue.date())


def _rebalance(day: dt.date, nth: int) -> dt.date:
    """The nth session of a day's month, counted by hand."""
    first = day.replace(day=1)
    days = (first + dt.timedelta(days=number) for number in range(31))
    return [candidate for candidate in days if TseCalendar.load().is_session(candidate)][nth - 1]


def test_the_mapping_drops_what_it_does_not_name_and_keeps_the_rest() -> None:
    registry = Registry(Mapper.of_file(MAPPING))
    registry.receive(
        b"airflow.ti.finish.apex_monthly_rebalance.infer.failed:1|c\n"
        b"airflow.ti.finish:1|c\n"
        b"airflow.dagrun.duration.failed.apex_monthly_rebalance:2500.000000|ms\n"
        b"airflow.dagrun.duration.failed:2500.000000|ms\n"
        b"airflow.pool.open_slots.default_pool:128|g\n"
        b"airflow.scheduler_heartbeat:1|c\n"
        b"airflow.scheduler_heartbeat:1|c\n"
        b"someone.else:1|c\n"
        b"apex.unknown_counter:1|c\n"
        b"airflow.ti_failures:1|c|@0.5"
    )
    assert registry.text() == (
        'airflow_dagrun_duration_seconds_sum{dag_id="apex_monthly_rebalance",state="failed"} 2.5\n'
        'airflow_dagrun_duration_seconds_count{dag_id="apex_monthly_rebalance",state="failed"} 1\n'
        'airflow_heartbeats_total{component="scheduler"} 2.0\n'
        "airflow_ti_failures_total 2.0\n"
        'airflow_ti_finish_total{dag_id="apex_monthly_rebalance",state="failed",task_id="infer"} 1.0\n'
    )
