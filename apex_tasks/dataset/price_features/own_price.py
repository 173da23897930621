"""Features of a stock from its own price and volume alone."""

from __future__ import annotations

import numpy as np

from apex_tasks.dataset.price_features.rolling import (
    Grid,
    ema,
    lag,
    ratio,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_std,
    smooth,
)
from apex_tasks.dataset.price_features.rows import PriceRows

ANNUAL = np.sqrt(252)
_RSI_ROWS = 14


def own_price_features(rows: PriceRows) -> dict[str, Grid]:
    """Returns, spreads, averages and oscillators: grids `(max_rows, n_stocks)` by feature name."""
    price = rows.price
    returns = {n: price / lag(price, n) - 1 for n in (1, 5, 10, 20)}
    logs = {n: np.log(price / lag(price, n)) for n in (1, 10, 20)}
    averages = {span: ema(price, span) for span in (5, 12, 20, 26, 200)}
    position, width = bollinger(price)
    highest, lowest = rolling_max(price, 20), rolling_min(price, 20)
    rsi = _rsi(price)
    macd = averages[12] - averages[26]
    signal = ema(macd, 9)
    return {
        **{f"returns_{n}d": grid for n, grid in returns.items()},
        **{f"log_returns_{n}d": grid for n, grid in logs.items()},
        **{f"volatility_{n}d": ANNUAL * rolling_std(returns[1], n) for n in (5, 10, 20, 60)},
        "realized_volatility": ANNUAL * np.sqrt(rolling_mean(logs[1] ** 2, 20)),
        **{f"ema_{span}": averages[span] for span in (5, 20, 200)},
        "ma_gap_5_20": gap(averages[5], averages[20]),
        **{f"price_to_sma{n}": price / rolling_mean(price, n) for n in (5, 20, 60)},
        "bb_position": position,
        "bb_width": width,
        **{f"volume_ratio_{n}": ratio(rows.volume, rolling_mean(rows.volume, n)) for n in (5, 20)},
        "turnover_rate": ratio(rows.value_jpy, rolling_mean(rows.value_jpy, 60)),
        "close_to_high": ratio(highest - price, highest - lowest),
        "close_to_low": ratio(price - lowest, highest - lowest),
        "rsi_14": rsi,
        "rsi_delta": rsi - lag(rsi, 1),
        "macd": macd,
        "macd_signal": signal,
        "macd_histogram": macd - signal,
        "x_mom_sh_5": ratio(returns[5], ANNUAL * rolling_std(returns[1], 20)),
        "x_mom_sh_10": ratio(returns[10], ANNUAL * rolling_std(returns[1], 20)),
    }


def gap(fast: Grid, slow: Grid) -> Grid:
    """Distance of a fast average from a slow one, as a fraction of the slow one."""
    return (fast - slow) / slow


def bollinger(level: Grid) -> tuple[Grid, Grid]:
    """Position in, and relative width of, the band of 2 standard deviations about the mean of 20 rows."""
    middle, spread = rolling_mean(level, 20), rolling_std(level, 20)
    return ratio(level - (middle - 2 * spread), 4 * spread), 4 * spread / middle


def _rsi(price: Grid) -> Grid:
    change = price - lag(price, 1)
    gain, loss = (smooth(np.maximum(side, 0.0), 1 / _RSI_ROWS, _RSI_ROWS) for side in (change, -change))
    return 100 * ratio(gain, gain + loss)
