"""Risk factors of the stocks on single days: sector and volatility, raw as the dataset has them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from apex_tasks.dataset.features.feature_plan import FeaturePlan
from apex_tasks.dataset.features.feature_reader import read_features
from apex_tasks.dataset.schema import CODE, DATE, SECTOR, DatasetFile
from apex_tasks.dataset.session_days import tables_of_days

VOLATILITY = "volatility_60d"


def read_risk_factors(dataset: DatasetFile, plan: FeaturePlan, days: Sequence[dt.date]) -> pd.DataFrame:
    """Read the factors of all rows of some days; only row groups that can hold them are decoded.

    Parameters
    ----------
    plan
        Where the model's features come from; the volatility is read as the model reads it.

    Returns
    -------
    DataFrame
        Sorted by Date, Code: `Date` (datetime.date), `Code`, `sector33_code` (None where unknown),
        `volatility_60d` (float64; NaN where missing, not finite, or not among the model's features).
    """
    sources = tuple(source for source in plan.sources if source.feature == VOLATILITY)
    volatility = FeaturePlan(sources=sources)
    sector = [SECTOR] if dataset.has(SECTOR) else []
    columns = [DATE, CODE, *sector, *volatility.columns]
    frames = [_frame(table, volatility, rows) for table, rows, _ in tables_of_days(dataset, days, columns)]
    if not frames:
        return _frame(dataset.schema.empty_table().select(columns), volatility, np.empty(0, dtype=np.int64))
    return pd.concat(frames).sort_values([DATE, CODE], kind="stable", ignore_index=True)


class RiskFactors:
    """Risk factors by day, each day read once.

    Parameters
    ----------
    dataset, plan
        See `read_risk_factors`.
    """

    def __init__(self, dataset: DatasetFile, plan: FeaturePlan) -> None:
        self._dataset = dataset
        self._plan = plan
        self._known: dict[dt.date, pd.DataFrame] = {}

    def prepare(self, days: Sequence[dt.date]) -> None:
        """Read several days in one pass over the file."""
        if missing := [day for day in days if day not in self._known]:
            found = read_risk_factors(self._dataset, self._plan, missing)
            by_day = dict(list(found.groupby(DATE)))
            self._known |= {day: by_day.get(day, found.iloc[:0]) for day in missing}

    def on(self, day: dt.date) -> pd.DataFrame:
        """Factors of one day's rows, by Code."""
        self.prepare([day])
        return self._known[day]


def _frame(table: pa.Table, volatility: FeaturePlan, rows: np.ndarray) -> pd.DataFrame:
    values = np.full(len(rows), np.nan)
    if volatility.sources:
        features, _ = read_features(table, volatility, rows)
        values = features[0].astype(np.float64)
    taken = table.take(pa.array(rows))
    return pd.DataFrame(
        {
            DATE: taken[DATE].cast(pa.date32()).to_pandas(date_as_object=True),
            CODE: taken[CODE].cast(pa.string()).to_pandas(),
            SECTOR: taken[SECTOR].cast(pa.string()).to_pandas() if SECTOR in table.column_names else None,
            VOLATILITY: np.where(np.isfinite(values), values, np.nan),
        }
    )
