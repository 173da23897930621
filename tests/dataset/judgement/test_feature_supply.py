"""Features that are missing in all but name, or late, are found by name; `strict` and returns are refused."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from apex_tasks.dataset.features.feature_plan import FeaturePlan, FeatureSource, SourceKind
from apex_tasks.dataset.judgement.feature_supply import SupplyCounts, filled_share, judge_features
from apex_tasks.settings import FeaturesMode, JudgementSettings

NAMES = ("rsi_14", "returns_5d", "mkt_ret_1d", "margin_flag", "dmi_days_since_pub")
PLAN = FeaturePlan(
    sources=tuple(FeatureSource(feature=name, kind=SourceKind.COLUMN, left=name) for name in NAMES)
)
DAYS = [dt.date(2025, 10, 1) + dt.timedelta(days=number) for number in range(10)]


def sound() -> np.ndarray:
    values = np.random.default_rng(3).normal(size=(len(DAYS), len(NAMES), 50)).astype(np.float32)
    values[:, 2] = values[:, 2, :1]  # one value for all stocks, as a feature of the market has
    values[:, 4] = values[:, 4, :1]
    values[:, 3] = values[:, 3] > 1.5  # a flag that is rare
    values[3, 3] = 0.0  # and nobody has on one day
    values[:, 3, :5] = np.nan  # what is null everywhere is usual
    return values


def found(values: np.ndarray, mode: FeaturesMode = FeaturesMode.FILL_ZERO) -> dict[str, tuple[bool, str]]:
    counts = SupplyCounts(len(NAMES))
    for day, features in zip(DAYS, values, strict=True):
        counts.add(day, features)
    faults = judge_features(counts.supply(), PLAN, DAYS, mode, JudgementSettings())
    return {str(fault.fault): (fault.stops, fault.told) for fault in faults}


def test_sound_features_have_no_fault() -> None:
    assert found(sound()) == {}
    assert found(sound(), FeaturesMode.STRICT) == {}


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 7.5])
@pytest.mark.parametrize(("name", "stops"), [("rsi_14", False), ("returns_5d", True), ("margin_flag", False)])
def test_a_feature_without_a_value_or_with_one_for_all_is_missing(
    name: str, stops: bool, value: float
) -> None:
    values = sound()
    values[:, NAMES.index(name)] = value
    stopped, told = found(values)["features_empty"]
    assert (stopped, name in told) == (stops, True)
    assert found(values, FeaturesMode.STRICT)["features_empty"][0]


def test_a_feature_that_varies_on_one_day_is_not_constant() -> None:
    values = sound()
    values[:, 0] = 1.0
    values[4, 0, 7] = 2.0
    assert found(values) == {}


def test_a_late_feature_stops_and_an_earlier_gap_is_told() -> None:
    values = sound()
    values[-1, 0, :6] = np.nan
    stopped, told = found(values)["features_late"]
    assert stopped
    assert "rsi_14 12%, usually 0%" in told
    values = sound()
    values[4, 0, :6] = np.nan
    stopped, told = found(values)["features_thin"]
    assert not stopped
    assert f"rsi_14 on {DAYS[4]}" in told


def test_the_share_of_filled_cells_counts_all_days_and_features() -> None:
    counts = SupplyCounts(len(NAMES))
    for day, features in zip(DAYS, sound(), strict=True):
        counts.add(day, features)
    assert filled_share(counts.supply()) == pytest.approx(5 / 250)


def test_a_price_feature_with_holes_is_told_and_a_sparse_column_of_another_kind_is_not() -> None:
    values = sound()
    values[:, 0, :4] = np.nan
    values[:, 3, :40] = np.nan
    stopped, told = found(values)["features_sparse"]
    assert not stopped
    assert "rsi_14 8%" in told
    assert "margin_flag" not in told
