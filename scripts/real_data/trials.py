"""How the training settings were chosen: a few trials, judged within 2007 to 2011."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pandas as pd

from apex_tasks.dataset.schema import DatasetFile
from apex_tasks.model.training import TrainingSettings
from real_data.training import TRAIN_END, validation_rank_ic

TRIALS = tuple(
    TrainingSettings(samples=samples, learning_rate=rate, dropout=dropout)
    for samples, rate, dropout in (
        (3_072, 1e-3, 0.0),
        (6_144, 1e-3, 0.0),
        (12_288, 1e-3, 0.0),
        (12_288, 3e-4, 0.0),
        (12_288, 3e-4, 0.2),
    )
)
FOLDS = ((dt.date(2010, 1, 1), dt.date(2010, 12, 31)), (dt.date(2011, 1, 1), TRAIN_END))
"""First and last day of each validation year; training ends with the session before."""


def run_trials(training: DatasetFile, report: Callable[[str], None]) -> pd.DataFrame:
    """Fit and judge every trial on every fold; about a quarter of an hour on two cores.

    Returns
    -------
    DataFrame
        Per trial: samples, learning rate, dropout, the mean rank IC of h20 of each fold, and their mean.
    """
    rows = []
    for trial in TRIALS:
        means = [float(np.mean(validation_rank_ic(training, trial, first, last))) for first, last in FOLDS]
        row = {
            "samples": trial.samples,
            "learning_rate": trial.learning_rate,
            "dropout": trial.dropout,
            **{str(first.year): mean for (first, _), mean in zip(FOLDS, means, strict=True)},
            "mean": float(np.mean(means)),
        }
        report(", ".join(f"{name} {value:g}" for name, value in row.items()))
        rows.append(row)
    return pd.DataFrame(rows)
