"""A look at the live performance as a whole: request, ledger, judgement, command line."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from apex_tasks import cli
from apex_tasks.cli.display import out
from apex_tasks.performance.benchmarks import Metric
from apex_tasks.performance.checks.check import CheckName, CheckVerdict
from apex_tasks.performance.checks.reference_sessions import months_of_same_scores, reference_as_of
from apex_tasks.performance.deviation import DeviationVerdict
from apex_tasks.performance.gauges import performance_gauges
from apex_tasks.performance.judge_performance import PerformanceReference
from apex_tasks.performance.report import PerformanceReport
from apex_tasks.performance.request import PerformanceRequest, resolve_performance_request
from apex_tasks.performance.run import PerformanceRun, run_performance
from apex_tasks.performance.stored_ledgers import LEDGERS
from apex_tasks.performance.stored_reports import PERFORMANCES, read_report
from apex_tasks.published.portfolio import latest_version
from apex_tasks.refusal import Refusal
from apex_tasks.settings import PerformanceSettings, StatsdSettings, configs_folder
from apex_tasks.store import Store
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    CALENDAR,
    JULY,
    LAST_SESSION,
    OCTOBER,
    REBALANCES,
    SEPTEMBER,
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


def look(
    market: SmallMarket, home: Path, until: dt.date = LAST_SESSION, **given: Any
) -> tuple[PerformanceReport, PerformanceReference, list[str]]:
    said: list[str] = []
    settings = small_settings(home, **given.pop("settings", {}))
    inputs = {"bundle": str(market.bundle), "dataset": str(market.dataset), "until": until, **given}
    request = resolve_performance_request(inputs, moment=MOMENT, settings=settings, calendar=CALENDAR)
    one = PerformanceRun(request, Store(home), CALENDAR, said.append)
    reference = one.judge_performance(one.mark_ledger().model_dump(mode="json"))
    return read_report(one.store, reference.name), reference, said


def verdicts(report: PerformanceReport) -> dict[CheckName, CheckVerdict]:
    return {check.name: check.verdict for check in report.checks}


# --- the request --------------------------------------------------------------------------------------------


def resolve(moment: dt.datetime, **given: Any) -> PerformanceRequest:
    return resolve_performance_request(
        {"dataset": "d.parquet", **given}, moment=moment, settings=small_settings("h"), calendar=CALENDAR
    )


@pytest.mark.parametrize(
    ("moment", "given", "until", "due"),
    [
        (MOMENT, {}, "2025-10-10", "2025-10-09"),
        (MOMENT, {"until": ""}, "2025-10-10", "2025-10-09"),
        (dt.datetime(2025, 10, 9, 16, tzinfo=dt.UTC), {}, "2025-10-10", "2025-10-09"),  # 01:00 in Tokyo
        (dt.datetime(2025, 10, 14, 9, tzinfo=dt.UTC), {}, "2025-10-14", "2025-10-10"),  # after a long weekend
        (MOMENT, {"until": "2025-10-05"}, "2025-10-05", "2025-10-03"),
        (MOMENT, {"until": "2025-10-03"}, "2025-10-03", "2025-10-03"),
    ],
)
def test_days_follow_from_the_moment_and_until(
    moment: dt.datetime, given: dict[str, Any], until: str, due: str
) -> None:
    request = resolve(moment, **given)
    assert (str(request.until), str(request.due)) == (until, due)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(Refusal, match="until is no date"):
        resolve(MOMENT, until="10.10.2025")
    with pytest.raises(Refusal, match="run parameter as_of is unknown"):
        resolve(MOMENT, as_of="2025-10-10")
    with pytest.raises(Refusal, match="no dataset is named"):
        resolve(MOMENT, dataset=None)
    assert resolve(MOMENT).bundle is None


# --- the judgement ------------------------------------------------------------------------------------------


def test_a_chain_of_four_months_is_judged(market: SmallMarket, home: Path) -> None:
    report, reference, said = look(market, home)
    assert (report.portfolio, report.sessions) == ("2025-10-01/v1", 70)
    assert (report.first_marked, report.last_marked) == (JULY, LAST_SESSION)
    found = {one.metric: one for one in report.comparisons}
    assert found[Metric.SHARPE].benchmark == 1.439
    assert found[Metric.SHARPE].live == report.performance.sharpe_ratio  # type: ignore[union-attr]
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
    assert low < report.performance.sharpe_ratio < high  # type: ignore[union-attr, operator]
    assert set(report.intervals) == {"sharpe_ratio", "total_return", "win_rate"}


def test_a_second_look_finds_everything_and_reads_the_bundle_all_the_same(
    market: SmallMarket, home: Path, tmp_path: Path
) -> None:
    _, first, _ = look(market, home)
    _, again, said = look(market, home)
    assert (first.cached, again.cached) == (False, True)
    assert again.name == first.name
    assert "found in the store" in said[0]
    assert len(Store(home).names(LEDGERS)) == len(Store(home).names(PERFORMANCES)) == 1
    forged = tmp_path / "bundle"
    shutil.copytree(market.bundle, forged)
    next(forged.rglob("*.yaml")).write_text("changed")
    report, _, _ = look(market, home, bundle=str(forged))
    assert verdicts(report)[CheckName.INTEGRITY] is CheckVerdict.ATTENTION
    assert report.comparisons[0].benchmark == 1.439  # the published month remembers its benchmarks


def test_the_same_look_leaves_the_same_bytes_anywhere(
    market: SmallMarket, chain: Path, home: Path, tmp_path: Path
) -> None:
    other = home_after(chain, tmp_path / "other", *REBALANCES)
    names = []
    for place in (home, other):
        _, reference, _ = look(market, place)
        names.append(reference.name)
    assert names[0] == names[1]
    one, two = (Store(place).get(PERFORMANCES, names[0]) for place in (home, other))
    for file in (*one.manifest.files, "manifest.json"):
        assert (one.folder / file).read_bytes() == (two.folder / file).read_bytes()


def test_days_without_a_new_session_change_freshness_only(market: SmallMarket, home: Path) -> None:
    report, _, _ = look(market, home, until=dt.date(2025, 10, 13))  # a holiday: nothing new is due
    assert verdicts(report)[CheckName.FRESHNESS] is CheckVerdict.OK
    late, _, _ = look(market, home, until=dt.date(2025, 10, 14))
    assert verdicts(late)[CheckName.FRESHNESS] is CheckVerdict.ATTENTION
    assert late.performance == report.performance
    assert len(Store(home).names(LEDGERS)) == 1


def test_a_short_history_is_not_judged(market: SmallMarket, home: Path) -> None:
    report, reference, _ = look(market, home, until=dt.date(2025, 9, 19))
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
    report, reference, _ = look(market, home, until=JULY, dataset=str(early))
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
    report, _, _ = look(market, home, dataset=str(spoilt))
    drift = report.checks[3]
    assert drift.verdict is CheckVerdict.ATTENTION
    assert "features drifted: returns_10d (PSI " in drift.finding
    assert "2 features are no longer in the dataset: rsi_14, dmi_z26_net" in drift.finding
    clean, _, _ = look(market, home)
    assert "returns_10d" not in clean.checks[3].finding


def test_benchmarks_come_from_the_bundle_that_published(market: SmallMarket, home: Path) -> None:
    generous = {"performance": PerformanceSettings(max_deviation=100.0)}
    report, reference, _ = look(market, home, bundle=None, settings=generous)
    assert report.comparisons[0].verdict is DeviationVerdict.WITHIN
    assert reference.deviating == ()
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


def test_live_figures_reach_prometheus_and_a_look_back_leaves_them_alone(
    market: SmallMarket, home: Path
) -> None:
    with StatsdExporterDouble(configs_folder() / "statsd" / "mapping.yaml") as exporter:
        statsd = {"statsd": StatsdSettings(host="127.0.0.1", port=exporter.statsd_port)}
        report, _, _ = look(market, home, settings=statsd)
        look(market, home, until=dt.date(2025, 9, 19), settings=statsd)
        exporter.drain()
        shown = {str(series): value for series, value in exporter.registry.values.items()}
    expected = {f"apex_{gauge.name}": gauge.value for gauge in performance_gauges(report)}
    assert {name: shown[name] for name in expected} == pytest.approx(expected)
    assert (expected["apex_live_sessions"], expected["apex_live_deviations"]) == (70, 1)


# --- references ---------------------------------------------------------------------------------------------


def months(home: Path, *days: dt.date) -> list[Any]:
    return [latest_version(Store(home), day) for day in days]


def test_published_as_of_sessions_come_first_and_the_calendar_goes_on(home: Path) -> None:
    published = months(home, JULY, AUGUST, SEPTEMBER)
    assert reference_as_of(published, 2, CALENDAR, 1) == [AS_OF[AUGUST], AS_OF[JULY]]
    found = reference_as_of(published, 4, CALENDAR, 1)
    assert found == [AS_OF[AUGUST], AS_OF[JULY], dt.date(2025, 5, 30), dt.date(2025, 4, 30)]
    assert reference_as_of(months(home, JULY), 1, CALENDAR, 1) == [dt.date(2025, 5, 30)]


def test_scores_of_another_horizon_are_no_reference(market: SmallMarket, home: Path) -> None:
    assert [month.rebalance_date for month in months_of_same_scores(months(home, *REBALANCES), 2)] == [
        SEPTEMBER,
        AUGUST,
    ]
    run(market, home, AUGUST, horizon=5, republish_reason="another horizon")
    assert [month.rebalance_date for month in months_of_same_scores(months(home, *REBALANCES), 9)] == [
        SEPTEMBER,
        JULY,
    ]


# --- the command line ---------------------------------------------------------------------------------------


@pytest.fixture
def apex(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], market: SmallMarket
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("APEX_BUNDLE", str(market.bundle))
    monkeypatch.setenv("APEX_DATASET", str(market.dataset))
    monkeypatch.setattr(out, "width", 200)  # tables must not wrap the words that are looked for

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["apex", "performance", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_a_deviation_exits_with_4_and_shows_everything(apex: Callable[..., Any], home: Path) -> None:
    code, said, _ = apex("--store", home, "--until", LAST_SESSION)
    assert code == 4
    for words in ("Sharpe ratio", "deviates", "may be chance", "mean turnover", *CheckName):
        assert words in said


def test_json_is_the_report_and_nothing_else(
    apex: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APEX_HOME", str(home))
    monkeypatch.setenv("APEX_PERFORMANCE__MAX_DEVIATION", "50")
    code, said, log = apex("--json", "--until", LAST_SESSION)
    assert code == 0
    report = PerformanceReport.model_validate(json.loads(said))
    assert report.comparisons[0].verdict is DeviationVerdict.WITHIN
    assert "Ledger of 4 months and 70 sessions" in log


def test_nothing_published_is_a_refusal(apex: Callable[..., Any], tmp_path: Path) -> None:
    code, said, error = apex("--store", tmp_path)
    assert (code, said) == (3, "")
    assert error.startswith("REFUSED nothing is published")


def test_look_at_performance_is_both_steps(market: SmallMarket, home: Path) -> None:
    request = resolve_performance_request(
        {"bundle": str(market.bundle), "dataset": str(market.dataset), "until": LAST_SESSION},
        moment=MOMENT,
        settings=small_settings(home),
        calendar=CALENDAR,
    )
    quiet = PerformanceRun(request, Store(home), CALENDAR, lambda _: None)
    assert run_performance(quiet) == look(market, home)[0]
    assert not quiet.nothing_published
