"""Features of the equal-weight market, and of a stock against it."""

from __future__ import annotations

import numpy as np

from apex_tasks.dataset.price_features.basket import Baskets
from apex_tasks.dataset.price_features.own_price import ANNUAL, bollinger, gap
from apex_tasks.dataset.price_features.rolling import (
    Grid,
    ema,
    flag,
    lag,
    ratio,
    rolling_beta,
    rolling_std,
    rolling_zscore,
)
from apex_tasks.dataset.price_features.rows import PriceRows

# One year of sessions: what today's market is compared with.
YEAR_SESSIONS = 252


def market_features(rows: PriceRows, own: dict[str, Grid]) -> dict[str, Grid]:
    """Market series at every row, and the stock's part in them: grids `(max_rows, n_stocks)` by name."""
    market = Baskets.market(rows)
    grids = {name: market.spread(series) for name, series in _series(market, own["returns_1d"]).items()}
    beta = rolling_beta(own["returns_1d"], grids["mkt_ret_1d"], 60)
    alpha_5d = own["returns_5d"] - beta * grids["mkt_ret_5d"]
    trend, market_trend = own["ma_gap_5_20"], grids["mkt_gap_5_20"]
    return {
        **grids,
        "beta_60d": beta,
        "beta_stability_60d": ratio(np.ones_like(beta), rolling_std(beta, 20)),
        "alpha_1d": own["returns_1d"] - beta * grids["mkt_ret_1d"],
        "alpha_5d": alpha_5d,
        "rel_strength_5d": own["returns_5d"] - grids["mkt_ret_5d"],
        "idio_vol_ratio": ratio(own["volatility_20d"], grids["mkt_vol_20d"]),
        "trend_align_mkt": flag(np.sign(trend) == np.sign(market_trend), trend, market_trend),
        "x_mom_sh_5_mktneu": ratio(alpha_5d, own["volatility_20d"]),
    }


def _series(market: Baskets, returns_1d: Grid) -> dict[str, Grid]:
    """Series of the market `(n_sessions, 1)` by feature name."""
    daily = market.mean(returns_1d)
    level = market.level(daily)
    volatility = ANNUAL * rolling_std(daily, 20)
    volatility_z = rolling_zscore(volatility, YEAR_SESSIONS)
    slow = ema(level, 200)
    position, width = bollinger(level)
    return {
        "mkt_ret_1d": daily,
        **{f"mkt_ret_{n}d": level / lag(level, n) - 1 for n in (5, 10, 20)},
        "mkt_ret_1d_z": rolling_zscore(daily, YEAR_SESSIONS),
        "mkt_gap_5_20": gap(ema(level, 5), ema(level, 20)),
        "mkt_vol_20d": volatility,
        "mkt_high_vol": flag(volatility_z > 1, volatility_z),
        "mkt_bull_200": flag(level > slow, slow),
        "mkt_dd_from_peak": level / np.fmax.accumulate(level, axis=0) - 1,
        "mkt_bb_pct_b": position,
        "mkt_bb_bw": width,
    }
