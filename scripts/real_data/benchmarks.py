"""Scores to compare the model with; a portfolio engine takes them in place of the model's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd

from apex_tasks.dataset.prices.daily_prices import read_prices
from apex_tasks.dataset.schema import CLOSE, CODE, DATE, DatasetFile

SCORE = "Score"
LONG_ROWS, SKIPPED_ROWS = 252, 21
"""A year and a month, in a stock's own rows."""


def momentum_scores(dataset: DatasetFile, as_of_dates: Sequence[dt.date]) -> dict[dt.date, pd.DataFrame]:
    """12-1 momentum: the return of a stock's own rows t-252 to t-21, t being its row of the as-of date.

    The last month is left out because returns over a month tend to reverse (Jegadeesh 1990); the rest of the
    year is the momentum of Jegadeesh and Titman (1993).

    Returns
    -------
    dict of DataFrame
        Per date: `Code` (ascending), `Score` float32. Stocks without a row on the date, or without 252 rows
        before it, have none.
    """
    prices = read_prices(dataset, dt.date.min, max(as_of_dates))
    by_code = prices.groupby(CODE, sort=True)[CLOSE]
    prices[SCORE] = (by_code.shift(SKIPPED_ROWS) / by_code.shift(LONG_ROWS) - 1.0).astype(np.float32)
    return {day: _scores_on(prices, day) for day in as_of_dates}


def equal_scores(dataset: DatasetFile, as_of_dates: Sequence[dt.date]) -> dict[dt.date, pd.DataFrame]:
    """No opinion: every stock with a close has the score 0.

    An engine that holds all names (top_k no less than their number) makes equal weights of it; with fewer
    names it would take the first by Code, which means nothing.
    """
    prices = read_prices(dataset, min(as_of_dates), max(as_of_dates))
    prices[SCORE] = np.where(np.isfinite(prices[CLOSE]), np.float32(0), np.float32(np.nan))
    return {day: _scores_on(prices, day) for day in as_of_dates}


def _scores_on(prices: pd.DataFrame, day: dt.date) -> pd.DataFrame:
    today = prices.loc[(prices[DATE] == day) & np.isfinite(prices[SCORE]), [CODE, SCORE]]
    return today.reset_index(drop=True)
