"""End to end: `apex score` and three months of `apex run` against the two slow oracles."""

from __future__ import annotations

import copy
import datetime as dt
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apex_tasks.settings import PortfolioSettings
from tests.support import oracle_portfolio
from tests.support.baseline_world import AS_OF, MONTHS, SESSIONS, SPLITS, World, code_of

REASON = {"csz": (), "raw": ("--normalization-reason", "as v0.1.0's later head")}


def assert_ranked(table: pd.DataFrame, expected: dict[str, float]) -> None:
    assert table.columns.tolist() == ["Code", "Score", "Rank"]
    assert table["Score"].dtype == np.float32
    assert table["Rank"].tolist() == list(range(1, len(expected) + 1))
    assert sorted(table["Code"]) == sorted(expected)
    true = np.array([expected[code] for code in table["Code"]])
    np.testing.assert_allclose(table["Score"], true, rtol=0, atol=1e-5)
    assert (np.diff(table["Score"]) <= 0).all()
    assert (np.diff(true) <= 2e-5).all(), "only ties within the tolerance may change places"


@pytest.mark.parametrize("horizon", [1, 5, 20])
@pytest.mark.parametrize("normalization", ["csz", "raw"])
def test_apex_score(world: World, tmp_path: Path, normalization: str, horizon: int) -> None:
    as_of, out = AS_OF[MONTHS[1]], tmp_path / "scores.parquet"
    arguments = ["--as-of", str(as_of), "--out", str(out), "--horizon", str(horizon)]
    told = world.apex(tmp_path, "score", *arguments, "--normalization", normalization, *REASON[normalization])
    expected = world.scores(as_of, horizon, raw=normalization == "raw")
    assert told["stocks"] == len(expected)
    assert_ranked(pd.read_parquet(out), expected)


def test_the_market_has_what_it_is_meant_to_have(world: World) -> None:
    as_of = AS_OF[MONTHS[1]]
    on_day = set(world.raw["Code"][world.raw["Date"] == as_of])
    eligible, raw = set(world.scores(as_of, 20)), set(world.scores(as_of, 20, raw=True))
    assert raw < eligible < on_day < set(world.raw["Code"])
    assert len(eligible) >= 75
    assert eligible - set(world.closes(as_of))
    assert not all(adv > 0 for adv in world.adv(as_of).values())


# --- three months, and what is published of each


def fill(account: oracle_portfolio.Account, orders: dict[str, float], world: World, day: dt.date) -> None:
    """Trade signed numbers of shares at the closes of a day."""
    closes, adv = world.closes(day), world.adv(day)
    account.value(closes)
    for code, shares in sorted(orders.items()):
        if shares > 0 and code not in closes:
            continue
        price = closes.get(code, account.last.get(code))
        left = account.shares.get(code, 0.0) + shares
        value = shares * price
        account.last[code] = price
        if shares < 0 and left <= 1e-6:
            del account.shares[code]
        else:
            account.shares[code] = left
        volume = oracle_portfolio.volume(code, abs(value), adv)
        account.cash -= value + oracle_portfolio.cost(abs(value), volume)


def split(
    account: oracle_portfolio.Account, orders: dict[str, float], after: dt.date, until: dt.date
) -> None:
    for number, (day, factor) in SPLITS.items():
        code = code_of(number)
        if after < day <= until:
            for numbers in (account.shares, orders):
                if code in numbers:
                    numbers[code] *= factor
            if code in account.last:
                account.last[code] /= factor


