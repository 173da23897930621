"""Seeded mutations of a small dataset, and what `apex score` makes of each: run as a program of its own.

    python -m tests.support.fault_table.mutations FOLDER FIRST LAST

prints one line of JSON per seed. A mutation that hangs ends the process by its alarm; the lines so far say where.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.bundle_factory import Draft
from tests.support.fault_table.command import call_apex
from tests.support.fault_table.market import AS_OF_DAY
from tests.support.small_market import SESSIONS, STOCKS, make_market

KEPT_STOCKS, KEPT_SESSIONS, LOOKBACK, LEAST_STOCKS = 40, 48, 24, 20
LONGEST_SECONDS = 60

Random = np.random.Generator
Mutate = Callable[[Random, pa.Table, Path], None]


def _some(random: Random, table: pa.Table, most: int = 4) -> list[str]:
    """Some columns; keys and prices as often as features."""
    market = table.column_names[:7]
    count = int(random.integers(1, most + 1))
    return [str(random.choice(market if random.random() < 0.5 else table.column_names)) for _ in range(count)]


def _write(table: pa.Table, out: Path, random: Random) -> None:
    how = {
        "row_group_size": int(random.integers(100, 3_000)),
        "write_page_checksum": bool(random.random() < 0.3),
    }
    pq.write_table(table, out, compression=str(random.choice(["none", "snappy", "zstd"])), **how)


def _set(table: pa.Table, name: str, values: object) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def bytes_changed(random: Random, table: pa.Table, out: Path) -> None:
    _write(table, out, random)
    data = bytearray(out.read_bytes())
    for at in random.integers(0, len(data), size=int(random.integers(1, 60))):
        data[at] ^= 1 << int(random.integers(8))
    out.write_bytes(data)


def footer_changed(random: Random, table: pa.Table, out: Path) -> None:
    _write(table, out, random)
    data = bytearray(out.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    for at in random.integers(1, footer + 1, size=int(random.integers(1, 20))):
        data[-at] = int(random.integers(256))
    out.write_bytes(data)


def pages_zeroed(random: Random, table: pa.Table, out: Path) -> None:
    _write(table, out, random)
    data = bytearray(out.read_bytes())
    for _ in range(int(random.integers(1, 6))):
        at = int(random.integers(0, len(data)))
        end = min(len(data), at + int(random.integers(1, 8_192)))
        data[at:end] = bytes(end - at)
    out.write_bytes(data)


def cut_or_doubled(random: Random, table: pa.Table, out: Path) -> None:
    _write(table, out, random)
    data = out.read_bytes()
    at, end = sorted(random.integers(0, len(data), size=2))
    out.write_bytes(random.choice([data[:end], data[at:], data[:at] + data[end:], data[:end] + data[at:]]))


def columns_exchanged(random: Random, table: pa.Table, out: Path) -> None:
    names = list(table.column_names)
    for one, other in zip(_some(random, table), _some(random, table), strict=False):
        i, j = names.index(one), names.index(other)
        names[i], names[j] = names[j], names[i]
    _write(table.rename_columns(names), out, random)


def columns_scaled(random: Random, table: pa.Table, out: Path) -> None:
    for name in _some(random, table):
        if pa.types.is_floating(table[name].type):
            values = table[name].to_numpy().copy()
            part = random.random(len(values)) < random.choice([1.0, 0.3, 0.01])
            with np.errstate(all="ignore"):
                values[part] *= random.choice([0.0, -1.0, 1e-3, 1e3, 1e30, np.inf, np.nan])
            table = _set(table, name, pa.array(values))
    _write(table, out, random)


def cells_nulled(random: Random, table: pa.Table, out: Path) -> None:
    for name in _some(random, table):
        gone = random.random(len(table)) < random.choice([1.0, 0.5, 0.01])
        values = [None if hit else value for hit, value in zip(gone, table[name].to_pylist(), strict=True)]
        table = _set(table, name, pa.array(values, table[name].type))
    _write(table, out, random)


def columns_shifted(random: Random, table: pa.Table, out: Path) -> None:
    for name in _some(random, table):
        order = np.roll(np.arange(len(table)), int(random.choice([-1, 1, KEPT_STOCKS, -KEPT_STOCKS])))
        table = _set(table, name, table[name].take(pa.array(order)))
    _write(table, out, random)


def rows_dropped(random: Random, table: pa.Table, out: Path) -> None:
    _write(
        table.filter(pa.array(random.random(len(table)) < random.choice([0.999, 0.97, 0.5, 0.01]))),
        out,
        random,
    )


def rows_repeated(random: Random, table: pa.Table, out: Path) -> None:
    start, count = int(random.integers(len(table))), int(random.integers(1, 200))
    _write(pa.concat_tables([table, table.slice(start, count)]), out, random)


def rows_shuffled(random: Random, table: pa.Table, out: Path) -> None:
    order = random.permutation(len(table))
    if random.random() < 0.5:  # all columns but one
        name = _some(random, table)[0]
        shuffled = table.take(pa.array(order))
        table = _set(shuffled, name, table[name])
    else:
        table = table.take(pa.array(order))
    _write(table, out, random)


TYPES = (
    pa.string(), pa.string_view(), pa.large_string(), pa.binary(),
    pa.float16(), pa.float32(), pa.float64(), pa.int8(),
    pa.int64(), pa.uint32(), pa.bool_(), pa.date32(), pa.date64(), pa.timestamp("ns"), pa.timestamp("s", tz="UTC"),
    pa.time32("s"), pa.decimal128(20, 4), pa.null(), pa.list_(pa.float32()), pa.dictionary(pa.int32(), pa.string()),
)  # fmt: skip


def types_changed(random: Random, table: pa.Table, out: Path) -> None:
    for name in _some(random, table):
        kind = TYPES[int(random.integers(len(TYPES)))]
        column = table[name].combine_chunks()
        try:
            table = _set(table, name, column.cast(kind, safe=False))
        except (pa.ArrowException, NotImplementedError):
            table = _set(table, name, pa.nulls(len(table), kind))
    _write(table, out, random)


def texts_changed(random: Random, table: pa.Table, out: Path) -> None:
    odd = [
        "",
        " ",
        "\x00",
        "=1+1",
        "<b>",
        "\u202e1301",
        "1" * 300,
        "１３０１",
        "13010",
        "-",
        "nan",
        "a,b",
        "a\nb",
        None,
    ]
    name = str(random.choice(["Code", "sector33_code"]))
    values = table[name].to_pylist()
    for row in random.integers(0, len(values), size=int(random.integers(1, 30))):
        values[row] = odd[int(random.integers(len(odd)))]
    _write(_set(table, name, pa.array(values, pa.string())), out, random)


def dates_changed(random: Random, table: pa.Table, out: Path) -> None:
    days = table["Date"].cast(pa.int32()).to_numpy().copy()
    part = random.random(len(days)) < random.choice([1.0, 0.1, 0.001])
    days[part] += int(random.choice([-1, 1, 7, 365, 100_000, -(10**6), 10**7]))
    _write(_set(table, "Date", pa.array(days).cast(pa.date32())), out, random)


def columns_dropped(random: Random, table: pa.Table, out: Path) -> None:
    names = list(dict.fromkeys(_some(random, table, 8)))
    if random.random() < 0.3:
        table = pa.Table.from_arrays([*table.columns, table[names[0]]], names=[*table.column_names, names[0]])
    else:
        table = table.drop_columns(names)
    _write(table, out, random)


KINDS: tuple[Mutate, ...] = (
    bytes_changed, footer_changed, pages_zeroed, cut_or_doubled, columns_exchanged, columns_scaled, cells_nulled,
    columns_shifted, rows_dropped, rows_repeated, rows_shuffled, types_changed, texts_changed,
    dates_changed, columns_dropped,
)  # fmt: skip


def kind_of(seed: int) -> Mutate:
    """The kinds in turn."""
    return KINDS[seed % len(KINDS)]


def make_base(folder: Path) -> tuple[pa.Table, Path]:
    """A dataset that is as small as may be, and its bundle."""
    table = make_market(folder / "whole").table
    by_stock = np.arange(len(table)) % STOCKS < KEPT_STOCKS
    by_day = np.arange(len(table)) // STOCKS >= SESSIONS - KEPT_SESSIONS
    draft = Draft()
    draft.config["data"] |= {"lookback": LOOKBACK, "min_stocks_per_day": LEAST_STOCKS}
    return table.filter(pa.array(by_stock & by_day)), draft.folder(folder / "bundle")


def score(seed: int, table: pa.Table, bundle: Path, folder: Path) -> dict[str, object]:
    """Mutate, score, and tell how it ended."""
    dataset = folder / "mutated.parquet"
    kind_of(seed)(np.random.default_rng(seed), table, dataset)
    arguments = ["score", "--as-of", str(AS_OF_DAY), "--out", str(folder / "scores.parquet"), "--json"]
    ended: dict[str, object] = {"seed": seed, "kind": kind_of(seed).__name__}
    try:
        code, _, told = call_apex(arguments, {"APEX_DATASET": str(dataset), "APEX_BUNDLE": str(bundle)})
    except Exception:
        return {**ended, "bug": traceback.format_exc()[-2_000:]}
    return {**ended, "code": code, "told": told.strip().splitlines()[-1:]}


def main(folder: Path, first: int, last: int) -> None:
    """Run the seeds `first..last - 1`."""
    table, bundle = make_base(folder)
    for seed in range(first, last):
        faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)
        ended = score(seed, table, bundle, folder)
        faulthandler.cancel_dump_traceback_later()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**ended, "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
