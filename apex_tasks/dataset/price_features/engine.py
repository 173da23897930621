"""Prices in, dataset table out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from apex_tasks.dataset.price_features.definitions import PRICE_FEATURES
from apex_tasks.dataset.price_features.market import market_features
from apex_tasks.dataset.price_features.own_price import own_price_features
from apex_tasks.dataset.price_features.rolling import Grid
from apex_tasks.dataset.price_features.rows import PriceRows, read_prices
from apex_tasks.dataset.price_features.sector import sector_features


def compute_price_features(prices: pa.Table) -> pa.Table:
    """Add the features of `PRICE_FEATURES` to a price table.

    Parameters
    ----------
    prices
        One row per (Date, Code) in any order, with Date (date or timestamp without zone), Code (string),
        Close (JPY), Volume (shares), TurnoverValue (JPY), sector33_code, and optionally AdjustmentClose
        (JPY), which then is the price of every feature.

    Returns
    -------
    pyarrow.Table
        The same rows sorted by Date, Code: the input columns, Date as date32, then the features as float32
        with null where a window is not full or a quotient is undefined. A feature replaces an input column
        of its name.

    Raises
    ------
    Refusal
        A column is missing or of the wrong type, a key is null or occurs twice, or there are no rows.
    """
    rows = read_prices(prices)
    return with_features(rows, dict(feature_columns(rows)))


def feature_columns(rows: PriceRows) -> Iterator[tuple[str, pa.Array]]:
    """Yield each feature's name and float32 column in the order of `rows.table`, theme by theme."""
    own = own_price_features(rows)
    yield from _columns(rows, own)
    yield from _columns(rows, market_features(rows, own))
    yield from _columns(rows, sector_features(rows, own))


def with_features(rows: PriceRows, columns: dict[str, pa.Array]) -> pa.Table:
    """Table of the input columns followed by the features in the order of `PRICE_FEATURES`."""
    replaced = [name for name in rows.table.column_names if name in columns]
    table = rows.table.drop_columns(replaced)
    for feature in PRICE_FEATURES:
        table = table.append_column(pa.field(feature.name, pa.float32()), columns[feature.name])
    return table


def _columns(rows: PriceRows, grids: dict[str, Grid]) -> Iterator[tuple[str, pa.Array]]:
    for name, grid in grids.items():
        with np.errstate(over="ignore"):
            values = rows.column(grid).astype(np.float32)
        yield name, pa.array(values, mask=~np.isfinite(values))
