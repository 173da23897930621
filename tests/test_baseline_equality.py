"""End to end: `apex score` and three months of `apex run` against the two slow oracles.

The random market has what real ones have: late listings, delistings, pauses, missing closes and volumes, splits,
nulls, NaN and infinities, a feature that is the same for all, columns under other names and as alias operands.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import bundle_factory
import jpholiday
import numpy as np
import oracle_portfolio
import oracle_ranker
import pandas as pd
import pyarrow as pa
import pytest
from random_dataset import as_table, write
from typer.testing import CliRunner

from apex_tasks.cli import app
from apex_tasks.settings import PortfolioSettings

STOCKS, LOOKBACK = 100, 60
MONTHS = [dt.date(2025, 7, 1), dt.date(2025, 8, 1), dt.date(2025, 9, 1)]
ALIASES = {
    "dmi_z26_net": "dmi_z26_long - dmi_z26_short",
    "dmi_net_to_adv20": "dmi_long_to_adv20 - dmi_short_to_adv20",
}
OTHER_NAMES = {"ema_5": "EMA_5", "returns_5d": "ret_prev_5d", "rsi_14": "Rsi_14"}
ABSENT = ("x_z_sec_gap_mom", "mkt_bb_bw")


def tse_sessions(first: dt.date, last: dt.date) -> list[dt.date]:
    days = [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]
    return [day for day in days if day.weekday() < 5 and not jpholiday.is_holiday(day)]


SESSIONS = tse_sessions(dt.date(2025, 2, 3), dt.date(2025, 9, 12))
AS_OF = {day: SESSIONS[SESSIONS.index(day) - 1] for day in MONTHS}
SPLITS = {  # code number -> (session, new shares per old share); on and between the days that count
    **dict.fromkeys(range(3, 100, 17), (MONTHS[0], 2.0)),
    **{number: (dt.date(2025, 8, 20), 0.2) for number in range(5, 100, 17)},
    **dict.fromkeys(range(7, 100, 17), (AS_OF[MONTHS[2]], 1.5)),
}


def code_of(number: int) -> str:
    return f"{1301 + 7 * number}0"


def random_market() -> pa.Table:
    random = np.random.default_rng(42)
    session, stock = (grid.ravel() for grid in np.indices((len(SESSIONS), STOCKS)))
    steady = np.isin(stock, list(SPLITS))
    first = np.where(np.arange(STOCKS) % 11 == 2, random.integers(45, 90, STOCKS), 0)
    last = np.where(np.arange(STOCKS) % 13 == 4, random.integers(105, 140, STOCKS), len(SESSIONS))
    listed = (session >= first[stock]) & (session < last[stock]) & (random.random(len(stock)) > 0.03)
    keep = listed | steady
    session, stock, steady = session[keep], stock[keep], steady[keep]
    n = len(stock)

    close = np.exp(random.normal(7, 0.5, STOCKS)[stock] + random.normal(0, 0.03, n))
    factor = np.ones(n)
    for number, (day, new_shares) in SPLITS.items():
        factor[(stock == number) & (session < SESSIONS.index(day))] = new_shares
    close = close * factor
    unpriced = (random.random(n) < 0.04) & ~steady
    volume = np.where(random.random(n) < 0.05, 0.0, random.integers(1, 3_000, n) * 100.0)
    turnover = np.where(random.random(n) < 0.2, 0.0, volume * close * 1.01)
    frame = {
        "Date": [SESSIONS[number] for number in session],
        "Code": [code_of(number) for number in stock],
        "sector33_code": [str(3050 + number % 7) for number in stock],
        "Close": np.where(unpriced, np.array([None, math.nan, 0.0])[random.integers(0, 3, n)], close),
        "AdjustmentClose": close / factor,
        "Volume": volume,
        "TurnoverValue": turnover,
    }
    numbers = {name: pa.float64() for name in ("Close", "AdjustmentClose", "Volume", "TurnoverValue")}

    operands = [word for expression in ALIASES.values() for word in expression.split(" - ")]
    columns = [OTHER_NAMES.get(name, name) for name in bundle_factory.FEATURES if name not in ABSENT]
    columns = [name for name in columns if name != "dmi_net_to_adv20"]  # dmi_z26_net stays, and must lose
    for number, name in enumerate([*operands, *columns]):
        level = random.standard_normal(STOCKS)[stock]
        values = (level + random.standard_normal(n)).astype(np.float32).astype(object)
        if name == "mkt_ret_1d":
            values = random.standard_normal(len(SESSIONS)).astype(np.float32)[session].astype(object)
        if number % 9 == 0:
            holes = np.flatnonzero(random.random(n) < 0.0004)
            values[holes] = np.array([None, math.nan, math.inf, -math.inf])[random.integers(0, 4, len(holes))]
        frame[name] = values
        numbers[name] = pa.float64() if number % 5 else pa.float32()
    return as_table(pd.DataFrame(frame), **numbers)


@dataclass(frozen=True)
class World:
    """Dataset and bundle on disk, and what the oracle needs of them."""

    dataset: Path
    bundle: Path

    def apex(self, home: Path, *arguments: str) -> Any:
        environment = {
            "APEX_HOME": str(home),
            "APEX_BUNDLE": str(self.bundle),
            "APEX_DATASET": str(self.dataset),
        }
        result = CliRunner().invoke(app, [*arguments, "--json"], env=environment)
        assert result.exit_code == 0, (result.exception, result.output)
        return json.loads(result.stdout)

    @cached_property
    def raw(self) -> pd.DataFrame:
        return oracle_ranker.read(self.dataset, bundle_factory.FEATURES, ALIASES)

    @cached_property
    def csz(self) -> pd.DataFrame:
        return oracle_ranker.normalised(self.raw, bundle_factory.FEATURES)

    def scores(self, as_of: dt.date, horizon: int, *, raw: bool = False) -> dict[str, float]:
        state = {name: tensor.numpy() for name, tensor in bundle_factory.weights().items()}
        frame = self.raw if raw else self.csz
        return oracle_ranker.scores(
            frame, bundle_factory.FEATURES, state, as_of, horizon, LOOKBACK, n_heads=2
        )

    @cached_property
    def prices(self) -> dict[dt.date, pd.DataFrame]:
        frame = pd.read_parquet(self.dataset, columns=["Date", "Code", "Close", "Volume", "TurnoverValue"])
        return {pd.Timestamp(day).date(): today.set_index("Code") for day, today in frame.groupby("Date")}

    def closes(self, day: dt.date) -> dict[str, float]:
        return {code: close for code, close in self.prices[day]["Close"].items() if close > 0}

    def adv(self, day: dt.date) -> dict[str, float]:
        known = {}
        for code, row in self.prices[day].iterrows():
            known[code] = row["TurnoverValue"] if row["TurnoverValue"] > 0 else row["Volume"] * row["Close"]
        return known


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    draft = bundle_factory.Draft()
    draft.config["data"] |= {"lookback": LOOKBACK, "min_stocks_per_day": 60}
    draft.config["selection"]["horizons"]["5"]["sign"] = 1
    dataset = write(random_market(), folder / "dataset.parquet", row_group_size=1_500)
    return World(dataset, draft.folder(folder / "bundle"))


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
    told = world.apex(tmp_path, "score", *arguments, "--normalization", normalization)
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


@pytest.mark.parametrize(
    ("top_k", "horizon", "normalization"),
    [(35, 20, "csz"), (20, 5, "csz"), (35, 1, "raw")],
)
def test_three_months_of_apex_run(
    world: World, tmp_path: Path, top_k: int, horizon: int, normalization: str
) -> None:
    run_all(world, tmp_path, top_k=str(top_k), horizon=str(horizon), normalization=normalization)
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
