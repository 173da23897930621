"""The sound market that faults are put into: small, quick, and with what real files have beside features.

110 sessions of 120 stocks, a bundle whose 64 rows of lookback are read to the last one, one genuine split.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.bundle_factory import Draft
from tests.support.fault_table.command import call_apex
from tests.support.small_market import AS_OF, OCTOBER, SEPTEMBER, SESSIONS, STOCKS, make_market

KEPT_SESSIONS, LOOKBACK = 110, 64
ROWS_PER_GROUP = 7_000
"""Two row groups, the border between them in the lookback."""
AS_OF_DAY = AS_OF[OCTOBER]
SPLIT_CODE, SPLIT_DAY = "21340", dt.date(2025, 8, 20)
NOT_COMPARED = {"run.json", "execution.json", "report.html", "manifest.json"}
"""Of a published month: what tells of the run, of the machine and of the time."""

Published = dict[str, bytes]


def sound_draft() -> Draft:
    """The bundle of the market, to be bent."""
    draft = Draft()
    draft.config["data"]["lookback"] = LOOKBACK
    return draft


def published_files(home: Path, day: dt.date = OCTOBER) -> Published:
    """What the newest version of a month publishes, by file name; empty where nothing is published."""
    versions = sorted((home / "portfolio" / str(day)).glob("v*"))
    return {path.name: path.read_bytes() for path in sorted(versions[-1].iterdir())} if versions else {}


def without_run(files: Published) -> Published:
    """The files that must not differ unless something is said."""
    return {name: content for name, content in files.items() if name not in NOT_COMPARED}


@dataclass(frozen=True)
class SoundMarket:
    """Dataset, bundle and published months without any fault; never to be changed."""

    folder: Path

    @property
    def dataset(self) -> Path:
        return self.folder / "sound.parquet"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @cached_property
    def table(self) -> pa.Table:
        return pq.read_table(self.dataset)

    @cached_property
    def days(self) -> npt.NDArray[np.datetime64]:
        """Date of every row."""
        return self.table["Date"].to_numpy().astype("datetime64[D]")

    @cached_property
    def codes(self) -> npt.NDArray[np.str_]:
        """Code of every row."""
        return np.array(self.table["Code"].to_pylist())

    @cached_property
    def sessions(self) -> list[dt.date]:
        """Days of the file, ascending."""
        return [day.item() for day in np.unique(self.days)]

    @cached_property
    def listed(self) -> list[str]:
        """Codes of the file, ascending."""
        return sorted(set(self.codes.tolist()))

    @property
    def after_september(self) -> Path:
        """A home in which September is published."""
        return self.folder / "after_september"

    @cached_property
    def sound_month(self) -> Published:
        """October from cash."""
        return self._month(self.folder / "cold", "--cold-start")

    @cached_property
    def sound_second_month(self) -> Published:
        """October after September."""
        shutil.copytree(self.after_september, self.folder / "second")
        return self._month(self.folder / "second")

    @cached_property
    def held(self) -> list[str]:
        """Codes of September's book that October neither sells nor misses, ascending."""
        before = self._names(self.september)
        return sorted(before & self._names(self.sound_second_month))

    @cached_property
    def september(self) -> Published:
        return published_files(self.after_september, SEPTEMBER)

    @cached_property
    def bought(self) -> list[str]:
        """Codes that October buys from cash, ascending."""
        return sorted(self._names(self.sound_month))

    @cached_property
    def unwanted(self) -> list[str]:
        """Codes in no book, ascending; the stock with the split is not among them."""
        wanted = {
            *self.bought,
            *self._names(self.september),
            *self._names(self.sound_second_month),
            SPLIT_CODE,
        }
        return [code for code in self.listed if code not in wanted]

    def _month(self, home: Path, *arguments: str) -> Published:
        run(self, home, "2025-10-01", *arguments)
        return published_files(home)

    @staticmethod
    def _names(files: Published) -> set[str]:
        lines = files["portfolio.csv"].decode().splitlines()
        return {line.split(",")[0] for line in lines[1:]}


def write_rows(table: pa.Table, out: Path, **how: Any) -> Path:
    """Write rows as the sound market's are, but for what `how` changes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out, **{"row_group_size": ROWS_PER_GROUP, "compression": "none", **how})
    return out


def run(market: SoundMarket, home: Path, day: str, *arguments: str) -> None:
    """Publish a month without a fault."""
    inputs = {"APEX_HOME": str(home), "APEX_DATASET": str(market.dataset), "APEX_BUNDLE": str(market.bundle)}
    outcome = call_apex(["run", "--date", day, "--json", *arguments], inputs)
    assert outcome[0] == 0, outcome
    assert json.loads(outcome[1])["warnings"] == []


def make_sound_market(folder: Path) -> SoundMarket:
    """Write dataset and bundle, and publish September."""
    market = SoundMarket(folder)
    write_rows(_sound_table(folder), market.dataset)
    sound_draft().folder(market.bundle)
    run(market, market.after_september, str(SEPTEMBER), "--cold-start")
    return market


def _sound_table(folder: Path) -> pa.Table:
    table = make_market(folder / "whole").table.slice((SESSIONS - KEPT_SESSIONS) * STOCKS)
    close = table["Close"].to_numpy().copy()
    split = np.array(table["Code"].to_pylist()) == SPLIT_CODE
    days = table["Date"].to_numpy().astype("datetime64[D]")
    before = split & (days < np.datetime64(SPLIT_DAY))
    volume = table["Volume"].to_numpy().copy()
    close[before] *= 2
    volume[before] /= 2
    factor = np.where(split & (days == np.datetime64(SPLIT_DAY)), 0.5, 1.0)
    for name, values in {"Close": close, "Volume": volume}.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return table.append_column("Open", pa.array(close * 1.002)).append_column(
        "AdjustmentFactor", pa.array(factor)
    )
