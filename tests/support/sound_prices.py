"""A small sound delivery of prices, to lay faults on: 60 stocks on 40 TSE sessions, two of them with a split."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from apex_tasks.dataset.judgement.faults import DatasetJudgement
from apex_tasks.dataset.judgement.judge import judge_dataset
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.settings import FreshnessSettings, JudgementSettings
from tests.support.random_dataset import write

CALENDAR = TseCalendar.load()
SESSIONS = CALENDAR.sessions(dt.date(2025, 9, 1), dt.date(2025, 10, 31))[-40:]
AS_OF, BEFORE, EARLIER = SESSIONS[-1], SESSIONS[-2], SESSIONS[20]
CODES = [f"{1301 + 7 * number}0" for number in range(58)] + ["130A0", "9984"]
SPLIT_DAY, SPLIT = SESSIONS[15], {"13010": 0.5, "13080": 5.0}
"""AdjustmentFactor of a split in two, and of a consolidation of five shares into one."""

Change = Callable[[pd.DataFrame], pd.DataFrame]


def sound_prices() -> pd.DataFrame:
    """Close moves by 1 % a day; AdjustmentClose knows the splits, AdjustmentFactor is on their day."""
    random = np.random.default_rng(7)
    shape = (len(SESSIONS), len(CODES))
    adjusted = random.uniform(200, 9_000, len(CODES)) * np.exp(
        np.cumsum(random.normal(0, 0.01, shape), axis=0)
    )
    later = np.ones(shape)
    for code, factor in SPLIT.items():
        later[: SESSIONS.index(SPLIT_DAY), CODES.index(code)] = 1 / factor
    close, volume = (adjusted * later).round(1), random.integers(10, 9_000, shape) * 100.0
    frame = pd.DataFrame(
        {
            "Date": np.repeat(SESSIONS, len(CODES)),
            "Code": CODES * len(SESSIONS),
            "Close": close.ravel(),
            "AdjustmentClose": adjusted.ravel().round(1),
            "AdjustmentFactor": 1.0,
            "Volume": volume.ravel(),
            "TurnoverValue": (volume * close * random.uniform(0.98, 1.02, shape)).ravel(),
        }
    )
    for code, factor in SPLIT.items():
        frame.loc[(frame["Code"] == code) & (frame["Date"] == SPLIT_DAY), "AdjustmentFactor"] = factor
    return frame


def judged(frame: pd.DataFrame, folder: Path, lookback: int = 40, **settings: object) -> DatasetJudgement:
    """The judgement of a frame as the as-of session's month makes it."""
    path = write(frame, folder / "prices.parquet", row_group_size=500)
    rules = JudgementSettings.model_validate(settings)
    return judge_dataset(open_dataset(path), AS_OF, lookback, FreshnessSettings(), rules, CALENDAR)


def verdicts(judgement: DatasetJudgement) -> dict[str, bool]:
    """Every fault that was found, and whether it stops a month."""
    return {str(fault.fault): fault.stops for fault in judgement.faults}
