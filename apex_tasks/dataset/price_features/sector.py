"""Features of the equal-weight sectors (sector33_code), and of a stock against its own."""

from __future__ import annotations

from apex_tasks.dataset.price_features.basket import Baskets
from apex_tasks.dataset.price_features.market import YEAR_SESSIONS
from apex_tasks.dataset.price_features.own_price import ANNUAL, gap
from apex_tasks.dataset.price_features.rolling import (
    Grid,
    ema,
    rolling_beta,
    rolling_mean,
    rolling_std,
    rolling_zscore,
)
from apex_tasks.dataset.price_features.rows import PriceRows


def sector_features(rows: PriceRows, own: dict[str, Grid]) -> dict[str, Grid]:
    """Sector series at every row, and the stock's part in them: grids `(max_rows, n_stocks)` by name."""
    sectors = Baskets.sectors(rows)
    daily = sectors.mean(own["returns_1d"])
    level = sectors.level(daily)
    volatility = ANNUAL * rolling_std(daily, 20)
    returns_1d = sectors.spread(daily)
    returns_5d = sectors.spread(sectors.mean(own["returns_5d"]))
    momentum = sectors.spread(20 * rolling_mean(daily, 20))
    beta = rolling_beta(own["returns_1d"], returns_1d, 60)
    return {
        "sec_mom_20": momentum,
        "sec_ret_5d_eq": returns_5d,
        "sec_vol_20_z": sectors.spread(rolling_zscore(volatility, YEAR_SESSIONS)),
        "sec_gap_5_20": sectors.spread(gap(ema(level, 5), ema(level, 20))),
        "alpha_vs_sec_1d": own["returns_1d"] - beta * returns_1d,
        "x_rel_sec_mom": (own["returns_5d"] - returns_5d) * momentum,
        "x_z_sec_gap_mom": sectors.zscore(own["ma_gap_5_20"]) * momentum,
    }
