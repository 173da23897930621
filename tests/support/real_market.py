"""A made-up panel in the form of the real one's two csv files."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

TRAIN_END = dt.date(2011, 12, 30)


def made_up_panel(
    stocks: int = 30, first: str = "2010-10-01", last: str = "2012-04-30", seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (with cash) and volumes in USD; the first session has volumes only."""
    sessions = pd.bdate_range(first, last, name="Date")
    rng = np.random.default_rng(seed)
    codes = [f"T{number:02d}" for number in rng.permutation(stocks)]
    returns = pd.DataFrame(
        0.01 * rng.standard_normal((len(sessions) - 1, stocks)), index=sessions[1:], columns=codes
    ).round(6)
    volumes = pd.DataFrame(
        np.floor(rng.lognormal(18, 1, (len(sessions), stocks))), index=sessions, columns=codes[::-1]
    )
    return returns.assign(USDOLLAR=0.0001), volumes


def scrambled(table: pd.DataFrame, after: dt.date, seed: int = 99) -> pd.DataFrame:
    """The same table, with other values in every row after a day."""
    late = table.index > pd.Timestamp(after)
    changed = table.copy()
    changed.loc[late] = np.random.default_rng(seed).uniform(0.1, 0.9, (int(late.sum()), table.shape[1]))
    return changed


def as_csv(table: pd.DataFrame) -> bytes:
    """Csv with the date in the first column."""
    return table.to_csv().encode()
