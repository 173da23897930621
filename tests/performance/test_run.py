"""A performance run as a whole: what it finds, stores and sends."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from apex_tasks.performance.benchmarks import Metric
from apex_tasks.performance.checks.check import CheckName, CheckVerdict
from apex_tasks.performance.deviation import DeviationVerdict
from apex_tasks.performance.gauges import performance_gauges
from apex_tasks.performance.judge_performance import PerformanceReference
from apex_tasks.performance.report import PerformanceReport
from apex_tasks.performance.request import PerformanceRequest, resolve_performance_request
from apex_tasks.performance.run import PerformanceRun, run_performance
from apex_tasks.performance.stored_ledgers import LEDGERS
from apex_tasks.performance.stored_reports import PERFORMANCES, read_report
from apex_tasks.refusal import Refusal
from apex_tasks.settings import PerformanceSettings, StatsdSettings, configs_folder
from apex_tasks.store import Store
from tests.support import bundle_factory
from tests.support.small_market import (
    AS_OF,
    CALENDAR,
    JULY,
    LAST_SESSION,
    OCTOBER,
    REBALANCES,
    SHARPE_CLAIMED,
    SmallMarket,
    home_after,
    portfolio,
    run,
    small_settings,
)
from tests.support.statsd_exporter_double import StatsdExporterDouble

pytestmark = pytest.mark.slow

MOMENT = dt.datetime(2025, 10, 10, 9, 0, tzinfo=dt.UTC)  # a Friday, 18:00 in Tokyo


@pytest.fixture
def home(chain: Path, tmp_path: Path) -> Path:
    return home_after(chain, tmp_path / "home", *REBALANCES)


def evaluate(
    market: SmallMarket, home: Path, until: dt.date = LAST_SESSION, **given: Any
) -> tuple[PerformanceReport, PerformanceReference, list[str]]:
    said: list[str] = []
    settings = small_settings(home, **given.pop("settings", {}))
    inputs = {"bundle": str(market.bundle), "dataset": str(market.dataset), "until": until, **given}
    request = resolve_performance_request(inputs, moment=MOMENT, settings=settings, calendar=CALENDAR)
    one = PerformanceRun(request, Store(home), CALENDAR, said.append)
    reference = one.judge_performance(one.mark_ledger().model_dump(mode="json"))
    return read_report(one.store, reference.name), reference, said


def resolve(moment: dt.datetime, **given: Any) -> PerformanceRequest:
    return resolve_performance_request(
        {"dataset": "d.parquet", **given}, moment=moment, settings=small_settings("h"), calendar=CALENDAR
    )


def verdicts(report: PerformanceReport) -> dict[CheckName, CheckVerdict]:
    return {check.name: check.verdict for check in report.checks}


def test_a_chain_of_four_months_is_evaluated(market: SmallMarket, home: Path) -> None:
    report, reference, said = evaluate(market, home)
    assert (report.portfolio, report.sessions) == ("2025-10-01/v1", 70)
    assert (report.first_marked, report.last_marked) == (JULY, LAST_SESSION)
    found = {one.metric: one for one in report.comparisons}
    assert found[Metric.SHARPE].benchmark == SHARPE_CLAIMED
    assert found[Metric.SHARPE].live == report.performance.sharpe_ratio
    assert found[Metric.SHARPE].verdict is DeviationVerdict.DEVIATES
    assert {found[metric].verdict for metric in Metric if metric is not Metric.SHARPE} == {
        DeviationVerdict.NOT_COMPARABLE
    }
    assert reference.deviating == (Metric.SHARPE,)
    assert [check.name for check in report.checks] == list(CheckName)
    assert verdicts(report)[CheckName.FRESHNESS] is CheckVerdict.OK
    assert verdicts(report)[CheckName.INTEGRITY] is CheckVerdict.OK
    assert [month.portfolio for month in report.turnovers] == [f"{day}/v1" for day in REBALANCES]
    assert report.mean_turnover == pytest.approx(np.mean([month.turnover for month in report.turnovers]))
    assert report.benchmarks_of == portfolio(home, OCTOBER).read_json("run.json")["hashes"]["bundle"]
    assert any(line.startswith("DEVIATES: Sharpe ratio") for line in said)
    low, high = report.intervals["sharpe_ratio"]
    assert low < report.performance.sharpe_ratio < high
    assert set(report.intervals) == {"sharpe_ratio", "total_return", "win_rate"}


def test_a_second_run_finds_everything_and_reads_the_bundle_all_the_same(
    market: SmallMarket, home: Path, tmp_path: Path
) -> None:
    _, first, _ = evaluate(market, home)
    _, again, said = evaluate(market, home)
    assert (first.cached, again.cached) == (False, True)
    assert again.name == first.name
    assert "found in the store" in said[0]
    assert len(Store(home).names(LEDGERS)) == len(Store(home).names(PERFORMANCES)) == 1
    forged = tmp_path / "bundle"
    shutil.copytree(market.bundle, forged)
    next(forged.rglob("*.yaml")).write_text("changed")
    report, _, _ = evaluate(market, home, bundle=str(forged))
    assert verdicts(report)[CheckName.INTEGRITY] is CheckVerdict.ATTENTION
    assert report.comparisons[0].benchmark == SHARPE_CLAIMED  # the published month remembers its benchmarks


def test_the_same_run_leaves_the_same_bytes_anywhere(
    market: SmallMarket, chain: Path, home: Path, tmp_path: Path
) -> None:
    other = home_after(chain, tmp_path / "other", *REBALANCES)
    names = []
    for place in (home, other):
        _, reference, _ = evaluate(market, place)
        names.append(reference.name)
    assert names[0] == names[1]
    one, two = (Store(place).get(PERFORMANCES, names[0]) for place in (home, other))
    for file in (*one.manifest.files, "manifest.json"):
        assert (one.folder / file).read_bytes() == (two.folder / file).read_bytes()


def test_days_without_a_new_session_change_freshness_only(market: SmallMarket, home: Path) -> None:
    report, _, _ = evaluate(market, home, until=dt.date(2025, 10, 13))  # a holiday: nothing new is due
    assert verdicts(report)[CheckName.FRESHNESS] is CheckVerdict.OK
    late, _, _ = evaluate(market, home, until=dt.date(2025, 10, 14))
    assert verdicts(late)[CheckName.FRESHNESS] is CheckVerdict.ATTENTION
    assert late.performance == report.performance
    assert len(Store(home).names(LEDGERS)) == 1


def test_a_short_history_is_not_judged(market: SmallMarket, home: Path) -> None:
    report, reference, _ = evaluate(market, home, until=dt.date(2025, 9, 19))
    assert (report.sessions, report.portfolio) == (56, "2025-09-01/v1")
    assert report.comparisons[0].verdict is DeviationVerdict.NOT_JUDGED
    assert reference.deviating == ()


def test_before_the_first_fill_nothing_is_comparable_and_nothing_breaks(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    import pyarrow as pa

    from tests.support.small_market import write_table

    home = home_after(chain, tmp_path / "home", JULY)
    early = write_table(
        market.table.filter(pa.array(market.dates <= AS_OF[JULY])), tmp_path / "early.parquet"
    )
    report, reference, _ = evaluate(market, home, until=JULY, dataset=str(early))
    assert (report.sessions, report.performance, report.mean_turnover) == (0, None, None)
    assert {found.verdict for found in report.comparisons} == {DeviationVerdict.NOT_COMPARABLE}
    assert verdicts(report)[CheckName.REGIME] is CheckVerdict.UNKNOWN
    assert "scores unknown, no earlier month" in report.checks[3].finding
    assert reference.deviating == ()
    assert {gauge.name for gauge in performance_gauges(report) if gauge.value is not None} == {
        "live_sessions",
        "live_deviations",
    }


@pytest.fixture(scope="module")
def spoilt(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose newest as-of session has one feature in another unit, and two columns gone."""
    values = market.values("returns_10d")
    values[market.dates == AS_OF[OCTOBER]] *= 100
    path = market.changed(tmp_path_factory.mktemp("spoilt") / "d.parquet", returns_10d=values)
    pq.write_table(pq.read_table(path).drop_columns(["rsi_14", "dmi_z26_long"]), path, row_group_size=5_000)
    return path


