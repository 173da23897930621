"""Prices of many days, looked up by day: what was known when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from apex_tasks.dataset.schema import CLOSE, CODE, DATE

PRICE_HISTORY_DAYS = 70
"""Calendar days of prices that a rebalance looks back: enough to settle orders of two months ago."""


class PriceHistory:
    """Market rows of a range of days; nothing outside the range is known.

    Parameters
    ----------
    frame
        Rows as `dataset.prices.daily_prices.read_prices` gives them, sorted by Date, then Code.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self._days: npt.NDArray[np.datetime64] = frame[DATE].to_numpy().astype("datetime64[D]")

    def between(self, first: dt.date, last: dt.date) -> PriceHistory:
        """The rows of the days `first..last`, both inclusive."""
        start = self._days.searchsorted(np.datetime64(first, "D"))
        stop = self._days.searchsorted(np.datetime64(last, "D"), side="right")
        return PriceHistory(self.frame.iloc[start:stop])

    def of(self, codes: Collection[str]) -> PriceHistory:
        """The rows of some stocks."""
        return PriceHistory(self.frame[self.frame[CODE].isin(list(codes))])

    def before(self, days: Mapping[str, dt.date]) -> PriceHistory:
        """Without the rows of some stocks from a day on, each from its own."""
        if not days:
            return self
        gone_since = self.frame[CODE].map(days).fillna(dt.date.max).to_numpy().astype("datetime64[D]")
        return PriceHistory(self.frame[self._days < gone_since])

    def sessions(self) -> list[dt.date]:
        """Days on which at least one stock has a close, ascending."""
        traded = self._days[self.frame[CLOSE].notna().to_numpy()]
        return [day.item() for day in np.unique(traded)]

    def on(self, day: dt.date, column: str) -> dict[str, float]:
        """Code -> value of a column on one day, where there is one."""
        today = self.between(day, day).frame.dropna(subset=[column])
        return dict(zip(today[CODE], today[column], strict=True))

    def latest(self, day: dt.date, column: str) -> dict[str, Any]:
        """Code -> last known value of a column on or before a day."""
        known = self.latest_rows(day, column)
        return dict(zip(known[CODE], known[column], strict=True))

    def latest_rows(self, day: dt.date, column: str) -> pd.DataFrame:
        """The last row of each stock on or before a day in which a column is known."""
        stop = self._days.searchsorted(np.datetime64(day, "D"), side="right")
        return self.frame.iloc[:stop].dropna(subset=[column]).drop_duplicates(CODE, keep="last")
