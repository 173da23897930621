"""Price features against an independent oracle in plain loops, and their properties from outside."""

from __future__ import annotations

import datetime
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.dataset.price_features import (
    LEFT_OUT_FEATURES,
    PRICE_FEATURES,
    catalogue,
    compute_price_features,
    write_dataset,
    writer,
)
from apex_tasks.refusal import Refusal
from apex_tasks.settings import configs_folder
from tests.support.paths import ROOT

NAMES = [feature.name for feature in PRICE_FEATURES]
DENSE, FLAT, IDLE, SPLIT = "10000", "10010", "10020", "10030"
BAD = (None, 0.0, -5.0, math.inf, math.nan)
ALONE = "9050"
FIRST = datetime.date(2023, 1, 4)


def make_market(n_stocks: int = 20, n_sessions: int = 295, seed: int = 8) -> list[dict]:
    """Rows of a market with suspensions, an IPO, a delisting, bad prices, a split and a change of sector."""
    draw = np.random.default_rng(seed)
    rows = []
    for j in range(n_stocks):
        code, close = f"{10000 + 10 * j}", float(draw.uniform(200, 5000))
        first = 120 if j == 5 else 0
        last = 200 if j == 6 else n_sessions
        for t in range(n_sessions):
            close *= 1.0 if code == FLAT else math.exp(draw.normal(0.0002, 0.02))
            volume = 0 if code == IDLE else int(draw.integers(1, 10**6))
            if not first <= t < last or (j == 7 and 80 <= t < 110) or (j > 7 and draw.random() < 0.02):
                continue
            traded = adjusted = close
            if j == 8 and draw.random() < 0.02:
                traded = BAD[int(draw.integers(5))]
            elif j == 8 and draw.random() < 0.02:
                adjusted = BAD[int(draw.integers(5))]
            elif j == 12 and draw.random() < 0.02:
                volume = (None, -5.0, math.inf, math.nan)[int(draw.integers(4))]
            sector = str(50 + (j + (j == 11 and t > 140)) % 3 * 1000)
            before_split = code == SPLIT and t < 150
            rows.append(
                {
                    "Date": FIRST + datetime.timedelta(days=t),
                    "Code": code,
                    "Close": traded if not before_split else traded * 4,
                    "AdjustmentClose": adjusted,
                    "Volume": volume / 4 if before_split else volume,
                    "TurnoverValue": 0.0 if j in (9, 12) else close * volume * 1.01,
                    "sector33_code": None if j == 10 else ALONE if j == 7 else sector,
                }
            )
    return rows


def as_table(rows: list[dict]) -> pa.Table:
    numbers = ("Close", "AdjustmentClose", "Volume", "TurnoverValue")
    fields = [("Date", pa.date32()), ("Code", pa.string()), ("sector33_code", pa.string())]
    schema = pa.schema([*fields, *((name, pa.float64()) for name in numbers)])
    return pa.Table.from_pylist(rows, schema=schema)


def features_of(table: pa.Table) -> pa.Table:
    """Keys and features only: the passed columns hold NaN, which no comparison finds equal."""
    return table.select(["Date", "Code", *NAMES])


ROWS = make_market()
TABLE = as_table(ROWS)


@pytest.fixture(scope="module")
def computed() -> pa.Table:
    return compute_price_features(TABLE)


# ---- the oracle: lists of floats and None, one value at a time ----


def last(xs, t, n):
    part = xs[t - n + 1 : t + 1] if t - n + 1 >= 0 else [None]
    return None if None in part else part


def mean(part):
    return None if part is None else math.fsum(part) / len(part)


def cov(a, b):
    if a is None or b is None:
        return None
    ma, mb = mean(a), mean(b)
    return math.fsum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True)) / (len(a) - 1)


def std(part):
    return None if part is None else math.sqrt(cov(part, part))


def calc(function, *operands):
    return None if any(operand is None for operand in operands) else function(*operands)


def div(a, b):
    return None if a is None or b is None or abs(b) < 1e-12 else a / b


def back(xs, t, n):
    return xs[t - n] if t >= n else None


def returns(xs, n):
    return [calc(lambda now, then: now / then - 1, xs[t], back(xs, t, n)) for t in range(len(xs))]


def logs(xs, n):
    return [calc(lambda now, then: math.log(now / then), xs[t], back(xs, t, n)) for t in range(len(xs))]


def smooth(xs, rate, need):
    out, state, seen = [], None, 0
    for x in xs:
        if x is None:
            out.append(None)
            continue
        # This form keeps a constant exactly constant, so that its sign is 0.
        state = x if state is None else state + rate * (x - state)
        seen += 1
        out.append(state if seen >= need else None)
    return out


def ema(xs, n):
    return smooth(xs, 2 / (n + 1), n)


def zscores(xs, n):
    out = []
    for t in range(len(xs)):
        part = last(xs, t, n)
        out.append(div(calc(lambda x, m: x - m, xs[t], mean(part)), std(part)))
    return out


