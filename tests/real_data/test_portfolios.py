"""Model, momentum and equal weight through one engine, against the source's own returns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from real_data import portfolios, stages
from real_data.portfolios import EQUAL_WEIGHT, MODEL, MOMENTUM, PORTFOLIOS, replay_portfolios

from apex_tasks.backtesting.result import BacktestResult
from apex_tasks.refusal import Refusal
from apex_tasks.store import Artifact, Store
from tests.support import bundle_factory
from tests.support.real_market import as_csv, made_up_panel

pytestmark = pytest.mark.slow

STOCKS = 90  # the bundle of the tests wants 80
RETURNS, VOLUMES = made_up_panel(stocks=STOCKS)
SESSIONS = [day.date() for day in VOLUMES.index]
CODES = sorted(VOLUMES.columns)
START, END = dt.date(2012, 1, 1), dt.date(2012, 4, 30)
Play = Callable[[pd.DataFrame, pd.DataFrame], dict[str, BacktestResult]]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Play a panel through, with a bundle that was trained on nothing."""
    bundle = bundle_factory.Draft().folder(tmp_path_factory.mktemp("bundle") / "bundle")
    settings = portfolios.trading_settings(stages.evaluation_settings())

    def run(returns: pd.DataFrame, volumes: pd.DataFrame) -> dict[str, BacktestResult]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stages, "read_files", lambda _: (as_csv(returns), as_csv(volumes)))
            datasets = stages.make_datasets(Store(tmp_path_factory.mktemp("store")), Path("unused"))
        with datasets.local_file(stages.DATASET) as dataset:
            return replay_portfolios(bundle, dataset, settings, start=START, end=END)

    return run


@pytest.fixture(scope="module")
def results(play: Play) -> dict[str, BacktestResult]:
    return play(RETURNS, VOLUMES)


def _grown(day: dt.date) -> np.ndarray:
    """What 1 JPY of each stock, by Code, grew to in the session."""
    return 1.0 + RETURNS.loc[pd.Timestamp(day), CODES].to_numpy()


def test_all_trade_on_the_first_session_of_each_month_and_end_together(results) -> None:
    firsts = [day for before, day in pairwise(SESSIONS) if before.month != day.month and day >= START]
    for name in PORTFOLIOS:
        assert [row.date for row in results[name].rebalances] == firsts
        assert [row.as_of for row in results[name].rebalances] == [
            SESSIONS[SESSIONS.index(day) - 1] for day in firsts
        ]
        assert [row.date for row in results[name].daily] == [day for day in SESSIONS if day >= firsts[0]]


def test_equal_weight_holds_everything_at_equal_weights_after_every_rebalance(results) -> None:
    result = results[EQUAL_WEIGHT]
    for row in result.rebalances:
        assert list(row.weights) == CODES
        assert set(row.weights.values()) == {1 / STOCKS}
        assert (row.positions, row.candidate_kept, row.fallback) == (STOCKS, STOCKS, False)
        assert row.unfilled == ()

    # Day by day from the source's returns: equal amounts at the as-of close, filled a session later.
    cash, held = portfolios.CAPITAL_JPY, np.zeros(STOCKS)
    fills = {row.date for row in result.rebalances}
    for row in result.daily:
        before = held
        held = held * _grown(row.date)
        if row.date in fills:
            target = np.full(STOCKS, (cash + before.sum()) / STOCKS) * _grown(row.date)
            cash -= (target - held).sum() + row.cost_jpy
            held = target
        assert row.portfolio_value == pytest.approx(cash + held.sum(), rel=1e-9)
        assert row.cash == pytest.approx(cash, abs=0.01)
    assert all(row.cost_jpy > 0 for row in result.rebalances)


def test_momentum_holds_names_that_rose_last_year(results) -> None:
    for row in results[MOMENTUM].rebalances[:1]:
        end = SESSIONS.index(row.as_of) - 21
        year = pd.DatetimeIndex(SESSIONS[end - 231 + 1 : end + 1])
        risen = (1 + RETURNS.loc[year, CODES]).prod() - 1
        best = list(risen.sort_values(ascending=False).index)
        assert len(row.weights) == portfolios.NAMES
        assert set(row.weights) <= set(best[:53])
        assert len(set(row.weights) & set(best[:35])) >= 33  # costs move the last places
    assert results[MODEL].rebalances[0].weights.keys() != results[MOMENTUM].rebalances[0].weights.keys()


