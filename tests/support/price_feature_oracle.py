"""Price features by plain loops, and a small market to compare them on."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pyarrow as pa

from apex_tasks.dataset.price_features import (
    PRICE_FEATURES,
)

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
