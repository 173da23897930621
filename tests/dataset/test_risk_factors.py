"""Sector and volatility of single days, raw as the dataset has them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from apex_tasks.dataset.features.feature_plan import FeaturePlan, FeatureSource, SourceKind
from apex_tasks.dataset.risk_factors import RiskFactors, read_risk_factors
from apex_tasks.dataset.schema import open_dataset
from tests.support.small_market import AS_OF, AUGUST, JULY, SmallMarket, replaced, write_table

PLAN = FeaturePlan(
    sources=(
        FeatureSource(feature="rsi_14", kind=SourceKind.COLUMN, left="rsi_14"),
        FeatureSource(feature="volatility_60d", kind=SourceKind.COLUMN, left="volatility_60d"),
    )
)
DAYS = [AS_OF[AUGUST], AS_OF[JULY]]


def expected(path: Path, days: list[dt.date]) -> pd.DataFrame:
    frame = pd.read_parquet(path, columns=["Date", "Code", "sector33_code", "volatility_60d"])
    return frame[frame["Date"].isin(days)].sort_values(["Date", "Code"]).reset_index(drop=True)


def test_the_rows_of_the_days_and_no_others(market: SmallMarket) -> None:
    found = read_risk_factors(open_dataset(market.dataset), PLAN, DAYS)
    pd.testing.assert_frame_equal(found, expected(market.dataset, DAYS), check_dtype=False)
    assert found["volatility_60d"].dtype == np.float64


def test_missing_values_are_nan_and_missing_columns_unknown(market: SmallMarket, tmp_path: Path) -> None:
    values = market.values("volatility_60d")
    values[market.codes == sorted(set(market.codes))[0]] = np.inf
    table = replaced(market.table, volatility_60d=values).drop_columns(["sector33_code"])
    found = read_risk_factors(open_dataset(write_table(table, tmp_path / "d.parquet")), PLAN, DAYS)
    assert found["sector33_code"].isna().all()
    assert found["volatility_60d"].isna().sum() == len(DAYS)
    without = FeaturePlan(sources=PLAN.sources[:1])
    assert read_risk_factors(open_dataset(market.dataset), without, DAYS)["volatility_60d"].isna().all()


def test_days_are_read_once_and_unknown_days_are_empty(
    market: SmallMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = RiskFactors(open_dataset(market.dataset), PLAN)
    factors.prepare(DAYS)
    monkeypatch.setattr(type(open_dataset(market.dataset)), "open", None)  # whoever reads again breaks
    for day in DAYS:
        assert factors.on(day)["Code"].tolist() == sorted(set(market.codes))
    assert factors.on(DAYS[0])["Date"].unique().tolist() == [DAYS[0]]
    monkeypatch.undo()
    assert factors.on(dt.date(2030, 1, 1)).empty


def test_codes_and_sectors_stored_as_dictionaries_read_alike(market: SmallMarket, tmp_path: Path) -> None:
    table = market.table
    for name in ("Code", "sector33_code"):
        column = table[name].dictionary_encode()
        table = table.set_column(table.schema.get_field_index(name), name, column)
    path = write_table(table, tmp_path / "dictionary.parquet")
    assert pa.types.is_dictionary(open_dataset(path).schema.field("sector33_code").type)
    found = read_risk_factors(open_dataset(path), PLAN, DAYS)
    pd.testing.assert_frame_equal(found, expected(market.dataset, DAYS), check_dtype=False)
