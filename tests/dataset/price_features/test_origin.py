"""What a written dataset says of its features, and what that means to a model trained on others."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.dataset.price_features import PRICE_FEATURES, origin, write_dataset
from apex_tasks.dataset.price_features.origin import (
    LEVEL_FEATURES,
    OTHER_QUANTITIES,
    PRICES_ORIGIN,
    feature_origin,
    origin_warnings,
)
from apex_tasks.dataset.schema import open_dataset
from tests.support.paths import ROOT
from tests.support.price_feature_oracle import TABLE, features_of

NAMES = [feature.name for feature in PRICE_FEATURES]


def test_34_of_the_60_are_other_quantities_and_20_change_the_input() -> None:
    names = [quantity.name for quantity in OTHER_QUANTITIES]
    assert len(names) == len(set(names)) == 34
    assert set(names) <= set(NAMES)
    assert len([quantity for quantity in OTHER_QUANTITIES if quantity.changes_input]) == 20
    # One number for all stocks of a day is 0 after the z-score, whatever it is.
    assert not any(
        quantity.changes_input for quantity in OTHER_QUANTITIES if quantity.name.startswith("mkt_")
    )
    assert not any(
        name.startswith(("returns_", "log_returns_", "volatility_", *LEVEL_FEATURES)) for name in names
    )


def test_the_levels_are_the_features_in_jpy() -> None:
    assert [feature.name for feature in PRICE_FEATURES if feature.unit == "JPY"] == list(LEVEL_FEATURES)


def test_the_document_holds_the_table() -> None:
    document = (ROOT / "docs" / "features.md").read_text()
    told = "paste the output of python -m apex_tasks.dataset.price_features.origin"
    assert origin.other_quantities_table() in document, told


def test_a_written_file_names_the_origin_and_keeps_what_the_prices_say(tmp_path: Path) -> None:
    prices, out = tmp_path / "prices.parquet", tmp_path / "dataset.parquet"
    pq.write_table(TABLE.replace_schema_metadata({b"apex.synthetic": b"true"}), prices)
    write_dataset(prices, out)
    dataset = open_dataset(out)
    assert feature_origin(dataset.schema) == PRICES_ORIGIN == "prices-1"
    assert dataset.synthetic
    assert feature_origin(pq.read_schema(prices)) is None


def test_decimal_prices_are_written_as_the_floats_that_runs_read(tmp_path: Path) -> None:
    prices, out, plain = (tmp_path / name for name in ("prices.parquet", "dataset.parquet", "plain.parquet"))
    decimals = TABLE
    for name, kind in {
        "Close": pa.decimal128(18, 1),
        "AdjustmentClose": pa.decimal128(38, 6),
        "TurnoverValue": pa.decimal256(40, 2),
    }.items():
        index, places = TABLE.column_names.index(name), Decimal(1).scaleb(-kind.scale)
        values = [
            None
            if value is None or value != value or abs(value) == float("inf")
            else Decimal(value).quantize(places)
            for value in TABLE[name].to_pylist()
        ]
        decimals = decimals.set_column(index, name, pa.array(values, kind))
    pq.write_table(decimals, prices)
    write_dataset(prices, out)
    written = pq.read_table(out)
    for name in ("Close", "AdjustmentClose", "TurnoverValue"):
        assert written.schema.field(name).type == pa.float64()
    ordered = decimals.sort_by([("Date", "ascending"), ("Code", "ascending")])
    for name in ("Close", "AdjustmentClose", "TurnoverValue"):
        expected = [np.nan if value is None else float(value) for value in ordered[name].to_pylist()]
        np.testing.assert_allclose(written[name].to_numpy(), expected, rtol=3e-16)
    open_dataset(out)  # what a run refuses, it would refuse here
    # The features are those of the same prices given as floats.
    pq.write_table(written.select(TABLE.column_names), plain)
    write_dataset(plain, tmp_path / "again.parquet")
    assert features_of(pq.read_table(tmp_path / "again.parquet")).equals(features_of(written))


@pytest.mark.parametrize("bundle", [None, "prices-1", "other"])
def test_a_dataset_that_names_no_origin_is_no_cause_for_a_warning(bundle: str | None) -> None:
    assert origin_warnings(None, bundle, NAMES) == ()


def test_a_bundle_of_the_same_origin_is_no_cause_for_a_warning() -> None:
    assert origin_warnings(PRICES_ORIGIN, PRICES_ORIGIN, NAMES) == ()


def test_a_bundle_of_another_or_unknown_origin_is_told_what_differs() -> None:
    (told,) = origin_warnings(PRICES_ORIGIN, None, NAMES)
    assert "does not say what it was trained on" in told
    assert "34 features may be other quantities" in told
    assert "20 of them also after the z-score (bb_position, turnover_rate, beta_60d" in told
    (told,) = origin_warnings(PRICES_ORIGIN, "deployed-1", ["rsi_14", "returns_1d", "mkt_ret_1d"])
    assert "was trained on deployed-1" in told
    assert "2 features may be other quantities under the same names, 1 of them" in told
    assert "(rsi_14)" in told
    (told,) = origin_warnings("elsewhere-3", PRICES_ORIGIN, NAMES)
    assert told == "the dataset's features are of origin elsewhere-3, and the bundle was trained on prices-1"
