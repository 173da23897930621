"""Synthetic investor-flow, financial-statement and margin columns, some of which show the planted alpha."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from apex_tasks.demo.price_paths import SyntheticMarket

Floats = NDArray[np.float64]

ALPHA_LOADINGS: Mapping[str, float] = {
    "flow_foreign_net_z": 0.5,
    "flow_individual_net_z": -0.35,
    "stmt_yoy_op": 0.35,
    "stmt_rev_fore_op": 0.5,
    "dmi_z26_short": -0.3,
}
"""Correlation of a column's published value with the alpha of its publication session.

The rest of each value is noise, new with every publication. Columns made from these carry the signal on:
ratios, differences, `flow_smart_idx`, `smart_money_mom4`.
"""

FLOW_INTERVAL_SESSIONS = 5
STATEMENT_INTERVAL_SESSIONS = 61
MARGIN_INTERVAL_SESSIONS = 5
WITHOUT_OPERATING_PROFIT = ("7050", "7150")
"""Sectors (banks, insurers) that report no operating profit: their `stmt_*op*` columns are null."""

WITHOUT_FORECAST_SHARE = 0.1
WITHOUT_MARGIN_SHARE = 0.35
"""Shares of stocks that publish no forecast, and that are not lent: their columns are null throughout."""


def published_columns(market: SyntheticMarket, seed: int) -> dict[str, NDArray[np.float32]]:
    """Values known on each session, as `(n_sessions, n_stocks)` float32; NaN where nothing is published yet.

    Flows and margin balances come out every fifth session for all stocks, statements every 61 sessions on a
    day of each stock's own. A column keeps its value until the next publication and uses nothing later.
    The margin columns are the operands (long, short) that the feature aliases take the net from.
    """
    flow, statement, margin = (
        np.random.default_rng(child) for child in np.random.SeedSequence([seed, 1]).spawn(3)
    )
    columns = {
        **_flows(market, flow),
        **_statements(market, statement),
        **_margins(market, margin),
    }
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _flows(market: SyntheticMarket, rng: np.random.Generator) -> dict[str, Floats]:
    published = _last_publication(market, FLOW_INTERVAL_SESSIONS, 0)
    foreign = _show(market, rng, "flow_foreign_net_z", published)
    individual = _show(market, rng, "flow_individual_net_z", published)
    activity = _noise(rng, published)
    smart = foreign - individual
    return {
        "flow_foreign_net_z": foreign,
        "flow_individual_net_z": individual,
        "flow_activity_z": activity,
        "flow_smart_idx": smart,
        "flow_smart_mom4": _change(smart, 4 * FLOW_INTERVAL_SESSIONS),
        "flow_shock_flag": (np.abs(foreign) > 2.0).astype(float),
        "flow_impulse": _change(foreign, FLOW_INTERVAL_SESSIONS),
        "flow_days_since": _age(published),
        "flow_foreign_net_ratio": 0.02 * foreign,
        "flow_individual_net_ratio": 0.03 * individual,
        "flow_activity_ratio": np.exp(0.3 * activity),
        "smart_money_mom4": _mean_of_last(smart, 4, FLOW_INTERVAL_SESSIONS),
    }


def _statements(market: SyntheticMarket, rng: np.random.Generator) -> dict[str, Floats]:
    stocks = len(market.codes)
    offset = rng.integers(0, STATEMENT_INTERVAL_SESSIONS, stocks)
    published = _last_publication(market, STATEMENT_INTERVAL_SESSIONS, offset)
    quarter = (published - offset) // STATEMENT_INTERVAL_SESSIONS + rng.integers(0, 4, stocks)
    margin = 0.07 + 0.04 * rng.standard_normal(stocks)
    growth = _show(market, rng, "stmt_yoy_op", published)
    revision = _show(market, rng, "stmt_rev_fore_op", published)
    progress = 0.25 * (quarter % 4 + 1)
    operating = {
        "stmt_yoy_op": 0.08 + 0.25 * growth,
        "stmt_opm": margin + 0.01 * growth,
        "stmt_progress_op": progress + 0.05 * _noise(rng, published),
        "stmt_rev_fore_op": 0.06 * revision,
    }
    operating = {
        name: np.where(np.isin(market.sectors, WITHOUT_OPERATING_PROFIT), np.nan, values)
        for name, values in operating.items()
    }
    columns = {
        "stmt_yoy_sales": 0.04 + 0.10 * (0.4 * growth + 0.9 * _noise(rng, published)),
        **operating,
        "stmt_imp_statement": _change(growth, STATEMENT_INTERVAL_SESSIONS),
        "stmt_days_since_statement": _age(published),
        "stmt_yoy_np": 0.08 + 0.35 * (0.7 * growth + 0.7 * _noise(rng, published)),
        "stmt_npm": 0.65 * margin + 0.01 * _noise(rng, published),
        "stmt_progress_np": progress + 0.06 * _noise(rng, published),
        "stmt_rev_fore_np": 0.08 * (0.8 * revision + 0.6 * _noise(rng, published)),
        "stmt_roe": 0.08 + 0.8 * (margin - 0.07) + 0.01 * _noise(rng, published),
        "stmt_roa": 0.04 + 0.4 * (margin - 0.07) + 0.005 * _noise(rng, published),
    }
    unpublished = published < _first_row(market)
    no_forecast = rng.random(stocks) < WITHOUT_FORECAST_SHARE
    return {
        name: np.where(
            unpublished | (no_forecast & ("_fore_" in name or "_progress_" in name)), np.nan, values
        )
        for name, values in columns.items()
    }


def _margins(market: SyntheticMarket, rng: np.random.Generator) -> dict[str, Floats]:
    published = _last_publication(market, MARGIN_INTERVAL_SESSIONS, 2)
    long = _noise(rng, published)
    short = _show(market, rng, "dmi_z26_short", published)
    columns = {
        "dmi_z26_long": long,
        "dmi_z26_short": short,
        "dmi_long_to_adv20": 2.0 * np.exp(0.5 * long),
        "dmi_short_to_adv20": 0.8 * np.exp(0.5 * short),
        "dmi_impulse": _change(long - short, MARGIN_INTERVAL_SESSIONS),
        "dmi_days_since_pub": _age(published),
    }
    hidden = (published < 0) | (rng.random(len(market.codes)) < WITHOUT_MARGIN_SHARE)
    return {name: np.where(hidden, np.nan, values) for name, values in columns.items()}


def _last_publication(
    market: SyntheticMarket, interval: int, offset: int | NDArray[np.int64]
) -> NDArray[np.int64]:
    """Session index of each stock's latest publication; negative before the first."""
    shape = market.alpha.shape
    at = np.broadcast_to(np.arange(shape[0])[:, None] - offset, shape)
    return at - at % interval + offset


