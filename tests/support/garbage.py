"""Deliveries whose rows after a day are garbage."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.small_market import (
    FEATURE_COLUMNS,
    SmallMarket,
)


def garbage_after(market: SmallMarket, last: dt.date, unpriced: dt.date, out: Path) -> Path:
    """Everything after `last` is another row's value times 50, and on the session `unpriced` most closes are gone.

    Adjusted closes keep their ratio to the close: other ones would be refused as splits that cannot be.
    """
    random = np.random.default_rng(1)
    later = market.dates > last
    gone = (market.dates == unpriced) & (np.arange(len(later)) % 3 != 0)
    garbage = {}
    for name in (*FEATURE_COLUMNS, "Close", "Volume", "TurnoverValue"):
        values = market.values(name)
        values[later] = random.permutation(values[later]) * 50
        garbage[name] = values
    garbage["Close"][gone] = np.nan
    adjusted = market.values("AdjustmentClose")
    adjusted[later] *= (garbage["Close"] / market.values("Close"))[later]
    garbage["AdjustmentClose"] = adjusted
    columns = {
        name: pa.array(values, market.table.schema.field(name).type, from_pandas=True)
        for name, values in garbage.items()
    }
    out = market.changed(out, **columns)
    known = pa.array(~later)
    assert pq.read_table(out).filter(known).equals(market.table.filter(known))
    return out
