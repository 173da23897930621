"""Prices older than the window that a rebalance looks back: those of stocks that were suspended for all of it.

The ratio of adjusted to raw close tells what became of a share only by its change, and both ends of the change have
to come from one dataset: a split changes the adjusted closes of all days before it. So the last ratio before a long
suspension is read from the dataset of the month in which the stock comes back, not kept in the book.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pandas as pd

from apex_tasks.dataset.code_histories import NEW_HISTORY_AFTER_SESSIONS, history_numbers
from apex_tasks.dataset.keys import RowKeys
from apex_tasks.dataset.prices.daily_prices import ADJUSTMENT, read_prices
from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import (
    ADJUSTMENT_CLOSE,
    CLOSE,
    CODE,
    DATE,
    DatasetFile,
    day_from_epoch,
    days_since_epoch,
)

EARLIER_COLUMNS = [DATE, CODE, CLOSE, ADJUSTMENT]
SUSPENDED_DAYS = 14
"""Calendar days without a known ratio at the start of the prices that make a long suspension. The book that is
brought forward was valued later than these days, so of every other stock it has prices to start from."""
_SPAN_DAYS = 70
"""Calendar days that are read at once on the way back."""


def read_earlier_prices(
    dataset: DatasetFile, keys: RowKeys, prices: pd.DataFrame, first: dt.date
) -> pd.DataFrame:
    """Read the last rows before the prices of the stocks that come back in them after a long suspension.

    Parameters
    ----------
    keys
        All rows up to the last day of the prices; a row of an earlier history of a code is another company's.
    prices
        Rows of `dataset.prices.daily_prices.read_prices` from `first` on.
    first
        First calendar day of the prices.

    Returns
    -------
    DataFrame
        `Date`, `Code`, `Close`, `adjustment` of each such stock's last row with a known adjustment, by Code. Without
        `AdjustmentClose` nothing is read, and where no stock comes back neither.
    """
    if not dataset.has(ADJUSTMENT_CLOSE):
        return _none(prices)
    known = prices.dropna(subset=[ADJUSTMENT]).drop_duplicates(CODE, keep="first")
    late = known[known[DATE] > first + dt.timedelta(days=SUSPENDED_DAYS)]
    wanted = _history_starts(keys, set(late[CODE]), first)
    found: list[pd.DataFrame] = []
    until = first - dt.timedelta(days=1)
    while wanted:
        oldest = min(wanted.values())
        start = max(oldest, until - dt.timedelta(days=_SPAN_DAYS))
        rows = read_prices(dataset, start, until).dropna(subset=[ADJUSTMENT])
        rows = rows[rows[CODE].isin(wanted)]
        rows = rows[rows[DATE] >= rows[CODE].map(wanted)]
        last = rows.drop_duplicates(CODE, keep="last")
        found.append(last[EARLIER_COLUMNS])
        until = start - dt.timedelta(days=1)
        done = set(last[CODE])
        wanted = {code: day for code, day in wanted.items() if code not in done and day <= until}
    rows = pd.concat(found) if found else _none(prices)
    return rows.sort_values(CODE, kind="stable", ignore_index=True)


def earlier_prices_of(
    history: PriceHistory, codes: Collection[str], first: dt.date, until: dt.date
) -> pd.DataFrame:
    """The same of prices in memory, for some codes and a window from `first` to `until`."""
    if not codes:
        return _none(history.frame)
    known = history.between(dt.date.min, until)
    own = known.of(codes).frame.sort_values([CODE, DATE], kind="stable")
    numbers, _ = pd.factorize(own[CODE])
    sessions = np.unique(known.frame[DATE].to_numpy().astype("datetime64[D]"))
    days = own[DATE].to_numpy().astype("datetime64[D]")
    own = own.assign(history=history_numbers(numbers, days, NEW_HISTORY_AFTER_SESSIONS, sessions))
    inside = days >= np.datetime64(first, "D")
    continued = set(own[inside].drop_duplicates(CODE, keep="first")["history"])
    earlier = own[~inside & own["history"].isin(continued)].dropna(subset=[ADJUSTMENT])
    return earlier.drop_duplicates(CODE, keep="last")[EARLIER_COLUMNS].reset_index(drop=True)


def new_histories_of(
    history: PriceHistory, codes: Collection[str], since: dt.date, until: dt.date
) -> dict[str, dt.date]:
    """First day of the newest history of some codes, where another one of `since..until` is before it."""
    known = history.between(since, until)
    own = known.of(codes).frame.sort_values([CODE, DATE], kind="stable")
    numbers, _ = pd.factorize(own[CODE])
    sessions = np.unique(known.frame[DATE].to_numpy().astype("datetime64[D]"))
    days = own[DATE].to_numpy().astype("datetime64[D]")
    own = own.assign(history=history_numbers(numbers, days, NEW_HISTORY_AFTER_SESSIONS, sessions))
    starts = own.drop_duplicates("history", keep="first")
    later = starts[starts.duplicated(CODE, keep="first")].drop_duplicates(CODE, keep="last")
    return dict(zip(later[CODE], later[DATE], strict=True))


def _history_starts(keys: RowKeys, codes: set[str], first: dt.date) -> dict[str, dt.date]:
    """First day of the history that each code's first row from `first` on belongs to, where that is earlier."""
    since = np.flatnonzero(keys.days >= days_since_epoch(first))
    _, place = np.unique(keys.code_index[since], return_index=True)
    begins: npt.NDArray[np.int64] = since[place]
    starts = begins - keys.age[begins]
    return {
        str(keys.codes[keys.code_index[row]]): day_from_epoch(keys.days[start])
        for row, start in zip(begins, starts, strict=True)
        if start < row and str(keys.codes[keys.code_index[row]]) in codes
    }


def _none(prices: pd.DataFrame) -> pd.DataFrame:
    return prices.iloc[:0][EARLIER_COLUMNS]
