"""What each feature is: name, formula, unit, source columns and the rows it needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """Unit of a feature."""

    FRACTION = "fraction"
    PER_YEAR = "fraction per √year"
    RATIO = "ratio"
    JPY = "JPY"
    SIGMA = "standard deviations"
    POINTS = "points, 0 to 100"
    FLAG = "0 or 1"


@dataclass(frozen=True)
class FeatureDefinition:
    """One feature computed from prices.

    Parameters
    ----------
    name
        Column name in the dataset.
    formula
        How it is computed, in the notation of docs/features.md.
    unit
        Unit of its values.
    sources
        Input columns it depends on; `price` features take AdjustmentClose in place of Close where it exists.
    min_rows
        First row of a stock listed since the first session that has a value (1 = the first row).
    """

    name: str
    formula: str
    unit: Unit
    sources: tuple[str, ...]
    min_rows: int


@dataclass(frozen=True)
class LeftOutFeature:
    """One of the 89 features that prices cannot give.

    Parameters
    ----------
    name
        Column name in the dataset.
    supplier
        The data it is made of.
    """

    name: str
    supplier: str


_PRICE = ("Close",)
_VOLUME = ("Volume",)
_VALUE = ("TurnoverValue", "Volume", "Close")
_SECTOR = ("Close", "sector33_code")

PRICE_FEATURES: tuple[FeatureDefinition, ...] = (
    FeatureDefinition("returns_1d", "P / lag(P, 1) - 1", Unit.FRACTION, _PRICE, 2),
    FeatureDefinition("returns_5d", "P / lag(P, 5) - 1", Unit.FRACTION, _PRICE, 6),
    FeatureDefinition("log_returns_1d", "ln(P / lag(P, 1))", Unit.FRACTION, _PRICE, 2),
    FeatureDefinition("volatility_5d", "√252 · std(returns_1d, 5)", Unit.PER_YEAR, _PRICE, 6),
    FeatureDefinition("volatility_20d", "√252 · std(returns_1d, 20)", Unit.PER_YEAR, _PRICE, 21),
    FeatureDefinition("ema_5", "ema(P, 5)", Unit.JPY, _PRICE, 5),
    FeatureDefinition("ema_20", "ema(P, 20)", Unit.JPY, _PRICE, 20),
    FeatureDefinition("ema_200", "ema(P, 200)", Unit.JPY, _PRICE, 200),
    FeatureDefinition("ma_gap_5_20", "(ema_5 - ema_20) / ema_20", Unit.FRACTION, _PRICE, 20),
    FeatureDefinition("price_to_sma20", "P / mean(P, 20)", Unit.RATIO, _PRICE, 20),
    FeatureDefinition(
        "bb_position", "(P - mean(P, 20) + 2 · std(P, 20)) / (4 · std(P, 20))", Unit.RATIO, _PRICE, 20
    ),
    FeatureDefinition("bb_width", "4 · std(P, 20) / mean(P, 20)", Unit.RATIO, _PRICE, 20),
    FeatureDefinition("volume_ratio_5", "V / mean(V, 5)", Unit.RATIO, _VOLUME, 5),
    FeatureDefinition("volume_ratio_20", "V / mean(V, 20)", Unit.RATIO, _VOLUME, 20),
    FeatureDefinition("turnover_rate", "T / mean(T, 60)", Unit.RATIO, _VALUE, 60),
    FeatureDefinition("mkt_ret_1d", "mean over the market of returns_1d", Unit.FRACTION, _PRICE, 2),
    FeatureDefinition("mkt_ret_5d", "M / lag(M, 5) - 1", Unit.FRACTION, _PRICE, 6),
    FeatureDefinition("mkt_gap_5_20", "(ema(M, 5) - ema(M, 20)) / ema(M, 20)", Unit.FRACTION, _PRICE, 20),
    FeatureDefinition("mkt_vol_20d", "√252 · std(mkt_ret_1d, 20)", Unit.PER_YEAR, _PRICE, 21),
    FeatureDefinition("mkt_bull_200", "M > ema(M, 200)", Unit.FLAG, _PRICE, 200),
    FeatureDefinition("mkt_high_vol", "z(mkt_vol_20d, 252) > 1", Unit.FLAG, _PRICE, 272),
    FeatureDefinition("mkt_ret_1d_z", "z(mkt_ret_1d, 252)", Unit.SIGMA, _PRICE, 253),
    FeatureDefinition("mkt_dd_from_peak", "M / (highest M so far) - 1", Unit.FRACTION, _PRICE, 1),
    FeatureDefinition(
        "beta_60d", "cov(returns_1d, mkt_ret_1d, 60) / var(mkt_ret_1d, 60)", Unit.RATIO, _PRICE, 61
    ),
    FeatureDefinition("alpha_1d", "returns_1d - beta_60d · mkt_ret_1d", Unit.FRACTION, _PRICE, 61),
    FeatureDefinition("alpha_5d", "returns_5d - beta_60d · mkt_ret_5d", Unit.FRACTION, _PRICE, 61),
    FeatureDefinition("rel_strength_5d", "returns_5d - mkt_ret_5d", Unit.FRACTION, _PRICE, 6),
    FeatureDefinition("idio_vol_ratio", "volatility_20d / mkt_vol_20d", Unit.RATIO, _PRICE, 21),
    FeatureDefinition("trend_align_mkt", "sign(ma_gap_5_20) = sign(mkt_gap_5_20)", Unit.FLAG, _PRICE, 20),
    FeatureDefinition("sec_mom_20", "sum(S, 20)", Unit.FRACTION, _SECTOR, 21),
    FeatureDefinition("sec_ret_5d_eq", "mean over the sector of returns_5d", Unit.FRACTION, _SECTOR, 6),
    FeatureDefinition("sec_vol_20_z", "z(√252 · std(S, 20), 252)", Unit.SIGMA, _SECTOR, 272),
    FeatureDefinition("sec_gap_5_20", "(ema(I, 5) - ema(I, 20)) / ema(I, 20)", Unit.FRACTION, _SECTOR, 20),
    FeatureDefinition("returns_10d", "P / lag(P, 10) - 1", Unit.FRACTION, _PRICE, 11),
    FeatureDefinition("log_returns_10d", "ln(P / lag(P, 10))", Unit.FRACTION, _PRICE, 11),
    FeatureDefinition("volatility_60d", "√252 · std(returns_1d, 60)", Unit.PER_YEAR, _PRICE, 61),
    FeatureDefinition("price_to_sma5", "P / mean(P, 5)", Unit.RATIO, _PRICE, 5),
    FeatureDefinition("price_to_sma60", "P / mean(P, 60)", Unit.RATIO, _PRICE, 60),
    FeatureDefinition(
        "close_to_high", "(max(P, 20) - P) / (max(P, 20) - min(P, 20))", Unit.FRACTION, _PRICE, 20
    ),
    FeatureDefinition(
        "close_to_low", "(P - min(P, 20)) / (max(P, 20) - min(P, 20))", Unit.FRACTION, _PRICE, 20
    ),
    FeatureDefinition("realized_volatility", "√(252 · mean(log_returns_1d², 20))", Unit.PER_YEAR, _PRICE, 21),
    FeatureDefinition("log_returns_20d", "ln(P / lag(P, 20))", Unit.FRACTION, _PRICE, 21),
    FeatureDefinition("mkt_bb_bw", "4 · std(M, 20) / mean(M, 20)", Unit.RATIO, _PRICE, 20),
    FeatureDefinition(
        "mkt_bb_pct_b", "(M - mean(M, 20) + 2 · std(M, 20)) / (4 · std(M, 20))", Unit.RATIO, _PRICE, 20
    ),
    FeatureDefinition("mkt_ret_10d", "M / lag(M, 10) - 1", Unit.FRACTION, _PRICE, 11),
    FeatureDefinition("mkt_ret_20d", "M / lag(M, 20) - 1", Unit.FRACTION, _PRICE, 21),
    FeatureDefinition("beta_stability_60d", "1 / std(beta_60d, 20)", Unit.RATIO, _PRICE, 80),
    FeatureDefinition("rsi_14", "100 · G / (G + L)", Unit.POINTS, _PRICE, 15),
    FeatureDefinition("rsi_delta", "rsi_14 - lag(rsi_14, 1)", Unit.POINTS, _PRICE, 16),
    FeatureDefinition("macd", "ema(P, 12) - ema(P, 26)", Unit.JPY, _PRICE, 26),
    FeatureDefinition("macd_signal", "ema(macd, 9)", Unit.JPY, _PRICE, 34),
    FeatureDefinition("macd_histogram", "macd - macd_signal", Unit.JPY, _PRICE, 34),
    FeatureDefinition(
        "alpha_vs_sec_1d", "returns_1d - cov(returns_1d, S, 60) / var(S, 60) · S", Unit.FRACTION, _SECTOR, 61
    ),
    FeatureDefinition("returns_20d", "P / lag(P, 20) - 1", Unit.FRACTION, _PRICE, 21),
    FeatureDefinition("volatility_10d", "√252 · std(returns_1d, 10)", Unit.PER_YEAR, _PRICE, 11),
    FeatureDefinition("x_mom_sh_5", "returns_5d / volatility_20d", Unit.RATIO, _PRICE, 21),
    FeatureDefinition("x_mom_sh_10", "returns_10d / volatility_20d", Unit.RATIO, _PRICE, 21),
    FeatureDefinition("x_mom_sh_5_mktneu", "alpha_5d / volatility_20d", Unit.RATIO, _PRICE, 61),
    FeatureDefinition(
        "x_rel_sec_mom", "(returns_5d - sec_ret_5d_eq) · sec_mom_20", Unit.FRACTION, _SECTOR, 21
    ),
    FeatureDefinition(
        "x_z_sec_gap_mom", "(z of ma_gap_5_20 within the sector) · sec_mom_20", Unit.SIGMA, _SECTOR, 21
    ),
)

_FLOWS = "weekly trading by type of investor, as published by the exchange"
_STATEMENTS = "financial statements and forecasts, from their day of disclosure on"
_MARGIN = "daily margin balances, as published by the exchange"

LEFT_OUT_FEATURES: tuple[LeftOutFeature, ...] = (
    *(
        LeftOutFeature(name, _FLOWS)
        for name in (
            "flow_foreign_net_z",
            "flow_individual_net_z",
            "flow_activity_z",
            "flow_smart_idx",
            "flow_smart_mom4",
            "flow_shock_flag",
            "flow_impulse",
            "flow_days_since",
        )
    ),
    *(
        LeftOutFeature(name, _STATEMENTS)
        for name in (
            "stmt_yoy_sales",
            "stmt_yoy_op",
            "stmt_opm",
            "stmt_progress_op",
            "stmt_rev_fore_op",
            "stmt_imp_statement",
            "stmt_days_since_statement",
        )
    ),
    *(
        LeftOutFeature(name, _FLOWS)
        for name in ("flow_foreign_net_ratio", "flow_individual_net_ratio", "flow_activity_ratio")
    ),
    *(
        LeftOutFeature(name, _STATEMENTS)
        for name in (
            "stmt_yoy_np",
            "stmt_npm",
            "stmt_progress_np",
            "stmt_rev_fore_np",
            "stmt_roe",
            "stmt_roa",
        )
    ),
    LeftOutFeature("smart_money_mom4", _FLOWS),
    LeftOutFeature("dmi_z26_net", f"{_MARGIN}; or its operands dmi_z26_long and dmi_z26_short"),
    LeftOutFeature(
        "dmi_net_to_adv20", f"{_MARGIN}; or its operands dmi_long_to_adv20 and dmi_short_to_adv20"
    ),
    LeftOutFeature("dmi_impulse", _MARGIN),
    LeftOutFeature("dmi_days_since_pub", _MARGIN),
)