def run_all(world: World, home: Path, **options: str) -> None:
    given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    for number, day in enumerate(MONTHS):
        world.apex(home, "run", "--date", str(day), *given, *(["--cold-start"] if number == 0 else []))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("top_k", "horizon", "normalization"),
    [(35, 20, "csz"), (20, 5, "csz"), (35, 1, "raw")],
)
def test_three_months_of_apex_run(
    world: World, tmp_path: Path, top_k: int, horizon: int, normalization: str
) -> None:
    why = {"normalization_reason": "as v0.1.0's later head"} if normalization == "raw" else {}
    run_all(world, tmp_path, top_k=str(top_k), horizon=str(horizon), normalization=normalization, **why)
    rule = {20: (0.6, 53), 5: (0.5, 53), 1: (0.6, 53)}[horizon]
    account = oracle_portfolio.Account(cash=10_000_000.0)
    orders: dict[str, float] = {}
    seen = set()
    for number, day in enumerate(MONTHS):
        as_of = AS_OF[day]
        if number:
            before = MONTHS[number - 1]
            split(account, orders, AS_OF[before], before)
            fill(account, orders, world, before)
            for previous, session in pairwise(day for day in SESSIONS if before <= day <= as_of):
                split(account, {}, previous, session)
                account.value(world.closes(session))  # a suspended stock keeps its latest close
        closes, adv = world.closes(as_of), world.adv(as_of)
        scores = world.scores(as_of, horizon, raw=normalization == "raw")
        kept, fallback, priced = oracle_portfolio.candidates(scores, closes, top_k, 2.0, *rule)
        held = account.weights(closes)
        value = account.value(closes)
        target, notes = oracle_portfolio.weights(kept, held, value, adv, PortfolioSettings(), top_k)
        after = copy.deepcopy(account)
        trades, cost, turnover, skipped = after.rebalance(target, closes, adv)
        prices = {code: closes.get(code, account.last.get(code)) for code in trades}
        orders = {code: trades[code] / prices[code] for code in trades}
        orders |= {code: -account.shares[code] for code in trades if code not in after.shares}

        folder = tmp_path / "portfolio" / str(day) / "v1"
        assert_ranked(pd.read_parquet(folder / "scores.parquet"), scores)
        run = json.loads((folder / "run.json").read_text())
        assert run["selection"]["candidates"] == [code for code, _ in kept]
        assert run["selection"]["fallback"] is fallback
        assert run["selection"]["notes"] == notes
        assert run["selection"]["target_weights"] == pytest.approx(target, rel=1e-6)
        close_to = lambda expected: pytest.approx(expected, rel=1e-6)  # noqa: E731
        metrics = run["metrics"]
        assert metrics["eligible_stocks"] == len(scores)
        assert metrics["priced_candidates"] == priced
        assert metrics["apex_selected_count"] == len(kept)
        assert metrics["portfolio_value_jpy"] == close_to(value)
        assert metrics["turnover"] == close_to(turnover)
        assert metrics["cost_jpy"] == close_to(cost)
        assert metrics["apex_daily_cost_bps"] == close_to(cost / value * 1e4)
        assert metrics["cash_after_jpy"] == pytest.approx(after.cash, rel=1e-6, abs=1e-6 * value)

        table = pd.read_csv(folder / "orders.csv", dtype={"code": str}).set_index("code")
        sign = np.where(table["side"] == "BUY", 1.0, -1.0)
        assert (table["value_jpy"] * sign).to_dict() == close_to(trades)
        assert (table["shares"] * sign).to_dict() == close_to(orders)
        book = pd.read_csv(folder / "portfolio.csv", dtype={"code": str}).set_index("code")
        assert book["shares"].to_dict() == close_to(after.shares)
        assert book["weight"].to_dict() == close_to({code: target.get(code, 0.0) for code in after.shares})
        if number:
            assert run["parent"]["portfolio"] == f"{MONTHS[number - 1]}/v1"
        seen |= {"skipped"} if skipped else set()
        seen |= {"stale"} if any(code not in closes for code in account.shares) else set()
        seen |= {"unfilled"} if any(code not in world.closes(day) for code in orders) else set()
        seen |= {"split"} if any(code_of(number) in account.shares for number in SPLITS) else set()
        seen |= {"sold out"} if any(code not in after.shares for code in orders) else set()
    assert {"stale", "unfilled", "split"} <= seen, "the random market must exercise all of it"
