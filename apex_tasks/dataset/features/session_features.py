"""Feature values of all stocks on single sessions, raw as the dataset has them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.features.feature_plan import FeaturePlan
from apex_tasks.dataset.features.feature_reader import read_features
from apex_tasks.dataset.schema import DATE, DatasetFile, days_since_epoch
from apex_tasks.dataset.session_days import tables_of_days


def read_session_features(
    dataset: DatasetFile, plan: FeaturePlan, sessions: Sequence[dt.date]
) -> dict[dt.date, npt.NDArray[np.float64]]:
    """Read the planned features of some sessions; only row groups that can hold them are decoded.

    Parameters
    ----------
    plan
        Where the features come from; the dataset has all its columns.

    Returns
    -------
    dict
        Session -> ``(n_stocks, n_features)`` in file order, missing values NaN; sessions without a row are left
        out.
    """
    parts: dict[dt.date, list[npt.NDArray[np.float64]]] = {day: [] for day in sorted(set(sessions))}
    for table, rows, days in tables_of_days(dataset, parts, [DATE, *plan.columns]):
        features, _ = read_features(table, plan, rows)
        for day in parts:
            there = days == days_since_epoch(day)
            if there.any():
                parts[day].append(features[:, there].T.astype(np.float64))
    return {day: np.concatenate(found) for day, found in parts.items() if found}
