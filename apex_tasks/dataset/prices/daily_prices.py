"""Closes and execution volumes of single days, with the checks that keep their units honest."""

from __future__ import annotations

import datetime as dt

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from apex_tasks.dataset.schema import (
    ADJUSTMENT_CLOSE,
    CLOSE,
    CODE,
    DATE,
    SECTOR,
    TURNOVER_VALUE,
    VOLUME,
    DatasetFile,
    dates_as_days,
    days_since_epoch,
)
from apex_tasks.refusal import Refusal

ADV, ADJUSTMENT = "adv_jpy", "adjustment"
MIN_STOCKS_TO_CHECK_UNITS = 20
SUSPECT_RATIO = 10.0


def read_prices(dataset: DatasetFile, first: dt.date, last: dt.date) -> pd.DataFrame:
    """Read the market columns of the days `first..last`.

    Returns
    -------
    DataFrame
        Sorted by Date, Code: `Date` (datetime.date), `Code`, `Close` (JPY; NaN where there is no positive
        price), `adv_jpy` (execution volume of the day in JPY: TurnoverValue if > 0, else Volume * Close, else
        NaN), `adjustment` (AdjustmentClose / Close, NaN where unknown), `sector33_code` (None where unknown).
    """
    optional = [name for name in (ADJUSTMENT_CLOSE, SECTOR) if dataset.has(name)]
    columns = [DATE, CODE, CLOSE, VOLUME, TURNOVER_VALUE, *optional]
    with dataset.open() as file:
        tables = [file.read_row_groups([], columns=columns)]  # the types, when no day is there
        for group in dataset.row_groups:
            if group.may_hold(first, last):
                table = file.read_row_group(group.index, columns=columns)
                days = dates_as_days(table[DATE])
                tables.append(
                    table.filter((days >= days_since_epoch(first)) & (days <= days_since_epoch(last)))
                )
    frame = _market_frame(pa.concat_tables(tables))
    return frame.sort_values([DATE, CODE], kind="stable", ignore_index=True)


def check_units(prices: pd.DataFrame, day: dt.date, where: object) -> list[str]:
    """Check that one day's execution volumes are JPY; return warnings.

    Raises
    ------
    Refusal
        TurnoverValue or Volume lie in 0..1 throughout: percentile ranks, not amounts.
    """
    today = prices[prices[DATE] == day]
    for column, unit in ((TURNOVER_VALUE, "JPY"), (VOLUME, "shares")):
        values = today[column].to_numpy()
        values = values[np.isfinite(values)]
        if len(values) >= MIN_STOCKS_TO_CHECK_UNITS and values.max() <= 1.0 and values.max() > 0.0:
            raise Refusal(
                f"{column} holds ranks, not amounts",
                expected=f"{unit} per day, such as 350000000",
                received=f"{len(values)} values from {values.min():.6g} to {values.max():.6g}",
                where=f"{where}, {day}, column {column}",
                remedy="Deliver the raw column; costs and trade sizes cannot be computed from ranks.",
            )
    product = (today[VOLUME] * today[CLOSE]).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = today[TURNOVER_VALUE].to_numpy() / product
    ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
    if len(ratio) < MIN_STOCKS_TO_CHECK_UNITS:
        return []
    middle = float(np.median(ratio))
    if 1 / SUSPECT_RATIO <= middle <= SUSPECT_RATIO:
        return []
    return [
        f"TurnoverValue is {middle:.3g} times Volume x Close (median of {len(ratio)} stocks on {day}); "
        "expected about 1: check that TurnoverValue is in JPY and Volume in shares"
    ]


def _market_frame(table: pa.Table) -> pd.DataFrame:
    close = _positive(_float(table, CLOSE))
    volume, turnover = _float(table, VOLUME), _float(table, TURNOVER_VALUE)
    adjustment = np.full(len(close), np.nan)
    if ADJUSTMENT_CLOSE in table.column_names:
        adjustment = _positive(_float(table, ADJUSTMENT_CLOSE)) / close
    sector = table[SECTOR].cast(pa.string()).to_pandas() if SECTOR in table.column_names else None
    return pd.DataFrame(
        {
            DATE: table[DATE].cast(pa.date32()).to_pandas(date_as_object=True),
            CODE: table[CODE].cast(pa.string()).to_pandas(),
            CLOSE: close,
            VOLUME: volume,
            TURNOVER_VALUE: turnover,
            ADV: np.where(np.isfinite(_positive(turnover)), turnover, _positive(volume * close)),
            ADJUSTMENT: adjustment,
            SECTOR: sector,
        }
    )


def _float(table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    return table[column].cast(pa.float64(), safe=False).to_numpy()


def _positive(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The amounts that are positive and finite, NaN elsewhere."""
    return np.where((values > 0) & (values < np.inf), values, np.nan)