def gaps(xs):
    return [calc(lambda a, b: a / b - 1, a, b) for a, b in zip(ema(xs, 5), ema(xs, 20), strict=True)]


def bands(xs):
    position, width = [], []
    for t in range(len(xs)):
        middle, spread = mean(last(xs, t, 20)), std(last(xs, t, 20))
        half = calc(lambda s: 2 * s, spread)
        position.append(
            div(calc(lambda x, m, h: x - m + h, xs[t], middle, half), calc(lambda h: 2 * h, half))
        )
        width.append(calc(lambda m, h: 2 * h / m, middle, half))
    return position, width


def betas(ys, xs, n):
    out = []
    for t in range(len(ys)):
        y, x = last(ys, t, n), last(xs, t, n)
        out.append(div(cov(y, x), cov(x, x)))
    return out


def annual(x):
    return calc(lambda value: value * math.sqrt(252), x)


def sign(x):
    return (x > 0) - (x < 0)


def good(x):
    return x is not None and math.isfinite(x) and x > 0


def good_volume(x):
    return x is not None and math.isfinite(x) and x >= 0


def own_oracle(rows):
    p, v, value = [], [], []
    for r in rows:
        usable = good(r["Close"]) and good(r["AdjustmentClose"])
        counted = good_volume(r["Volume"])
        p.append(r["AdjustmentClose"] if usable else None)
        v.append(r["Volume"] * r["Close"] / r["AdjustmentClose"] if usable and counted else None)
        if r["TurnoverValue"] > 0:
            value.append(r["TurnoverValue"])
        else:
            value.append(r["Volume"] * r["Close"] if good(r["Close"]) and counted else None)
    o = {f"returns_{n}d": returns(p, n) for n in (1, 5, 10, 20)}
    o |= {f"log_returns_{n}d": logs(p, n) for n in (1, 10, 20)}
    o |= {f"ema_{n}": ema(p, n) for n in (5, 20, 200)}
    steps = range(len(p))
    for n in (5, 10, 20, 60):
        o[f"volatility_{n}d"] = [annual(std(last(o["returns_1d"], t, n))) for t in steps]
    squares = [calc(lambda x: x * x, x) for x in o["log_returns_1d"]]
    o["realized_volatility"] = [calc(lambda m: math.sqrt(252 * m), mean(last(squares, t, 20))) for t in steps]
    for n in (5, 20, 60):
        o[f"price_to_sma{n}"] = [div(p[t], mean(last(p, t, n))) for t in steps]
    for n in (5, 20):
        o[f"volume_ratio_{n}"] = [div(v[t], mean(last(v, t, n))) for t in steps]
    o["turnover_rate"] = [div(value[t], mean(last(value, t, 60))) for t in steps]
    o["ma_gap_5_20"] = gaps(p)
    o["bb_position"], o["bb_width"] = bands(p)
    tops = [calc(max, last(p, t, 20)) for t in steps]
    lows = [calc(min, last(p, t, 20)) for t in steps]
    o["close_to_high"] = [calc(lambda x, h, low: div(h - x, h - low), p[t], tops[t], lows[t]) for t in steps]
    o["close_to_low"] = [calc(lambda x, h, low: div(x - low, h - low), p[t], tops[t], lows[t]) for t in steps]
    change = [calc(lambda now, then: now - then, p[t], back(p, t, 1)) for t in steps]
    gain = smooth([calc(lambda c: max(c, 0.0), c) for c in change], 1 / 14, 14)
    loss = smooth([calc(lambda c: max(-c, 0.0), c) for c in change], 1 / 14, 14)
    o["rsi_14"] = [calc(lambda g, x: calc(lambda r: 100 * r, div(g, g + x)), gain[t], loss[t]) for t in steps]
    o["rsi_delta"] = [calc(lambda a, b: a - b, o["rsi_14"][t], back(o["rsi_14"], t, 1)) for t in steps]
    o["macd"] = [calc(lambda a, b: a - b, a, b) for a, b in zip(ema(p, 12), ema(p, 26), strict=True)]
    o["macd_signal"] = ema(o["macd"], 9)
    o["macd_histogram"] = [
        calc(lambda a, b: a - b, a, b) for a, b in zip(o["macd"], o["macd_signal"], strict=True)
    ]
    for n in (5, 10):
        o[f"x_mom_sh_{n}"] = [div(o[f"returns_{n}d"][t], o["volatility_20d"][t]) for t in steps]
    o["price"] = p
    return o


def group_mean(members, name):
    values = [m[name] for m in members if m[name] is not None]
    return mean(values) if values else None


def level_of(daily, days):
    level, out = 1.0, []
    for change, members in zip(daily, days, strict=True):
        level *= 1 + (change or 0.0)
        out.append(level if any(m["price"] is not None for m in members) else None)
    return out


