"""One message for every bad dataset and every other bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.console import Apex, refusal
from tests.support.small_market import (
    AS_OF,
    JULY,
    SmallMarket,
    published_bytes,
    replaced,
    write_table,
)

# --- bad inputs ---------------------------------------------------------------------------------------------


def missing(market: SmallMarket, out: Path) -> None:
    """No file at all."""


def truncated(market: SmallMarket, out: Path) -> None:
    out.write_bytes(market.dataset.read_bytes()[:-1000])


def no_parquet(market: SmallMarket, out: Path) -> None:
    out.write_text("Date,Code,Close\n")


def empty_file(market: SmallMarket, out: Path) -> None:
    out.touch()


def with_column(name: str, make: Callable[[pa.ChunkedArray], Any]) -> Callable[[SmallMarket, Path], None]:
    def write(market: SmallMarket, out: Path) -> None:
        write_table(replaced(market.table, **{name: make(market.table[name])}), out)

    return write


def without_columns(*names: str) -> Callable[[SmallMarket, Path], None]:
    return lambda market, out: write_table(market.table.drop_columns(list(names)), out) and None


def doubled(market: SmallMarket, out: Path) -> None:
    rows = [*range(len(market.dates)), 5, 6]
    write_table(market.table.take(pa.array(rows)), out)


def few_stocks(market: SmallMarket, out: Path) -> None:
    kept = sorted(set(market.codes))[:79]
    write_table(market.table.filter(pa.array(np.isin(market.codes, kept))), out)


def ends_early(market: SmallMarket, out: Path) -> None:
    write_table(market.table.filter(pa.array(market.dates < AS_OF[JULY])), out)


def first_null(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None, *column.to_pylist()[1:]], column.type)


def ranks(column: pa.ChunkedArray) -> pa.Array:
    return pa.array(np.random.default_rng(3).uniform(0, 1, len(column)))


def in_zone(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="Asia/Tokyo"))


BAD_DATASETS: dict[str, tuple[Callable[[SmallMarket, Path], None], str]] = {
    "missing file": (missing, "dataset is missing: expected=one parquet file, received=no such file"),
    "truncated": (truncated, "dataset is not a readable parquet file"),
    "no parquet": (no_parquet, "dataset is not a readable parquet file"),
    "empty file": (empty_file, "expected=a complete parquet file, received=0 bytes"),
    "Date as text": (with_column("Date", lambda c: c.cast(pa.string())), "dataset column Date has the wrong type"),
    "Date with a zone": (with_column("Date", in_zone), "received=timestamp[us, tz=Asia/Tokyo]"),
    "Date as number": (with_column("Date", lambda c: c.cast(pa.int32())), "received=int32"),
    "Code as number": (with_column("Code", lambda c: c.cast(pa.int64())), "dataset column Code has the wrong type"),
    "Close as text": (with_column("Close", lambda c: c.cast(pa.string())), "dataset column Close has the wrong type"),
    "feature as text": (with_column("rsi_14", lambda c: c.cast(pa.string())), "column rsi_14 has the wrong type"),
    "null Date": (with_column("Date", first_null), "dataset has rows without a Date: expected=no nulls in Date"),
    "null Code": (with_column("Code", first_null), "dataset has rows without a Code"),
    "duplicate keys": (doubled, "duplicate (Date, Code) rows: expected=one row per stock and day, received=2"),
    "no Volume": (without_columns("Volume"), "dataset lacks required columns"),
    "no keys": (without_columns("Date", "Code"), "received=no Date, Code"),
    "missing returns": (without_columns("returns_5d"), "returns_5d"),
    "turnover ranks": (with_column("TurnoverValue", ranks), "expected 0.67 to 1.50: TurnoverValue holds ranks"),
    "volume ranks": (with_column("Volume", ranks), "expected 0.67 to 1.50: Volume holds ranks"),
    "too few stocks": (few_stocks, "too few eligible stocks on 2025-06-30: expected=at least 80"),
    "as-of missing": (ends_early, "dataset has no rows for the as-of session 2025-06-30"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD_DATASETS))
def test_a_bad_dataset_is_refused_in_one_message(
    apex: Apex, market: SmallMarket, tmp_path: Path, case: str
) -> None:
    make, expected = BAD_DATASETS[case]
    dataset = tmp_path / "bad.parquet"
    make(market, dataset)
    outcome = apex("run", "--date", "2025-07-01", "--cold-start", "--dataset", dataset, "--json")
    assert expected in refusal(outcome)
    assert outcome[1] == ""
    assert published_bytes(tmp_path / "home") == {}


def test_raw_mode_says_that_missing_values_leave_no_stock(
    apex: Apex, market: SmallMarket, tmp_path: Path
) -> None:
    dataset = tmp_path / "gaps.parquet"
    with_column("rsi_14", lambda column: pa.nulls(len(column), column.type))(market, dataset)
    score = ("score", "--as-of", AS_OF[JULY], "--dataset", dataset, "--out", tmp_path / "scores.parquet")
    assert apex(*score)[0] == 0
    raw = ("--normalization", "raw", "--normalization-reason", "a test")
    assert "Raw mode takes no missing value" in refusal(apex(*score, *raw))


def test_missing_features_are_refused_in_strict_and_filled_otherwise(
    apex: Apex, market: SmallMarket, tmp_path: Path
) -> None:
    dataset = tmp_path / "lacking.parquet"
    without_columns("rsi_14", "stmt_roe")(market, dataset)
    run = ("run", "--date", "2025-07-01", "--cold-start", "--dataset", dataset, "--json")
    message = refusal(apex(*run, "--features-mode", "strict"))
    assert "rsi_14" in message
    assert "stmt_roe" in message
    code, said, _ = apex(*run)
    assert code == 0
    # In the model's order, not the alphabet's.
    assert json.loads(said)["warnings"] == [
        "2 features are not in the dataset and were fed as 0: rsi_14, stmt_roe"
    ]
    assert "drop-missing" in refusal(apex(*run, "--features-mode", "drop-missing"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "--date", "2025-07-05"), "not a session of the Tokyo Stock Exchange"),
        (("run", "--date", "2025-01-01"), "not a session of the Tokyo Stock Exchange"),
        (("run", "--date", "2025-07-01", "--horizon", "7"), "run parameter horizon is invalid"),
        (("run", "--date", "2025-07-01", "--top-k", "0"), "run parameter top_k is invalid"),
        (("run", "--date", "2025-07-01"), "has no book to start from"),
        (("run", "--date", "2025-07-01", "--bundle", "nowhere"), "bundle"),
        (
            ("score", "--as-of", "2025-06-29", "--out", "x.parquet"),
            "not a session of the Tokyo Stock Exchange",
        ),
        (
            ("score", "--as-of", "2025-10-31", "--out", "x.parquet"),
            "dataset has no rows for the as-of session 2025-10-31",
        ),
        (
            ("score", "--as-of", "2098-06-30", "--out", "x.parquet"),
            "the as-of session 2098-06-30 is in the future",
        ),
        (("run", "--date", "2098-07-01"), "the as-of session 2098-06-30 is in the future"),
        (("run", "--date", "2025-07-16"), "2025-07-15 is not the session before a rebalance day"),
        (("run", "--date", "2025-07-02"), "2025-07-01 is the rebalance day; its as-of session is 2025-06-30"),
        (
            ("run", "--date", "2025-07-01", "--off-cycle", "why"),
            "off_cycle is given, but 2025-07-01 is a month's rebalance day",
        ),
        (("run", "--date", "2025-07-01", "--top-k", "1"), "top_k 1 is below the fewest names"),
        (("calendar", "--from", "2025-02-01", "--to", "2025-01-01"), "session range ends before it starts"),
        (("demo-data", "out", "--stocks", "1"), "number of stocks"),
        (("validate-bundle", "--dataset", "nowhere.parquet"), "dataset is missing"),
    ],
)
def test_other_bad_inputs_are_refused(
    apex: Apex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in refusal(apex(*arguments))


def test_nothing_named_is_refused(apex: Apex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APEX_BUNDLE")
    assert "no bundle is named" in refusal(apex("validate-bundle"))
    monkeypatch.setenv("APEX_BUNDLE", "x")
    monkeypatch.delenv("APEX_DATASET")
    assert "no dataset is named" in refusal(apex("validate-bundle"))


def test_a_home_that_is_a_file_is_refused(apex: Apex, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    for arguments in (("audit", "verify"), ("run", "--date", "2025-07-01", "--cold-start")):
        assert "the store is not a folder" in refusal(apex(*arguments))


def test_a_refusal_keeps_brackets_and_wraps_nothing(apex: Apex, tmp_path: Path) -> None:
    name = tmp_path / ("[bold]" + "long" * 40 + ".parquet")
    assert str(name) in refusal(apex("run", "--date", "2025-07-01", "--cold-start", "--dataset", name))


def test_a_naive_timestamp_is_as_good_as_a_date(apex: Apex, market: SmallMarket, tmp_path: Path) -> None:
    stamped = tmp_path / "stamped.parquet"
    with_column("Date", lambda column: column.cast(pa.timestamp("ns")))(market, stamped)
    for name, dataset in {"dates": market.dataset, "stamps": stamped}.items():
        code, _, _ = apex("score", "--as-of", "2025-06-30", "--dataset", dataset, "--out", tmp_path / name)
        assert code == 0
    assert (tmp_path / "dates").read_bytes() == (tmp_path / "stamps").read_bytes()
