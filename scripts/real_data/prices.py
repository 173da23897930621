"""Daily returns and dollar volumes as the price table that `apex features` takes."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from apex_tasks.refusal import Refusal

FIRST_CLOSE_JPY = 1_000.0
"""Close of every stock on the first session. The source has no prices, so lots and ticks mean nothing."""
JPY_PER_USD = 100.0
"""One rate for all ten years, so that no currency moves a return; it only sets the size of the amounts."""
CASH = "USDOLLAR"


@dataclass(frozen=True)
class RealPanel:
    """The source's two tables, checked.

    Attributes
    ----------
    returns : (n_sessions - 1, n_stocks)
        Total return from the close of the session before to the close of its own, fraction.
    volumes_usd : (n_sessions, n_stocks)
        Value traded in its session, USD; 0 where the source has no volume.
    """

    returns: pd.DataFrame
    volumes_usd: pd.DataFrame

    @property
    def sessions(self) -> pd.DatetimeIndex:
        """All sessions, ascending, the first one without returns."""
        return pd.DatetimeIndex(self.volumes_usd.index)


def parse_panel(returns_csv: bytes, volumes_csv: bytes) -> RealPanel:
    """Read the two csv files; the returns of cash are dropped.

    Raises
    ------
    Refusal
        A value is missing, stocks or sessions of the two differ, a return is -100 % or less, a volume is negative.
    """
    returns = pd.read_csv(io.BytesIO(returns_csv), index_col=0, parse_dates=True).drop(columns=CASH)
    volumes = pd.read_csv(io.BytesIO(volumes_csv), index_col=0, parse_dates=True)
    if set(returns.columns) != set(volumes.columns):
        raise _refusal("stocks differ", "the same in returns and volumes", "others")
    if not returns.index.equals(volumes.index[1:]) or not volumes.index.is_monotonic_increasing:
        raise _refusal("sessions differ", "a return for every session but the first", "others")
    stocks = sorted(returns.columns)
    returns, volumes = returns[stocks].astype(np.float64), volumes[stocks].astype(np.float64)
    if not (returns > -1.0).all(axis=None) or not np.isfinite(returns).all(axis=None):
        raise _refusal("a return is impossible", "above -1, none missing", returns.min(axis=None))
    if not (volumes >= 0.0).all(axis=None) or not np.isfinite(volumes).all(axis=None):
        raise _refusal("a volume is impossible", "0 or more, none missing", volumes.min(axis=None))
    return RealPanel(returns, volumes)


def price_table(panel: RealPanel, last: dt.date | None = None) -> pa.Table:
    """Close, Volume and TurnoverValue by Date, Code; nothing of a session after `last` is used.

    `Close` starts at `FIRST_CLOSE_JPY` and compounds the returns, so it is a total-return index.
    `TurnoverValue` is the dollar volume at `JPY_PER_USD`, `Volume` that divided by `Close`. `sector33_code`
    is null, as the source has no sectors. A Code is the source's ticker.
    """
    sessions = panel.sessions if last is None else panel.sessions[panel.sessions <= pd.Timestamp(last)]
    growth = 1.0 + panel.returns.loc[panel.returns.index <= sessions[-1]].to_numpy()
    close = FIRST_CLOSE_JPY * np.cumprod(np.vstack([np.ones((1, growth.shape[1])), growth]), axis=0)
    turnover = JPY_PER_USD * panel.volumes_usd.loc[sessions].to_numpy()
    codes = [str(code) for code in panel.returns.columns]
    return pa.table(
        {
            "Date": pa.array(np.repeat(sessions.to_numpy("datetime64[D]"), len(codes)), pa.date32()),
            "Code": pa.array(codes * len(sessions), pa.string()),
            "Close": close.ravel(),
            "Volume": (turnover / close).ravel(),
            "TurnoverValue": turnover.ravel(),
            "sector33_code": pa.nulls(close.size, pa.string()),
        }
    )


def _refusal(what: str, expected: str, received: object) -> Refusal:
    return Refusal(
        f"the real panel is not as described: {what}",
        expected=expected,
        received=received,
        where="returns.csv.gz, volumes.csv.gz",
        remedy="The pinned archive has none of this: fetch it again.",
    )