def _show(
    market: SyntheticMarket, rng: np.random.Generator, column: str, published: NDArray[np.int64]
) -> Floats:
    """Alpha as of the publication, hidden in noise: unit variance, correlation `ALPHA_LOADINGS[column]`."""
    loading = ALPHA_LOADINGS[column]
    alpha = np.take_along_axis(market.alpha, np.maximum(published, 0), axis=0)
    return loading * alpha + np.sqrt(1 - loading**2) * _noise(rng, published)


def _noise(rng: np.random.Generator, published: NDArray[np.int64]) -> Floats:
    """Standard normal, drawn again at every publication and kept until the next."""
    draws = rng.standard_normal(published.shape)
    return np.take_along_axis(draws, np.maximum(published, 0), axis=0)


def _change(values: Floats, sessions: int) -> Floats:
    change = np.full_like(values, np.nan)
    change[sessions:] = values[sessions:] - values[:-sessions]
    return change


def _mean_of_last(values: Floats, publications: int, interval: int) -> Floats:
    mean = np.full_like(values, np.nan)
    since = (publications - 1) * interval
    mean[since:] = sum(values[since - k * interval : len(values) - k * interval] for k in range(publications))
    return mean / publications


def _age(published: NDArray[np.int64]) -> Floats:
    return np.arange(len(published))[:, None] - published.astype(float)


def _first_row(market: SyntheticMarket) -> NDArray[np.int64]:
    """Session index of each stock's first row, `(n_stocks,)`: a new listing has published nothing before."""
    return np.asarray(market.listed.argmax(axis=0))
