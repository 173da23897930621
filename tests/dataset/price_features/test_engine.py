"""Price features against an independent oracle in plain loops, and their properties from outside."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.dataset.price_features import (
    PRICE_FEATURES,
    compute_price_features,
)
from tests.support.price_feature_oracle import (
    DENSE,
    FIRST,
    FLAT,
    IDLE,
    NAMES,
    ROWS,
    SPLIT,
    TABLE,
    as_table,
    features_of,
    good,
)


@pytest.mark.parametrize("name", NAMES)
def test_feature_equals_the_oracle(name: str, computed: pa.Table, expected: dict) -> None:
    keys = zip(computed["Date"].to_pylist(), computed["Code"].to_pylist(), strict=True)
    wanted = np.array([math.nan if expected[k][name] is None else expected[k][name] for k in keys])
    column = computed[name]
    received = column.to_numpy()
    assert np.isfinite(wanted).any()
    np.testing.assert_array_equal(np.isnan(received), np.isnan(wanted))
    assert column.null_count == np.isnan(wanted).sum(), "a missing value must be null, not NaN"
    np.testing.assert_allclose(received, wanted, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("feature", PRICE_FEATURES, ids=lambda feature: feature.name)
def test_first_row_is_as_documented(feature, computed: pa.Table) -> None:
    dense = computed.filter(pc.equal(computed["Code"], DENSE))[feature.name].is_valid().to_pylist()
    assert dense.index(True) + 1 == feature.min_rows
    assert all(dense[feature.min_rows - 1 :])


# ---- a code that is given to another company ----


def reused(missing: int, second: str) -> pa.Table:
    """The market with the rows of `DENSE` missing in some sessions, and 7 times its prices under `second` after."""
    sessions = sorted({row["Date"] for row in ROWS})
    gone = sessions[120 : 120 + missing]
    rows = [dict(row) for row in ROWS if row["Code"] != DENSE or row["Date"] not in gone]
    for row in rows:
        if row["Code"] == DENSE and row["Date"] > gone[-1]:
            row.update(Code=second, Close=7 * row["Close"], AdjustmentClose=7 * row["AdjustmentClose"])
    return as_table(rows)


def test_no_feature_reaches_from_one_company_of_a_code_to_the_next() -> None:
    """The features are, to the last bit, those of two stocks with codes of their own."""
    one, two = (features_of(compute_price_features(reused(60, code))) for code in (DENSE, "10001"))
    assert one.drop_columns("Code").equals(two.drop_columns("Code"))
    assert one.num_rows == two.num_rows > 0


def test_a_shorter_absence_is_a_suspension() -> None:
    one, two = (features_of(compute_price_features(reused(59, code))) for code in (DENSE, "10001"))
    assert not one.drop_columns("Code").equals(two.drop_columns("Code"))


# ---- shape and order ----


def test_output_is_sorted_typed_and_complete(computed: pa.Table) -> None:
    keys = list(zip(computed["Date"].to_pylist(), computed["Code"].to_pylist(), strict=True))
    assert keys == sorted((row["Date"], row["Code"]) for row in ROWS)
    assert computed.column_names == [*TABLE.column_names, *NAMES]
    assert {computed.schema.field(name).type for name in NAMES} == {pa.float32()}


def test_a_feature_replaces_the_input_column_of_its_name_and_others_pass(computed: pa.Table) -> None:
    stale = TABLE.append_column("returns_1d", pa.array([9.0] * TABLE.num_rows)).append_column(
        "stmt_roe", pa.array(range(TABLE.num_rows))
    )
    renewed = compute_price_features(stale)
    assert renewed["returns_1d"].equals(computed["returns_1d"])
    position = {(row["Date"], row["Code"]): i for i, row in enumerate(ROWS)}
    keys = zip(renewed["Date"].to_pylist(), renewed["Code"].to_pylist(), strict=True)
    assert renewed["stmt_roe"].to_pylist() == [position[key] for key in keys]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_order_of_the_input_does_not_matter(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(TABLE.num_rows)
    shuffled = compute_price_features(TABLE.take(pa.array(order)))
    assert features_of(shuffled).equals(features_of(compute_price_features(TABLE)))


@given(day=st.integers(1, 294), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_rows_after_a_day_change_nothing_up_to_it(day: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    cut = FIRST + datetime.timedelta(days=day)
    changed = []
    for row in ROWS:
        if row["Date"] <= cut:
            changed.append(row)
        elif draw.random() < 0.7:
            close = float(draw.uniform(1, 9000))
            changed.append(
                row | {"Close": close, "AdjustmentClose": close, "Volume": 1.0, "sector33_code": "1"}
            )
    upto = pc.less_equal(pc.field("Date"), cut)
    received, wanted = (
        features_of(compute_price_features(table).filter(upto)) for table in (as_table(changed), TABLE)
    )
    assert received.equals(wanted)


# ---- splits, zeros, constants ----


def test_a_split_changes_nothing_where_the_adjusted_close_is_known() -> None:
    rows = [row for row in ROWS if good(row["Close"]) and good(row["AdjustmentClose"])]
    unsplit = [
        row | {"Close": row["Close"] / 4, "Volume": row["Volume"] * 4}
        if row["Code"] == SPLIT and row["Close"] != row["AdjustmentClose"]
        else row
        for row in rows
    ]
    split = compute_price_features(as_table(rows))
    without = compute_price_features(as_table(unsplit).drop_columns("AdjustmentClose"))
    for name in NAMES:
        np.testing.assert_allclose(without[name].to_numpy(), split[name].to_numpy(), rtol=1e-6, atol=1e-12)


def test_without_adjusted_close_a_split_is_a_return() -> None:
    raw = compute_price_features(TABLE.drop_columns("AdjustmentClose"))
    worst = pc.min(raw.filter(pc.equal(raw["Code"], SPLIT))["returns_1d"]).as_py()
    assert worst < -0.7


def test_nothing_is_infinite_and_what_does_not_move_has_no_ratio(computed: pa.Table) -> None:
    for name in NAMES:
        assert np.isfinite(computed[name].drop_null().to_numpy()).all(), name
    flat = computed.filter(pc.equal(computed["Code"], FLAT)).slice(60)
    for name in ("bb_position", "close_to_high", "close_to_low", "rsi_14", "rsi_delta", "x_mom_sh_5"):
        assert flat[name].null_count == flat.num_rows, name
    for name in ("volatility_20d", "bb_width", "returns_5d", "macd"):
        assert set(flat[name].to_pylist()) == {0.0}, name
    assert set(flat["price_to_sma20"].to_pylist()) == {1.0}
    idle = computed.filter(pc.equal(computed["Code"], IDLE))
    assert idle["volume_ratio_5"].null_count == idle["turnover_rate"].null_count == idle.num_rows


def test_rounding_noise_of_a_steady_growth_is_no_spread() -> None:
    rows = [row for row in ROWS if row["Code"] == DENSE]
    steady = [
        row | {"Close": 1000 * 1.001**t, "AdjustmentClose": 1000 * 1.001**t} for t, row in enumerate(rows)
    ]
    features = compute_price_features(as_table(steady))
    assert pc.max(features["volatility_20d"]).as_py() < 1e-12
    for name in ("x_mom_sh_5", "beta_60d", "idio_vol_ratio"):
        assert features[name].null_count == features.num_rows, name


@given(
    st.lists(
        st.tuples(
            st.integers(0, 70),
            st.sampled_from(["13010", "13020", "130A0"]),
            st.one_of(st.sampled_from([None, 0.0, -1.0, math.nan, math.inf]), st.floats(0.01, 1e8)),
            st.one_of(st.sampled_from([None, 0.0, -1.0, math.nan, math.inf]), st.floats(0, 1e12)),
        ),
        min_size=1,
        max_size=120,
        unique_by=lambda row: row[:2],
    )
)
@settings(max_examples=40, deadline=None)
def test_any_prices_give_finite_features_or_null(rows: list[tuple]) -> None:
    table = pa.table(
        {
            "Date": pa.array([FIRST + datetime.timedelta(days=r[0]) for r in rows]),
            "Code": [r[1] for r in rows],
            "Close": pa.array([r[2] for r in rows], pa.float64()),
            "Volume": pa.array([r[3] for r in rows], pa.float64()),
            "TurnoverValue": pa.nulls(len(rows), pa.float64()),
            "sector33_code": pa.nulls(len(rows)),
        }
    )
    features = compute_price_features(table)
    assert features.num_rows == len(rows)
    for name in NAMES:
        assert np.isfinite(features[name].drop_null().to_numpy()).all(), name
