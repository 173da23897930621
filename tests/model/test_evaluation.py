"""The rank IC of a model keeps the stocks that leave before a horizon ends."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from apex_tasks.dataset.features.feature_plan import FeaturePlan, FeatureSource, SourceKind
from apex_tasks.dataset.panel import build_panel
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.model.evaluation import rank_ic_by_date
from apex_tasks.model.patchtst import ModelShape, PatchTSTRanker
from apex_tasks.model.scoring import score_windows
from apex_tasks.settings import Normalization
from tests.support.random_dataset import weekdays, write

SHAPE = ModelShape(
    n_features=2, patch_multiplier=1, d_model=8, depth=1, patch_len=4, stride=2, n_heads=2,
    horizons=(1, 3), lookback=8,
)  # fmt: skip
FEATURES = ("signal", "noise")
PLAN = FeaturePlan(sources=tuple(FeatureSource(feature=f, kind=SourceKind.COLUMN, left=f) for f in FEATURES))
DAYS, STOCKS = weekdays(20), 30
DATES = (DAYS[9], DAYS[12], DAYS[15])
LEAVING = {f"{2000 + number}0": DAYS[9 + number % 5] for number in range(0, STOCKS, 3)}
"""Code -> last day with a row; what leaves falls by half on that day."""


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(3)
    rows = [
        {
            "Date": day,
            "Code": code,
            "Close": (500.0 if LEAVING.get(code) == day else 1_000.0) * random.lognormal(0, 0.05),
            "Volume": 100.0,
            "TurnoverValue": 1e8,
            **dict(zip(FEATURES, random.standard_normal(2), strict=True)),
        }
        for day in DAYS
        for code in (f"{2000 + number}0" for number in range(STOCKS))
        if day <= LEAVING.get(code, DAYS[-1])
    ]
    return pd.DataFrame(rows)


def test_what_leaves_counts_with_its_last_price(frame: pd.DataFrame, tmp_path: Path) -> None:
    dataset = open_dataset(write(frame, tmp_path / "dataset.parquet"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PatchTSTRanker(SHAPE).eval()
    found = rank_ic_by_date(model, dataset, PLAN, SHAPE, DATES, horizon=3, clip_sigma=5.0)

    panel = build_panel(dataset, PLAN, DATES, lookback=8, normalization=Normalization.CSZ, clip_sigma=5.0)
    closes = frame.pivot(index="Date", columns="Code", values="Close")
    for place, day in enumerate(DATES):
        windows = panel.windows[day]
        scores = score_windows(model, panel.rows, windows.start, 8)[:, 1]
        end: dt.date = DAYS[DAYS.index(day) + 3]
        last = closes.loc[day:end].ffill().iloc[-1]
        realized = [last[code] / closes.loc[day, code] - 1 for code in windows.codes]
        by_hand = pd.DataFrame({"score": scores, "return": realized}).rank().corr().loc["score", "return"]
        assert found.coefficients[place] == pytest.approx(by_hand, abs=1e-12)
        assert found.at_last_price[place] == closes.loc[end, windows.codes].isna().sum()
    assert found.at_last_price.tolist() == [6, 4, 0]


def test_dates_whose_horizon_is_not_over_have_no_coefficient(frame: pd.DataFrame, tmp_path: Path) -> None:
    dataset = open_dataset(write(frame, tmp_path / "dataset.parquet"))
    model = PatchTSTRanker(SHAPE).eval()
    found = rank_ic_by_date(model, dataset, PLAN, SHAPE, DATES, horizon=3, clip_sigma=5.0, last=DAYS[14])
    assert np.isfinite(found.coefficients).tolist() == [True, False, False]
    assert found.at_last_price.tolist() == [6, 0, 0]
