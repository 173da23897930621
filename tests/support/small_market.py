"""A small random market with its bundle, and one call that runs a month on it.

The features mean nothing; they are all there, so that a run takes every step of production in a moment.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monthly.apply_costs import PlanReference
from apex_tasks.monthly.publish import PublishReference
from apex_tasks.monthly.request import RunRequest, resolve_request
from apex_tasks.monthly.run import MonthlyRun, run_month
from apex_tasks.published.portfolio import latest_version
from apex_tasks.settings import ApexSettings, load_settings
from apex_tasks.store import Artifact, Store
from tests.support import bundle_factory

CALENDAR = TseCalendar.load()
SHARPE_CLAIMED = 40.0
STOCKS, SESSIONS, ROWS_PER_GROUP = 120, 260, 5_000
LAST_SESSION = dt.date(2025, 10, 10)
REBALANCES = (dt.date(2025, 7, 1), dt.date(2025, 8, 1), dt.date(2025, 9, 1), dt.date(2025, 10, 1))
JULY, AUGUST, SEPTEMBER, OCTOBER = REBALANCES
AS_OF = {day: CALENDAR.as_of(day) for day in REBALANCES}
OPERANDS = ("dmi_z26_long", "dmi_z26_short", "dmi_long_to_adv20", "dmi_short_to_adv20")
FEATURE_COLUMNS = (
    *(name for name in bundle_factory.FEATURES if name not in ("dmi_z26_net", "dmi_net_to_adv20")),
    *OPERANDS,
)


@dataclass(frozen=True)
class SmallMarket:
    """Dataset and bundle on disk; `frame` is for changing a copy, `write` for the changed copy."""

    dataset: Path
    bundle: Path

    @cached_property
    def table(self) -> pa.Table:
        return pq.read_table(self.dataset)

    @cached_property
    def prices(self) -> pd.DataFrame:
        """Close, AdjustmentClose and volumes by (Date, Code), to compute with by hand."""
        columns = ["Date", "Code", "Close", "AdjustmentClose", "Volume", "TurnoverValue"]
        return pq.read_table(self.dataset, columns=columns).to_pandas().set_index(["Date", "Code"])

    @cached_property
    def dates(self) -> npt.NDArray[np.object_]:
        """Date of every row."""
        return self.table["Date"].to_pandas().to_numpy()

    @cached_property
    def codes(self) -> npt.NDArray[np.object_]:
        """Code of every row."""
        return self.table["Code"].to_pandas().to_numpy()

    def values(self, column: str) -> npt.NDArray[np.float64]:
        """A writable copy of one column."""
        return self.table[column].to_numpy().copy()

    def changed(self, out: Path, **columns: Any) -> Path:
        """Write a copy with other columns."""
        return write_table(replaced(self.table, **columns), out)


def replaced(table: pa.Table, **columns: Any) -> pa.Table:
    """The table with some columns replaced."""
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return table


def write_table(table: pa.Table, out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out, row_group_size=ROWS_PER_GROUP, compression="none")
    return out


def market_bundle() -> bundle_factory.Draft:
    """The bundle, tested after its training, with a claim beyond anything that a live book does."""
    draft = bundle_factory.Draft()
    draft.manifest["training_period"] = ["2014-01-06", "2023-12-29"]
    draft.manifest["performance_benchmarks"] = {
        "sharpe_ratio": SHARPE_CLAIMED,
        "backtest_period": "2024-01-04 to 2025-06-30",
    }
    return draft


def with_absences(market: SmallMarket, out: Path, missing: dict[str, int]) -> Path:
    """The market without some stocks' rows from its 41st session on, for a number of sessions."""
    sessions = np.unique(market.dates)
    gone = np.zeros(len(market.dates), dtype=bool)
    for code, number in missing.items():
        gone |= (market.codes == code) & np.isin(market.dates, sessions[40 : 40 + number])
    return write_table(market.table.filter(pa.array(~gone)), out)


def make_market(folder: Path) -> SmallMarket:
    """Write `dataset.parquet` and the bundle `bundle/`."""
    dataset = write_table(_random_table(), folder / "dataset.parquet")
    return SmallMarket(dataset, market_bundle().folder(folder / "bundle"))


