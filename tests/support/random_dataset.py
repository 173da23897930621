"""Small random datasets with the habits of real ones, and the many ways a parquet file can hold them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from apex_tasks.dataset.features.feature_aliases import parse_aliases
from apex_tasks.dataset.features.feature_plan import FeatureList, FeaturePlan, resolve_features
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.settings import FeaturesMode

FIRST = dt.date(2025, 1, 6)


def weekdays(n: int, first: dt.date = FIRST) -> list[dt.date]:
    return [day.date() for day in pd.bdate_range(first, periods=n)]


def random_frame(
    seed: int, features: Sequence[str], n_stocks: int = 12, n_sessions: int = 30, gaps: float = 0.1
) -> pd.DataFrame:
    """Stocks that list late, delist and pause; features float64, sorted by Date, Code."""
    random = np.random.default_rng(seed)
    days, codes = weekdays(n_sessions), [f"{1301 + 7 * n}0" for n in range(n_stocks)]
    session, stock = (grid.ravel() for grid in np.indices((n_sessions, n_stocks)))
    listed = np.where(random.random(n_stocks) < 0.3, random.integers(0, n_sessions, n_stocks), 0)
    delisted = np.where(
        random.random(n_stocks) < 0.2, random.integers(1, n_sessions + 1, n_stocks), n_sessions
    )
    keep = (session >= listed[stock]) & (session < delisted[stock]) & (random.random(len(stock)) >= gaps)
    session, stock = session[keep], stock[keep]
    close = random.uniform(100, 5_000, len(stock)).round(1)
    volume = random.integers(1, 1_000, len(stock)) * 100.0
    return pd.DataFrame(
        {
            "Date": [days[i] for i in session],
            "Code": [codes[i] for i in stock],
            "Close": close,
            "Volume": volume,
            "TurnoverValue": close * volume,
            **{name: random.standard_normal(len(stock)) for name in features},
        }
    )


def write(frame: pd.DataFrame | pa.Table, path: Path, **how: object) -> Path:
    """Write a frame (Date as date32) or a table as it is; `how` goes to parquet's writer."""
    table = frame if isinstance(frame, pa.Table) else as_table(frame)
    pq.write_table(table, path, **({"row_group_size": 97} | how))
    return path


def as_table(frame: pd.DataFrame, **types: pa.DataType) -> pa.Table:
    """NaN stays NaN and None becomes null, but in a key both are null. `types` by column name."""
    kinds = {"Date": pa.date32(), "Code": pa.string()} | types
    return pa.table(
        {
            name: pa.array(frame[name].tolist(), kinds.get(name), from_pandas=name in ("Date", "Code"))
            for name in frame.columns
        }
    )


def plan_of(path: Path, names: Sequence[str], **aliases: str) -> FeaturePlan:
    return resolve_features(
        FeatureList(tuple(names)),
        parse_aliases({"aliases": aliases}, "test"),
        open_dataset(path).schema.names,
        FeaturesMode.FILL_ZERO,
    )
