"""Live timing is what the monthly runs do: same orders, same fills, same ledger, nothing from the future."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from apex_tasks.backtesting.backtest import BacktestRequest, Market, backtest, open_market, replay
from apex_tasks.backtesting.result import BacktestResult
from apex_tasks.cli import app
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.daily_rows import daily_rows
from apex_tasks.portfolio.orders import Orders
from apex_tasks.published.ledger import read_published_ledger
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, Policy, PortfolioSettings, Sessions, Timing
from apex_tasks.store import Store
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    CALENDAR,
    FEATURE_COLUMNS,
    JULY,
    LAST_SESSION,
    OCTOBER,
    REBALANCES,
    SEPTEMBER,
    SmallMarket,
    portfolio,
    replaced,
    run_chain,
    small_settings,
    with_absences,
    write_table,
)


def run_request_from(
    market: SmallMarket,
    *,
    dataset: Path | None = None,
    start: dt.date = JULY,
    end: dt.date = LAST_SESSION,
    settings: ApexSettings | None = None,
    timing: Timing = Timing.LIVE,
    sessions: Sessions = Sessions.TSE,
) -> BacktestRequest:
    return BacktestRequest(
        bundle=str(market.bundle),
        dataset=str(dataset or market.dataset),
        start=start,
        end=end,
        timing=timing,
        sessions=sessions,
        settings=settings or small_settings("unused"),
    )


def opened(market: SmallMarket, **given: object) -> Market:
    return open_market(run_request_from(market, **given), CALENDAR)


@pytest.fixture(scope="module")
def result(market: SmallMarket) -> BacktestResult:
    return backtest(opened(market))


@pytest.mark.slow
@pytest.mark.parametrize("policy", list(Policy))
def test_orders_and_ledger_are_those_of_the_published_months(
    market: SmallMarket, tmp_path: Path, policy: Policy
) -> None:
    settings = small_settings(tmp_path, portfolio=PortfolioSettings(policy=policy, initial_capital_jpy=1e8))
    run_chain(market, tmp_path, settings=settings)
    opened_market = opened(market, settings=settings)
    simulation = replay(opened_market, settings)

    assert [done.rebalance.date for done in simulation.rebalances] == list(REBALANCES)
    for done in simulation.rebalances:
        published = portfolio(tmp_path, done.rebalance.date).read_json("book.json")
        assert done.plan.orders == Orders.model_validate(published["orders"])
        selection = portfolio(tmp_path, done.rebalance.date).read_json("run.json")["selection"]
        assert dict(done.plan.target.weights) == selection["target_weights"]
        assert list(done.plan.candidates.codes) == selection["candidates"]

    ledger = read_published_ledger(Store(tmp_path), open_dataset(market.dataset))
    assert ledger.days == tuple(simulation.days)
    assert [month.fills for month in ledger.months] == [done.fills for done in simulation.rebalances]
    assert ledger.warnings == ()
    result = backtest(opened_market)
    assert result.daily == daily_rows(ledger.days)
    assert result.performance == ledger.performance()


@pytest.mark.slow
def test_a_month_starts_from_the_value_that_the_ledger_shows(chain: Path, result: BacktestResult) -> None:
    value = {row.date: row.portfolio_value for row in result.daily}
    for day in REBALANCES[1:]:
        before = Book.model_validate(portfolio(chain, day).read_json("book.json")["before"])
        assert value[AS_OF[day]] == before.portfolio_value_jpy
    assert result.daily[0].date == JULY
    assert [row.date for row in result.daily] == CALENDAR.sessions(JULY, LAST_SESSION)


@pytest.mark.slow
def test_fills_are_at_the_close_of_the_rebalance_day(market: SmallMarket, result: BacktestResult) -> None:
    simulation = replay(opened(market), small_settings("unused"))
    for done in simulation.rebalances:
        assert done.fills is not None
        for row in done.fills.rows:
            assert row.price_jpy == market.prices.loc[(done.rebalance.date, row.code)]["Close"]
        estimate = {row.code: row.shares for row in done.plan.orders.rows}
        assert {row.code: row.shares for row in done.fills.rows} == estimate
    assert result.performance.total_cost_jpy == sum(row.cost_jpy for row in result.rebalances)
    assert any(row.cost_jpy != row.estimated_cost_jpy for row in result.rebalances)


def scrambled_after(market: SmallMarket, last: dt.date, out: Path) -> Path:
    random = np.random.default_rng(5)
    later = market.dates > last
    columns = {}
    for name in (*FEATURE_COLUMNS, "Volume", "TurnoverValue"):
        values = market.values(name)
        values[later] = random.permutation(values[later])
        columns[name] = values
    close = market.values("Close")
    close[later] *= random.uniform(0.8, 1.2, later.sum())
    return write_table(replaced(market.table, **columns, Close=close, AdjustmentClose=close), out)


@pytest.mark.slow
@pytest.mark.parametrize("timing", list(Timing))
def test_nothing_after_a_session_changes_what_was_before(
    market: SmallMarket, tmp_path: Path, timing: Timing
) -> None:
    dataset = scrambled_after(market, SEPTEMBER, tmp_path / "scrambled.parquet")
    plain, scrambled = (
        backtest(opened(market, dataset=path, timing=timing)) for path in (market.dataset, dataset)
    )
    known = len([row for row in plain.daily if row.date <= SEPTEMBER])
    assert known > 20
    assert scrambled.daily[:known] == plain.daily[:known]
    assert scrambled.daily[known:] != plain.daily[known:]
    decided = len([row for row in plain.rebalances if row.date <= SEPTEMBER])
    assert scrambled.rebalances[:decided] == plain.rebalances[:decided]
    assert scrambled.rebalances[decided:] != plain.rebalances[decided:]


@pytest.mark.slow
def test_a_month_that_cannot_be_planned_refuses_the_live_backtest(
    market: SmallMarket, tmp_path: Path
) -> None:
    kept = ~((market.dates == AS_OF[AUGUST]) & (market.codes > sorted(set(market.codes))[60]))
    dataset = write_table(market.table.filter(pa.array(kept)), tmp_path / "thin.parquet")
    with pytest.raises(Refusal, match=f"too few eligible stocks on {AS_OF[AUGUST]}"):
        backtest(opened(market, dataset=dataset))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (dt.date(2030, 1, 1), dt.date(2030, 2, 1), "no session in the period"),
        (dt.date(2025, 7, 2), dt.date(2025, 7, 31), "no rebalance day"),
        (dt.date(2025, 8, 1), dt.date(2025, 7, 1), "no session in the period"),
    ],
)
def test_a_period_without_anything_to_do_is_refused(
    market: SmallMarket, start: dt.date, end: dt.date, message: str
) -> None:
    with pytest.raises(Refusal, match=message):
        backtest(opened(market, start=start, end=end))


@pytest.mark.slow
def test_an_end_beyond_the_dataset_is_told(market: SmallMarket) -> None:
    result = backtest(opened(market, end=dt.date(2025, 10, 31)))
    assert result.warnings == ("the dataset ends on 2025-10-10, 14 TSE sessions before 2025-10-31",)
    assert result.daily[-1].date == LAST_SESSION


@pytest.mark.slow
def test_sessions_of_the_dataset_make_the_schedule_of_another_exchange(
    market: SmallMarket, tmp_path: Path
) -> None:
    # Without 1 August and the two days before, August begins with its second session.
    gone = {AUGUST, dt.date(2025, 7, 31), dt.date(2025, 7, 30)}
    kept = ~np.isin(market.dates, list(gone))
    dataset = write_table(market.table.filter(pa.array(kept)), tmp_path / "other.parquet")
    result = backtest(opened(market, dataset=dataset, sessions=Sessions.DATASET))
    august = result.rebalances[1]
    assert (august.date, august.as_of) == (dt.date(2025, 8, 4), dt.date(2025, 7, 29))


@pytest.mark.slow
def test_the_command_writes_the_result_and_shows_the_figures(market: SmallMarket, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "result.json"
    done = CliRunner().invoke(
        app,
        [
            *("backtest", "--bundle", str(market.bundle), "--dataset", str(market.dataset)),
            *("--start", "2025-07-01", "--end", "2025-10-10", "--policy", "capped", "--capital", "100000000"),
            *("--out", str(out), "--json"),
        ],
        env={"APEX_HOME": str(tmp_path)},
    )
    assert done.exit_code == 0, done.output
    written, shown = json.loads(out.read_text()), json.loads(done.stdout)
    assert BacktestResult.model_validate(written).model_dump(mode="json") == written
    assert shown["sharpe_ratio"] == written["performance"]["sharpe_ratio"]
    assert written["settings"]["portfolio"]["policy"] == "capped"
    assert written["settings"]["capital_jpy"] == 1e8
    assert {"dataset", "bundle", "checkpoint", "config", "features"} == written["hashes"].keys()


@pytest.mark.parametrize("timing", list(Timing))
def test_a_code_that_comes_back_is_another_stock_in_live_timing_only(
    market: SmallMarket, tmp_path: Path, timing: Timing
) -> None:
    again, suspended, *_ = sorted(set(market.codes))
    dataset = with_absences(market, tmp_path / "d.parquet", {again: 60, suspended: 59})
    scores = opened(market, dataset=dataset, timing=timing).scores
    codes = set(scores.ranked(AS_OF[OCTOBER])["Code"])
    told = [warning for warning in scores.warnings if "count as other stocks" in warning]
    assert suspended in codes
    assert (again in codes, len(told)) == ((False, 1) if timing is Timing.LIVE else (True, 0))