def test_a_spoilt_feature_and_lost_ones_are_named(market: SmallMarket, home: Path, spoilt: Path) -> None:
    # Thirteen months of data: nine sessions to rank among, so that one in ten sound months is named.
    often = {"performance": PerformanceSettings(reference_sessions=1, check_false_alarm_rate=0.125)}
    report, _, _ = evaluate(market, home, dataset=str(spoilt), settings=often)
    drift = report.checks[3]
    assert drift.verdict is CheckVerdict.ATTENTION
    assert "features drifted: returns_10d (PSI " in drift.finding
    assert "2 features are no longer in the dataset: rsi_14, dmi_z26_net" in drift.finding
    clean, _, _ = evaluate(market, home, settings=often)
    assert "returns_10d" not in clean.checks[3].finding
    short, _, _ = evaluate(market, home)
    assert "other distributions unknown, 12 earlier sessions of 20" in short.checks[3].finding


def test_a_bundle_that_does_not_say_when_it_was_trained_alarms_on_nothing(
    market: SmallMarket, tmp_path: Path
) -> None:
    """As the deployed one: the benchmark may be of days that the model has learned."""
    draft = bundle_factory.Draft()
    draft.manifest["performance_benchmarks"] = {
        "sharpe_ratio": SHARPE_CLAIMED,
        "backtest_period": "2024-01-04 to 2025-06-30",
    }
    silent = dataclasses.replace(market, bundle=draft.folder(tmp_path / "bundle"))
    home = tmp_path / "home"
    run(silent, home, JULY, cold_start=True)
    assert "training_period" not in portfolio(home, JULY).read_json("run.json")["bundle"]
    report, reference, said = evaluate(silent, home)
    assert (report.sessions, report.training_period) == (70, "")
    assert report.comparisons[0].verdict is DeviationVerdict.NOT_COMPARABLE
    assert any("in-sample or unknown: the manifest has no training_period" in line for line in said)
    assert reference.deviating == ()


