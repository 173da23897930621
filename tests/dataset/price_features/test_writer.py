"""What a price table must be, and the dataset file that is written of it."""

from __future__ import annotations

import datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from apex_tasks.dataset.price_features import (
    LEFT_OUT_FEATURES,
    catalogue,
    compute_price_features,
    write_dataset,
    writer,
)
from apex_tasks.refusal import Refusal
from apex_tasks.settings import configs_folder
from tests.support.paths import ROOT
from tests.support.price_feature_oracle import (
    FIRST,
    NAMES,
    ROWS,
    TABLE,
    as_table,
    features_of,
    good,
    good_volume,
)

# ---- input checks ----


def edited(name: str, column: pa.Array) -> pa.Table:
    return TABLE.set_column(TABLE.column_names.index(name), name, column)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        *((TABLE.drop_columns(name), name) for name in TABLE.column_names if name != "AdjustmentClose"),
        (TABLE.slice(0, 0), "empty"),
        (edited("Date", TABLE["Date"].cast(pa.string())), "pd.to_datetime"),
        (edited("Date", TABLE["Date"].cast(pa.timestamp("ns", "Asia/Tokyo"))), "without a time zone"),
        (edited("Code", TABLE["Code"].cast(pa.int64())), "expected=string"),
        (edited("Close", TABLE["Close"].cast(pa.string())), "expected=a number"),
        (edited("AdjustmentClose", TABLE["Close"].cast(pa.string())), "expected=a number"),
        (edited("sector33_code", TABLE["Close"]), "sector33_code"),
        (edited("Code", pa.array([None, *TABLE["Code"].to_pylist()[1:]])), "null in 1 rows"),
        (pa.concat_tables([TABLE, TABLE.slice(40, 2)]), "2 rows too many"),
        (TABLE.append_column("Close", TABLE["Close"]), "exactly one column Close"),
    ],
)
def test_input_is_refused_with_its_reason(table: pa.Table, said: str) -> None:
    with pytest.raises(Refusal) as refused:
        compute_price_features(table)
    assert said in str(refused.value)


def test_other_spellings_of_the_same_types_give_the_same_features(computed: pa.Table) -> None:
    table = edited("Date", TABLE["Date"].cast(pa.timestamp("us")))
    for name in ("Code", "sector33_code"):
        column = TABLE[name].combine_chunks().dictionary_encode()
        table = table.set_column(table.column_names.index(name), name, column)
    other = compute_price_features(table)
    assert other.schema.field("Date").type == pa.date32()
    assert features_of(other).equals(features_of(computed))


# ---- file ----


def test_dataset_file_and_summary(
    tmp_path: Path, computed: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices, out = tmp_path / "prices.parquet", tmp_path / "new" / "dataset.parquet"
    pq.write_table(TABLE.append_column("stmt_roe", pa.nulls(TABLE.num_rows, pa.float32())), prices)
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 1000)
    seen: list[float] = []
    summary = write_dataset(prices, out, seen.append)
    written = pq.read_table(out)
    assert written.column_names == [*TABLE.column_names, "stmt_roe", *NAMES]
    assert features_of(written).equals(features_of(computed))
    assert [path.name for path in out.parent.iterdir()] == ["dataset.parquet"]
    bad = sum(not (good(row["Close"]) and good(row["AdjustmentClose"])) for row in ROWS)
    uncounted = sum(not good_volume(row["Volume"]) for row in ROWS)
    assert min(bad, uncounted) > 0
    assert (summary.rows, summary.stocks, summary.sessions) == (len(ROWS), 20, 295)
    assert (summary.rows_without_price, summary.rows_without_volume) == (bad, uncounted)
    assert (summary.first_date, summary.last_date) == (FIRST, FIRST + datetime.timedelta(days=294))
    assert summary.features_computed == tuple(NAMES)
    assert "stmt_roe" not in summary.features_left_out
    assert len(summary.features_left_out) == len(LEFT_OUT_FEATURES) - 1
    assert all(a <= b for a, b in pairwise(seen))
    assert 0 < seen[0] < seen[-1] == 1.0
    footer = pq.read_metadata(out)
    groups = [footer.row_group(i).column(0) for i in range(footer.num_row_groups)]
    assert len(groups) == -(-len(ROWS) // 1000)
    assert {group.compression for group in groups} == {"ZSTD"}
    assert all(a.statistics.max <= b.statistics.min for a, b in pairwise(groups))


def test_same_prices_leave_the_same_bytes(tmp_path: Path) -> None:
    prices = tmp_path / "prices.parquet"
    pq.write_table(TABLE, prices)
    for name in ("a", "b"):
        write_dataset(prices, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    prices, out = tmp_path / "prices.parquet", tmp_path / "dataset.parquet"
    pq.write_table(TABLE, prices)
    out.write_bytes(b"old")

    def full_disk(fraction: float) -> None:
        if fraction > 0.9:
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_dataset(prices, out, full_disk)
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset.parquet", "prices.parquet"]


def test_unreadable_prices_and_a_folder_as_output_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("Date,Code\n")
    for prices, fault in (("none.parquet", "is missing"), ("prices.csv", "is not a readable parquet file")):
        with pytest.raises(Refusal, match=f"price file {fault}"):
            write_dataset(tmp_path / prices, tmp_path / "out.parquet")
    with pytest.raises(Refusal, match="the name of a file"):
        write_dataset(tmp_path / "prices.csv", tmp_path)


# ---- definitions ----


def test_computed_and_left_out_features_are_the_89_of_the_model_in_its_order() -> None:
    groups = yaml.safe_load((configs_folder() / "feature_groups.yaml").read_text())["groups"]
    model = [name for group in groups.values() for name in group["include"]]
    left_out = [feature.name for feature in LEFT_OUT_FEATURES]
    assert len(model) == 89
    assert [name for name in model if name not in left_out] == NAMES
    assert [name for name in model if name not in NAMES] == left_out


def test_the_document_holds_the_tables_of_the_code() -> None:
    document = (ROOT / "docs" / "features.md").read_text()
    for table in (catalogue.computed_table(), catalogue.left_out_table()):
        assert table in document, "paste the output of python -m apex_tasks.dataset.price_features.catalogue"


def test_codes_that_came_back_as_another_stock_are_named(tmp_path: Path) -> None:
    sessions = sorted({row["Date"] for row in ROWS})
    rows = [
        row for row in ROWS if row["Code"] not in ("10000", "10090") or row["Date"] not in sessions[50:110]
    ]
    pq.write_table(as_table(rows), tmp_path / "prices.parquet")
    summary = write_dataset(tmp_path / "prices.parquet", tmp_path / "dataset.parquet")
    assert summary.codes_with_new_history == ("10000", "10090")
    assert summary.stocks == len({row["Code"] for row in ROWS})
