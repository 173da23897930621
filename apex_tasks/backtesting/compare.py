"""The policy and its options side by side, on the same scores, prices and period."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from apex_tasks.backtesting.backtest import Market, backtest
from apex_tasks.backtesting.result import BacktestResult
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.parameters import with_parameters
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Policy, Priority
from apex_tasks.statistics.bootstrap import Interval, bootstrap_difference, bootstrap_interval
from apex_tasks.statistics.deflated_sharpe import deflated_sharpe_ratio
from apex_tasks.statistics.performance import Performance, annualized_sharpe

SEED = 20240104
BASELINE = "baseline"
_PLAIN = {"policy": Policy.BASELINE, "hysteresis": False, "neutralisation": False, "priority": Priority.RANK}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    BASELINE: _PLAIN,
    "hysteresis": {**_PLAIN, "hysteresis": True},
    "hysteresis, held": {**_PLAIN, "hysteresis": True, "priority": Priority.HELD},
    "neutralisation": {**_PLAIN, "neutralisation": True},
    "both": {**_PLAIN, "hysteresis": True, "neutralisation": True},
    "capped": {**_PLAIN, "policy": Policy.CAPPED},
}
"""Name -> parameters, each beside the settings in force."""


class VariantRow(FrozenModel):
    """One variant, beside the one that it is compared with: the baseline, or a benchmark.

    Attributes
    ----------
    name
        What to call it.
    performance
        See `statistics.performance`.
    mean_turnover, mean_positions, mean_cash_share
        Means over the rebalances after the first (one-way turnover), over all of them, and over the sessions.
    sharpe_interval
        95 % interval of the Sharpe ratio by the block bootstrap; None for too short a period.
    sharpe_difference
        The same of its difference to the one compared with, on the same resampled days; None for that one itself,
        where the two are the same every day, and for too short a period.
    """

    name: str
    performance: Performance
    mean_turnover: float | None
    mean_positions: float
    mean_cash_share: float
    sharpe_interval: Interval | None
    sharpe_difference: Interval | None


class PolicyComparison(FrozenModel):
    """All variants, the baseline first.

    Attributes
    ----------
    best
        Variant with the highest Sharpe ratio.
    deflated_sharpe
        Probability that its true Sharpe ratio is above what the best of so many tries has by luck, all variants
        counted as independent (they are not, so this is cautious); None where it cannot be judged.
    """

    synthetic: bool
    variants: tuple[VariantRow, ...]
    best: str | None
    deflated_sharpe: float | None
    settings: dict[str, Any]
    hashes: dict[str, str]
    warnings: tuple[str, ...]


def compare(market: Market) -> PolicyComparison:
    """Replay the period with every variant.

    Raises
    ------
    Refusal
        See `backtest`: variants share scores and supply, so what refuses one refuses all.
    """
    results = {
        name: backtest(market, with_parameters(market.request.settings, parameters))
        for name, parameters in VARIANTS.items()
    }
    base = results[BASELINE]
    returns = {name: returns_pct(result) for name, result in results.items()}
    sharpes = {name: result.performance.sharpe_ratio for name, result in results.items()}
    known = {name: sharpe for name, sharpe in sharpes.items() if sharpe is not None}
    best = max(known, key=lambda name: known[name]) if known else None
    return PolicyComparison(
        synthetic=base.synthetic,
        variants=tuple(variant_row(name, result, base) for name, result in results.items()),
        best=best,
        deflated_sharpe=_deflated(best, returns),
        settings=base.settings,
        hashes=base.hashes,
        warnings=base.warnings,
    )


def variant_row(name: str, result: BacktestResult, base: BacktestResult) -> VariantRow:
    """Measure a variant, and its difference to another of the same period."""
    returns = returns_pct(result)
    later = result.rebalances[1:]
    return VariantRow(
        name=name,
        performance=result.performance,
        mean_turnover=float(np.mean([row.turnover for row in later])) if later else None,
        mean_positions=float(np.mean([row.positions for row in result.rebalances])),
        mean_cash_share=float(np.mean([row.cash / row.portfolio_value for row in result.daily])),
        sharpe_interval=_interval(returns),
        sharpe_difference=_difference(returns, returns_pct(base)),
    )


def returns_pct(result: BacktestResult) -> npt.NDArray[np.float64]:
    """Daily returns in percent, without the first state's."""
    return np.array([row.daily_return for row in result.daily[1:]])


def _interval(returns: npt.NDArray[np.float64]) -> Interval | None:
    try:
        return bootstrap_interval(returns, annualized_sharpe, seed=SEED)
    except Refusal:
        return None


def _difference(returns: npt.NDArray[np.float64], base_returns: npt.NDArray[np.float64]) -> Interval | None:
    if len(returns) != len(base_returns) or np.array_equal(returns, base_returns):
        return None
    try:
        return bootstrap_difference(returns, base_returns, annualized_sharpe, seed=SEED)
    except Refusal:
        return None


def _deflated(best: str | None, returns: Mapping[str, npt.NDArray[np.float64]]) -> float | None:
    if best is None:
        return None
    try:
        return deflated_sharpe_ratio(returns[best], list(returns.values()))
    except Refusal:
        return None
