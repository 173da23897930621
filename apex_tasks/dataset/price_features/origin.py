"""Where a dataset's features come from, and what a model trained on others has to know of them.

A name says less than it seems to: the deployed model was trained on columns of the same names, more than half of
which are other quantities. `python -m apex_tasks.dataset.price_features.origin` prints the table of docs/features.md.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from apex_tasks.dataset.price_features.definitions import PRICE_FEATURES

ORIGIN_KEY = b"features"
"""Key in a parquet file's metadata."""

PRICES_ORIGIN = "prices-1"
"""What `apex features` writes under it. The number counts up when a formula changes."""

LEVEL_FEATURES = ("ema_5", "ema_20", "ema_200", "macd", "macd_signal", "macd_histogram")
"""Features in JPY of the adjusted close: a split rescales their past in every file that is fetched after it."""


@dataclass(frozen=True)
class OtherQuantity:
    """A feature whose name means another quantity to the deployed model.

    Attributes
    ----------
    trained_on
        What the deployed model was trained on, in the notation of docs/features.md; X is the close of TOPIX, S the
        median of `returns_1d` over the stock's sector.
    changes_input
        Whether the difference is left after the z-score across stocks (mode `csz`): what is one number for all stocks
        of a day is not.
    """

    name: str
    trained_on: str
    changes_input: bool


_SAME_RANGE = "of the same day: ({}) / (high - low)"

OTHER_QUANTITIES: tuple[OtherQuantity, ...] = (
    OtherQuantity("bb_position", "the same, clipped to 0 .. 1", True),
    OtherQuantity("turnover_rate", "V / shares outstanding without treasury stock", True),
    OtherQuantity("mkt_ret_1d", "X / lag(X, 1) - 1", False),
    OtherQuantity("mkt_ret_5d", "X / lag(X, 5) - 1", False),
    OtherQuantity("mkt_gap_5_20", "(ema(X, 5) - ema(X, 20)) / ema(X, 20)", False),
    OtherQuantity("mkt_vol_20d", "√252 · std(mkt_ret_1d of X, 20)", False),
    OtherQuantity("mkt_bull_200", "X > ema(X, 200)", False),
    OtherQuantity("mkt_high_vol", "z(mkt_vol_20d of X, 252) > 1", False),
    OtherQuantity("mkt_ret_1d_z", "z(mkt_ret_1d of X, 252)", False),
    OtherQuantity("mkt_dd_from_peak", "X / (highest X since the index file begins) - 1", False),
    OtherQuantity(
        "beta_60d", "beta to X's return of the row before, over 60 rows; over 20 until there are 60", True
    ),
    OtherQuantity("alpha_1d", "the same with that beta and X's return", True),
    OtherQuantity("alpha_5d", "the same with that beta and X's return", True),
    OtherQuantity("rel_strength_5d", "returns_5d less X's return of 5 sessions", False),
    OtherQuantity("idio_vol_ratio", "volatility_20d / mkt_vol_20d of X", False),
    OtherQuantity("trend_align_mkt", "sign(ma_gap_5_20) = sign(mkt_gap_5_20 of X)", True),
    OtherQuantity("sec_mom_20", "sum(S, 20) of the median", True),
    OtherQuantity("sec_ret_5d_eq", "S of the median, compounded over 5 sessions", True),
    OtherQuantity("sec_vol_20_z", "z(√252 · std(S, 20), 252) of the median", True),
    OtherQuantity(
        "sec_gap_5_20", "(ema(S, 5) - ema(S, 20)) / ema(S, 20): of the returns, not of an index", True
    ),
    OtherQuantity("close_to_high", _SAME_RANGE.format("high - P"), True),
    OtherQuantity("close_to_low", _SAME_RANGE.format("P - low"), True),
    OtherQuantity(
        "realized_volatility", "√(sum(ln(high / low)², 20) / (4 ln 2)): Parkinson, not a year's", True
    ),
    OtherQuantity("mkt_bb_bw", "the same of X", False),
    OtherQuantity("mkt_bb_pct_b", "the same of X, clipped to 0 .. 1", False),
    OtherQuantity("mkt_ret_10d", "X / lag(X, 10) - 1", False),
    OtherQuantity("mkt_ret_20d", "X / lag(X, 20) - 1", False),
    OtherQuantity("beta_stability_60d", "the same of that beta", True),
    OtherQuantity("rsi_14", "averages of rate 2/15 instead of 1/14", True),
    OtherQuantity("rsi_delta", "the same of that rsi_14", True),
    OtherQuantity("alpha_vs_sec_1d", "the same with S of the median, from the first row on", True),
    OtherQuantity("x_mom_sh_5_mktneu", "the same of that alpha_5d", True),
    OtherQuantity("x_rel_sec_mom", "the same of the median's sec_ret_5d_eq and sec_mom_20", True),
    OtherQuantity("x_z_sec_gap_mom", "the same of the median's sec_mom_20, z with ddof 0", True),
)


def feature_origin(schema: pa.Schema) -> str | None:
    """What a dataset's metadata name as the origin of its features; None where they name none."""
    named = (schema.metadata or {}).get(ORIGIN_KEY)
    return None if named is None else named.decode(errors="replace")


def origin_warnings(dataset: str | None, bundle: str | None, features: Collection[str]) -> tuple[str, ...]:
    """What to know before a model scores features of this origin.

    Parameters
    ----------
    dataset, bundle
        Origins that the dataset and the bundle's manifest name.
    features
        Features of the bundle that the dataset supplies.

    Returns
    -------
    tuple of str
        Empty where the dataset names no origin, or the one that the bundle was trained on.
    """
    if dataset is None or dataset == bundle:
        return ()
    trained = "does not say what it was trained on" if bundle is None else f"was trained on {bundle}"
    text = f"the dataset's features are of origin {dataset}, and the bundle {trained}"
    if dataset == PRICES_ORIGIN:
        other = [quantity for quantity in OTHER_QUANTITIES if quantity.name in features]
        changing = [quantity.name for quantity in other if quantity.changes_input]
        text += (
            f": {len(other)} features may be other quantities under the same names, {len(changing)} of them also "
            f"after the z-score ({', '.join(changing)}); docs/features.md has the table"
        )
    return (text,)


def other_quantities_table() -> str:
    """Markdown table of what the deployed model was trained on instead."""
    formulas = {feature.name: feature.formula for feature in PRICE_FEATURES}
    head = ("Feature", "`apex features`", "The deployed model was trained on", "Changes its input in `csz`")
    rows = [
        (f"`{q.name}`", formulas[q.name], q.trained_on, "yes" if q.changes_input else "no")
        for q in OTHER_QUANTITIES
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ("---",) * len(head), *rows])


if __name__ == "__main__":
    sys.stdout.write(f"{other_quantities_table()}\n")