def market_oracle(days):
    daily = [group_mean(members, "returns_1d") for members in days]
    m = level_of(daily, days)
    steps = range(len(m))
    o = {"mkt_ret_1d": daily, "mkt_ret_1d_z": zscores(daily, 252), "mkt_gap_5_20": gaps(m)}
    o |= {f"mkt_ret_{n}d": returns(m, n) for n in (5, 10, 20)}
    o["mkt_vol_20d"] = [annual(std(last(daily, t, 20))) for t in steps]
    o["mkt_high_vol"] = [calc(lambda z: float(z > 1), z) for z in zscores(o["mkt_vol_20d"], 252)]
    o["mkt_bull_200"] = [calc(lambda x, e: float(x > e), m[t], ema(m, 200)[t]) for t in steps]
    o["mkt_dd_from_peak"] = [m[t] / max(m[: t + 1]) - 1 for t in steps]
    o["mkt_bb_pct_b"], o["mkt_bb_bw"] = bands(m)
    return o


def sector_oracle(days):
    daily = [group_mean(members, "returns_1d") for members in days]
    level = level_of(daily, days)
    volatility = [annual(std(last(daily, t, 20))) for t in range(len(daily))]
    return {
        "S": daily,
        "sec_mom_20": [calc(lambda part: math.fsum(part), last(daily, t, 20)) for t in range(len(daily))],
        "sec_ret_5d_eq": [group_mean(members, "returns_5d") for members in days],
        "sec_vol_20_z": zscores(volatility, 252),
        "sec_gap_5_20": gaps(level),
        "gap_mean": [group_mean(members, "ma_gap_5_20") for members in days],
        "gap_std": [
            std(part)
            if len(part := [m["ma_gap_5_20"] for m in members if m["ma_gap_5_20"] is not None]) > 1
            else None
            for members in days
        ],
    }


def oracle(rows):
    """Every feature of every row, by (Date, Code)."""
    by_code: dict[str, list[dict]] = {}
    for row in sorted(rows, key=lambda r: r["Date"]):
        by_code.setdefault(row["Code"], []).append(row)
    cells = {}
    for code, own_rows in by_code.items():
        own = own_oracle(own_rows)
        for t, row in enumerate(own_rows):
            cells[row["Date"], code] = {name: own[name][t] for name in own} | {"sector": row["sector33_code"]}
    dates = sorted({date for date, _ in cells})
    by_day = [[cells[date, code] for code in sorted(by_code) if (date, code) in cells] for date in dates]
    market = market_oracle(by_day)
    sectors = {}
    for s in sorted({c["sector"] for c in cells.values()} - {None}):
        sectors[s] = sector_oracle([[c for c in members if c["sector"] == s] for members in by_day])
    for t, members in enumerate(by_day):
        for cell in members:
            cell |= {name: series[t] for name, series in market.items()}
            missing = dict.fromkeys(next(iter(sectors.values())))
            sector = sectors.get(cell["sector"])
            cell |= missing if sector is None else {name: series[t] for name, series in sector.items()}
    for code, own_rows in by_code.items():
        path = [cells[row["Date"], code] for row in own_rows]
        ys = [c["returns_1d"] for c in path]
        beta = betas(ys, [c["mkt_ret_1d"] for c in path], 60)
        sector_beta = betas(ys, [c["S"] for c in path], 60)
        for t, c in enumerate(path):
            c["beta_60d"] = beta[t]
            c["beta_stability_60d"] = div(1.0, std(last(beta, t, 20)))
            c["alpha_1d"] = calc(lambda r, b, m: r - b * m, ys[t], beta[t], c["mkt_ret_1d"])
            c["alpha_5d"] = calc(lambda r, b, m: r - b * m, c["returns_5d"], beta[t], c["mkt_ret_5d"])
            c["rel_strength_5d"] = calc(lambda r, m: r - m, c["returns_5d"], c["mkt_ret_5d"])
            c["idio_vol_ratio"] = div(c["volatility_20d"], c["mkt_vol_20d"])
            c["trend_align_mkt"] = calc(
                lambda a, b: float(sign(a) == sign(b)), c["ma_gap_5_20"], c["mkt_gap_5_20"]
            )
            c["x_mom_sh_5_mktneu"] = div(c["alpha_5d"], c["volatility_20d"])
            c["alpha_vs_sec_1d"] = calc(lambda r, b, s: r - b * s, ys[t], sector_beta[t], c["S"])
            c["x_rel_sec_mom"] = calc(
                lambda r, s, m: (r - s) * m, c["returns_5d"], c["sec_ret_5d_eq"], c["sec_mom_20"]
            )
            z = div(calc(lambda g, m: g - m, c["ma_gap_5_20"], c["gap_mean"]), c["gap_std"])
            c["x_z_sec_gap_mom"] = calc(lambda z, m: z * m, z, c["sec_mom_20"])
    return cells


@pytest.fixture(scope="module")
def expected() -> dict:
    return oracle(ROWS)


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
    for prices in (tmp_path / "none.parquet", tmp_path / "prices.csv"):
        with pytest.raises(Refusal, match="price file cannot be read"):
            write_dataset(prices, tmp_path / "out.parquet")
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