def test_what_the_manifest_says_of_the_training_is_published_and_shown(
    market: SmallMarket, home: Path
) -> None:
    published = portfolio(home, OCTOBER).read_json("run.json")["bundle"]
    assert published["training_period"] == ["2014-01-06", "2023-12-29"]
    report, _, _ = evaluate(market, home, bundle=None)
    assert report.training_period == '["2014-01-06", "2023-12-29"]'
    assert (report.validation, report.false_alarm_rate) == ("", 0.01)
    assert report.comparisons[0].verdict is DeviationVerdict.DEVIATES
    assert verdicts(report)[CheckName.INTEGRITY] is CheckVerdict.UNKNOWN


def test_a_dataset_that_was_replaced_between_the_steps_is_refused(
    market: SmallMarket, home: Path, spoilt: Path, tmp_path: Path
) -> None:
    dataset = shutil.copy(market.dataset, tmp_path / "d.parquet")
    one = PerformanceRun(
        resolve(MOMENT, dataset=str(dataset), until=LAST_SESSION), Store(home), CALENDAR, lambda _: None
    )
    ledger = one.mark_ledger()
    shutil.copy(spoilt, dataset)
    with pytest.raises(Refusal, match="replaced since the ledger was marked"):
        one.judge_performance(ledger)


def test_live_figures_reach_prometheus_and_a_run_for_an_earlier_day_leaves_them_alone(
    market: SmallMarket, home: Path
) -> None:
    with StatsdExporterDouble(configs_folder() / "statsd" / "mapping.yaml") as exporter:
        statsd = {"statsd": StatsdSettings(host="127.0.0.1", port=exporter.statsd_port)}
        report, _, _ = evaluate(market, home, settings=statsd)
        evaluate(market, home, until=dt.date(2025, 9, 19), settings=statsd)
        exporter.drain()
        shown = {str(series): value for series, value in exporter.registry.values.items()}
    expected = {f"apex_{gauge.name}": gauge.value for gauge in performance_gauges(report)}
    assert {name: shown[name] for name in expected} == pytest.approx(expected)
    assert (expected["apex_live_sessions"], expected["apex_live_deviations"]) == (70, 1)


def test_the_run_is_both_steps(market: SmallMarket, home: Path) -> None:
    request = resolve_performance_request(
        {"bundle": str(market.bundle), "dataset": str(market.dataset), "until": LAST_SESSION},
        moment=MOMENT,
        settings=small_settings(home),
        calendar=CALENDAR,
    )
    quiet = PerformanceRun(request, Store(home), CALENDAR, lambda _: None)
    assert run_performance(quiet) == evaluate(market, home)[0]
    assert not quiet.nothing_published
