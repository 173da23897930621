"""`apex backtest --timing same_close` against v0.1.0's accounting in plain loops."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from apex_tasks.settings import PortfolioSettings
from tests.support import oracle_portfolio
from tests.support.baseline_world import LOOKBACK, SESSIONS, World

MIN_STOCKS = 60
START, END = SESSIONS[LOOKBACK - 4], SESSIONS[-3]
CAPITAL = 20_000_000.0


@dataclass
class Expected:
    rebalances: list[dict] = field(default_factory=list)
    failed: list[dt.date] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    cash: list[float] = field(default_factory=list)
    trades: int = 0
    cost: float = 0.0


def by_hand(world: World, horizon: int, top_k: int) -> Expected:
    days = [day for day in SESSIONS if START <= day <= END]
    rule = {20: (0.6, 53), 5: (0.5, 53)}[horizon]
    account, expected, month = oracle_portfolio.Account(cash=CAPITAL), Expected(), None
    for today, tomorrow in pairwise(days):
        if not account.shares or month != (today.year, today.month):
            scores = {}
            if SESSIONS.index(today) >= LOOKBACK - 1:
                scores = world.scores(today, horizon)
            if len(scores) < MIN_STOCKS:
                expected.failed.append(today)
            else:
                closes, adv = world.closes(today), world.adv(today)
                kept, fallback, _ = oracle_portfolio.candidates(scores, closes, top_k, 2.0, *rule)
                held, value = account.weights(closes), account.value(closes)
                target, _ = oracle_portfolio.weights(kept, held, value, adv, PortfolioSettings(), top_k)
                trades, cost, turnover, _ = account.rebalance(target, closes, adv)
                month = (today.year, today.month)
                expected.trades += len(trades)
                expected.cost += cost
                expected.rebalances.append(
                    {
                        "date": str(today),
                        "as_of": str(today),
                        "candidate_total": min(round(2.0 * top_k), len([c for c in scores if c in closes])),
                        "candidate_kept": len(kept),
                        "fallback": fallback,
                        "positions": len(account.shares),
                        "trades": len(trades),
                        "cost_jpy": pytest.approx(cost, rel=1e-6),
                        "turnover": pytest.approx(turnover, rel=1e-6),
                        "weights": pytest.approx(target, rel=1e-6),
                    }
                )
        expected.values.append(account.value(world.closes(tomorrow)))
        expected.cash.append(account.cash)
    return expected


def figures(values: list[float], trades: int, cost: float) -> dict[str, float]:
    """BASELINE accounting: the first state's return is in no statistic."""
    returns = [100 * (values[i] / values[i - 1] - 1) for i in range(1, len(values))]
    mean = sum(returns) / len(returns)
    spread = math.sqrt(sum((r - mean) ** 2 for r in returns) / len(returns))
    losses = [r for r in returns if r < 0]
    loss_mean = sum(losses) / len(losses)
    loss_spread = math.sqrt(sum((r - loss_mean) ** 2 for r in losses) / len(losses))
    peak, drawdown = CAPITAL, 0.0
    for value in values:
        peak = max(peak, value)
        drawdown = max(drawdown, 100 * (peak - value) / peak)
    total = values[-1] / CAPITAL - 1
    yearly = 100 * ((1 + total) ** (252 / len(values)) - 1)
    return {
        "total_return": 100 * total,
        "annualized_return": yearly,
        "sharpe_ratio": mean / spread * math.sqrt(252),
        "sortino_ratio": mean / loss_spread * math.sqrt(252),
        "max_drawdown": drawdown,
        "calmar_ratio": yearly / drawdown,
        "win_rate": len([r for r in returns if r > 0]) / len(returns),
        "total_trades": trades,
        "total_cost_jpy": cost,
        "cost_pct_of_capital": 100 * cost / CAPITAL,
        "avg_daily_cost_bps": cost / len(values) / CAPITAL * 1e4,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("horizon", "top_k"), [(20, 35), (5, 20)])