def _random_table() -> pa.Table:
    random = np.random.default_rng(20251010)
    sessions = CALENDAR.sessions(dt.date(2024, 8, 1), LAST_SESSION)[-SESSIONS:]
    codes = [f"{1301 + 7 * number}0" for number in range(STOCKS)]
    rows = SESSIONS * STOCKS
    close = random.uniform(300, 5_000, STOCKS) * np.exp(
        np.cumsum(random.normal(0, 0.02, (SESSIONS, STOCKS)), axis=0)
    )
    close = close.round(1).ravel()
    volume = random.integers(100, 20_000, rows) * 100.0
    # Slow noise: stocks differ for months, so scores of neighboring months are alike but not equal.
    level = random.standard_normal((STOCKS, len(FEATURE_COLUMNS)), dtype=np.float32)
    features = np.tile(level, (SESSIONS, 1))
    features += random.standard_normal(features.shape, dtype=np.float32)
    return pa.table(
        {
            "Date": pa.array(np.repeat(np.array(sessions, dtype="datetime64[D]"), STOCKS), pa.date32()),
            "Code": pa.array(codes * SESSIONS),
            "sector33_code": pa.array([f"{3050 + 50 * (n % 5)}" for n in range(STOCKS)] * SESSIONS),
            "Close": close,
            "AdjustmentClose": close,
            "Volume": volume,
            "TurnoverValue": volume * close,
            **dict(zip(FEATURE_COLUMNS, np.ascontiguousarray(features.T), strict=True)),
        }
    )


def small_settings(home: object, **changes: Any) -> ApexSettings:
    """The packaged settings in another home."""
    return load_settings().model_copy(update={"home": str(home), **changes})


def month_request(
    market: SmallMarket, home: object, rebalance: dt.date, settings: ApexSettings | None = None, **given: Any
) -> RunRequest:
    """A month's request; `given` are run parameters, such as `cold_start`.

    The inputs, too, are settings, so that a month with a `dataset` of its own is not one with an override.
    """
    inputs = {name: given.pop(name, str(getattr(market, name))) for name in ("bundle", "dataset")}
    return resolve_request(
        {"as_of": CALENDAR.as_of(rebalance), **given},
        moment=CALENDAR.rebalance_instant(rebalance),
        now=CALENDAR.rebalance_instant(rebalance),
        settings=(settings or small_settings(home)).model_copy(update=inputs),
        calendar=CALENDAR,
    )


def month(
    market: SmallMarket, home: object, rebalance: dt.date, settings: ApexSettings | None = None, **given: Any
) -> MonthlyRun:
    """A month that is ready to run, and says nothing."""
    request = month_request(market, home, rebalance, settings, **given)
    return MonthlyRun(request, Store(str(home)), CALENDAR, run_id=f"test__{rebalance}", log=lambda _: None)


def run(
    market: SmallMarket, home: object, rebalance: dt.date, settings: ApexSettings | None = None, **given: Any
) -> tuple[PlanReference, PublishReference | None]:
    """Run a month."""
    return run_month(month(market, home, rebalance, settings, **given))


def run_chain(
    market: SmallMarket, home: object, rebalances: tuple[dt.date, ...] = REBALANCES, **given: Any
) -> None:
    """Run consecutive months, the first from cash."""
    for number, rebalance in enumerate(rebalances):
        run(market, home, rebalance, cold_start=number == 0, **given)


def home_after(chain: Path, home: Path, *rebalances: dt.date) -> Path:
    """A new home in which some months of another are published already."""
    for rebalance in rebalances:
        shutil.copytree(chain / "portfolio" / str(rebalance), home / "portfolio" / str(rebalance))
    return home


def portfolio(home: object, rebalance: dt.date) -> Artifact:
    """The newest published version of a month."""
    found = latest_version(Store(str(home)), rebalance)
    assert found is not None
    return found.artifact


def published_bytes(home: Path) -> Mapping[str, bytes]:
    """Every file under portfolio/ and audit/, scratch files of killed writers left out."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for part in ("portfolio", "audit")
        for path in sorted((home / part).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
