"""A random market with what real ones have, and what the two slow oracles say of it.

Late listings, delistings, pauses, missing closes and volumes, splits, nulls, NaN and infinities, a feature that is
the same for all, columns under other names and as alias operands.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jpholiday
import numpy as np
import pandas as pd
import pyarrow as pa
from typer.testing import CliRunner

from apex_tasks.cli import app
from tests.support import bundle_factory, oracle_ranker
from tests.support.random_dataset import as_table, write

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

    close = np.exp(random.normal(7, 0.5, STOCKS)[stock] + random.normal(0, 0.02, n))
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
        return oracle_ranker.normalized(self.raw, bundle_factory.FEATURES)

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


def make_world(folder: Path) -> World:
    """Write dataset and bundle."""
    draft = bundle_factory.Draft()
    draft.config["data"] |= {"lookback": LOOKBACK, "min_stocks_per_day": 60}
    draft.config["selection"]["horizons"]["5"]["sign"] = 1
    dataset = write(random_market(), folder / "dataset.parquet", row_group_size=1_500)
    return World(dataset, draft.folder(folder / "bundle"))