def test_a_period_equals_the_accounting_by_hand(
    world: World, tmp_path: Path, horizon: int, top_k: int
) -> None:
    out = tmp_path / "result.json"
    world.apex(
        tmp_path,
        *("backtest", "--start", str(START), "--end", str(END), "--timing", "same_close"),
        *("--capital", str(CAPITAL), "--top-k", str(top_k), "--horizon", str(horizon), "--out", str(out)),
    )
    result = json.loads(out.read_text())
    expected = by_hand(world, horizon, top_k)

    assert [attempt["date"] for attempt in result["failed_attempts"]] == [str(d) for d in expected.failed]
    assert len(expected.failed) >= 2, "the period must begin before a rebalance is possible"
    shown = [{key: row[key] for key in expected.rebalances[0]} for row in result["rebalances"]]
    assert shown == expected.rebalances
    assert len(shown) >= 4
    days = [day for day in SESSIONS if START <= day <= END]
    assert [row["date"] for row in result["daily"]] == [str(day) for day in days[1:]]
    values = [row["portfolio_value"] for row in result["daily"]]
    assert values == pytest.approx(expected.values, rel=1e-6)
    assert [row["cash"] for row in result["daily"]] == pytest.approx(expected.cash, rel=1e-6, abs=20.0)
    changes = [100 * (now / before - 1) for before, now in pairwise(values)]
    assert [row["daily_return"] for row in result["daily"]] == pytest.approx([0.0, *changes], abs=1e-9)
    assert result["performance"] == pytest.approx(
        figures(expected.values, expected.trades, expected.cost), rel=1e-6
    )


def test_splits_that_v0_1_0_did_not_adjust_for_are_told(world: World, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    arguments = ["backtest", "--start", str(START), "--end", str(END), "--timing", "same_close"]
    world.apex(tmp_path, *arguments, "--out", str(out))
    (told,) = [text for text in json.loads(out.read_text())["warnings"] if "splits of held names" in text]
    assert "(2025-07-01)" in told


def test_what_scores_may_know_of_later_splits_is_told(world: World, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    arguments = ["backtest", "--start", str(START), "--end", str(END), "--timing", "same_close"]
    world.apex(tmp_path, *arguments, "--out", str(out))
    (told,) = [
        text for text in json.loads(out.read_text())["warnings"] if "levels of adjusted closes" in text
    ]
    assert told.startswith(
        "6 features are levels of adjusted closes (ema_5, ema_20, ema_200, macd, macd_signal,"
    )
    # Whoever has a split in the period has closes before it that were adjusted.
    columns = ["Date", "Code", "Close", "AdjustmentClose"]
    frame = pd.read_parquet(world.dataset, columns=columns)
    days = (frame["Date"] >= START - dt.timedelta(days=70)) & (frame["Date"] <= END)
    ratio = frame["AdjustmentClose"] / frame["Close"].where(frame["Close"] > 0)
    adjusted = frame.loc[days & ((ratio - 1).abs() >= 0.02), "Code"].nunique()
    assert adjusted > 10
    assert f"{adjusted} stocks have closes in the period that were adjusted later" in told


def test_delisted_names_stay_positions_and_are_listed(world: World, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    arguments = ["backtest", "--start", str(START), "--end", str(END), "--timing", "same_close"]
    world.apex(tmp_path, *arguments, "--out", str(out))
    result = json.loads(out.read_text())
    days = [day for day in SESSIONS if START <= day <= END]
    rows = {}
    for day in days:
        for code in world.closes(day):
            rows.setdefault(code, []).append(day)
    for name in result["delisted"]:
        counted = dt.date.fromisoformat(name["counted_as_cash_on"])
        last = dt.date.fromisoformat(name["last_price_date"])
        assert days.index(counted) - days.index(last) >= 20
        assert max(day for day in rows[name["code"]] if day <= counted) == last
        assert name["last_price_jpy"] == world.closes(last)[name["code"]]
    told = [
        text for text in result["warnings"] if "stay positions, as in v0.1.0, at their last price" in text
    ]
    assert len(told) == bool(result["delisted"])
    assert result["delisted"]


def test_as_long_as_nothing_is_held_every_date_is_tried(world: World, tmp_path: Path) -> None:
    # With 50,000 JPY no whole lot fits into a slot, so the capped policy buys nothing, day after day.
    out = tmp_path / "result.json"
    world.apex(
        tmp_path,
        *("backtest", "--start", "2025-08-04", "--end", "2025-08-08", "--timing", "same_close"),
        *("--policy", "capped", "--capital", "50000", "--out", str(out)),
    )
    result = json.loads(out.read_text())
    assert [row["positions"] for row in result["rebalances"]] == [0] * len(result["daily"])
    assert len(result["daily"]) == 4
    assert {row["portfolio_value"] for row in result["daily"]} == {50_000.0}


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(world: World, tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        out = tmp_path / f"{name}.json"
        arguments = ("--start", "2025-07-01", "--end", "2025-08-29", "--out", str(out))
        world.apex(tmp_path, "backtest", *arguments)
        written.append(out.read_bytes())
    assert written[0] == written[1]