def test_only_scores_differ_between_model_and_momentum_and_only_settings_for_equal_weight(results) -> None:
    model, momentum, equal = (results[name].settings for name in (MODEL, MOMENTUM, EQUAL_WEIGHT))
    assert model == momentum
    changed = {
        (section, name)
        for section in ("schedule", "ranking", "portfolio", "enhanced", "selection")
        for name in model[section]
        if model[section][name] != equal[section][name]
    }
    assert changed == {
        ("ranking", "top_k"),
        ("portfolio", "candidate_multiplier"),
        ("portfolio", "min_weight"),
        ("portfolio", "turnover_limit"),
        ("selection", "k_ratio"),
        ("selection", "k_min"),
    }
    assert model["capital_jpy"] == equal["capital_jpy"] == 1e8
    assert "bundle" in results[MODEL].hashes
    assert results[MOMENTUM].hashes.keys() == {"dataset", "scores"}
    assert results[MOMENTUM].hashes["scores"] != results[EQUAL_WEIGHT].hashes["scores"]


def _swapped(table: pd.DataFrame, after: dt.date) -> pd.DataFrame:
    """The same table, but after a day every stock gets another one's rows."""
    late = table.index > pd.Timestamp(after)
    changed = table.copy()
    changed.loc[late] = np.roll(table.loc[late].to_numpy(), 7, axis=1)
    return changed


def test_nothing_after_a_session_changes_what_was_before(play: Play, results) -> None:
    day = dt.date(2012, 2, 29)
    others = play(_swapped(RETURNS, day), _swapped(VOLUMES, day))
    for name in PORTFOLIOS:
        plain, other = results[name], others[name]
        known = len([row for row in plain.daily if row.date <= day])
        assert known > 40
        assert other.daily[:known] == plain.daily[:known]
        assert other.daily[known:] != plain.daily[known:]
        decided = len([row for row in plain.rebalances if row.date <= day])
        assert decided == 2
        assert other.rebalances[:decided] == plain.rebalances[:decided]
        # What is decided at the close of the day itself knows nothing later either; only its fills do.
        third, other_third = plain.rebalances[decided], other.rebalances[decided]
        assert third.as_of == day
        assert other_third.weights == third.weights
        assert other_third.estimated_cost_jpy == third.estimated_cost_jpy
        assert other_third.cost_jpy != third.cost_jpy


@pytest.mark.slow
def test_the_stage_leaves_the_same_bytes_and_is_found_again(
    results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "read_files", lambda _: (as_csv(RETURNS), as_csv(VOLUMES)))
    packed = bundle_factory.Draft().archive(tmp_path / "bundle.tar.gz").read_bytes()

    def made(store: Store) -> Artifact:
        datasets = stages.make_datasets(store, Path("unused"))
        bundle = store.write(stages.BUNDLES, "made-up", files={stages.BUNDLE: packed})
        return stages.make_backtests(store, datasets, bundle, stages.make_rank_ics(store, datasets, bundle))

    once, again = (made(Store(tmp_path / name)) for name in ("once", "again"))
    assert again.manifest == once.manifest
    monkeypatch.setattr(stages, "replay_portfolios", pytest.fail)
    assert made(Store(tmp_path / "once")).manifest == once.manifest

    assert once.details["shortest_month"] == min(
        SESSIONS.index(later) - SESSIONS.index(day)
        for day, later in pairwise(row.as_of for row in results[MODEL].rebalances)
    )
    for name in PORTFOLIOS:
        stored = BacktestResult.model_validate(once.read_json(stages.backtest_file(name)))
        assert stored.daily == results[name].daily
    equity = stages.read_table_csv(once, stages.EQUITY)
    assert list(equity[MODEL]) == [row.portfolio_value for row in results[MODEL].daily]
    assert list(stages.read_table_csv(once, stages.PERFORMANCE)["portfolio"]) == list(PORTFOLIOS)
    assert list(stages.read_table_csv(once, stages.DIFFERENCES)["portfolio"]) == [MODEL, MOMENTUM]
    assert len(stages.read_table_csv(once, stages.RANK_IC_SUMMARY)) == 4


def test_more_names_than_a_portfolio_may_have_are_refused() -> None:
    settings = portfolios.trading_settings(stages.evaluation_settings())
    with pytest.raises(Refusal, match="top_k"):
        portfolios.equal_weight_settings(settings, 501)
