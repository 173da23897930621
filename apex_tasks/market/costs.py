"""What a trade on the Tokyo Stock Exchange costs: tiered commission plus volume-dependent slippage."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

BPS = 1e4
"""Basis points in one."""


@dataclass(frozen=True)
class CommissionTier:
    """Commission of the trades up to a value.

    Parameters
    ----------
    up_to_jpy
        Largest trade value of the tier, inclusive, in JPY.
    rate
        Commission as a fraction of the trade value.
    min_jpy, max_jpy
        Bounds of the commission in JPY.
    """

    up_to_jpy: float
    rate: float
    min_jpy: float
    max_jpy: float


V0_1_0_TIERS = (
    CommissionTier(up_to_jpy=5_000_000, rate=0.00055, min_jpy=55, max_jpy=550),
    CommissionTier(up_to_jpy=10_000_000, rate=0.00033, min_jpy=0, max_jpy=1_650),
    CommissionTier(up_to_jpy=20_000_000, rate=0.00022, min_jpy=0, max_jpy=3_300),
    CommissionTier(up_to_jpy=math.inf, rate=0.00011, min_jpy=0, max_jpy=11_000),
)
"""The tiers of the deployed v0.1.0, with which its benchmark up to 2025-10-31 was computed."""


@dataclass(frozen=True)
class TradeCost:
    """Cost of each trade; all arrays have the shape of the trades.

    Parameters
    ----------
    commission_jpy, slippage_jpy, total_jpy
        Cost in JPY.
    bps
        Total cost in basis points of the trade value; 0 for a trade of nothing.
    """

    commission_jpy: NDArray[np.float64]
    slippage_jpy: NDArray[np.float64]
    total_jpy: NDArray[np.float64]
    bps: NDArray[np.float64]


@dataclass(frozen=True)
class CostModel:
    """Commission by tier, and slippage that grows with the share of a day's volume.

    The slippage of a trade of value V (JPY) is ``min(base + impact * V / ADV, cap)`` bps. Buys and sells cost
    the same. The defaults are those of the deployed v0.1.0, last compared with it in its benchmark up to
    2025-10-31; they are a model of costs, not the price list of a broker.

    Parameters
    ----------
    tiers
        Commission tiers by ascending value; the last has no upper end.
    slippage_base_bps
        Slippage of a trade that is nothing beside the day's volume, default 5 bps.
    slippage_impact_bps
        Slippage added when the trade is as large as the ADV, default 100 bps.
    slippage_cap_bps
        Most slippage, default 20 bps.
    unknown_participation
        Share of the ADV that a trade is taken to be where the ADV is unknown, default 0.01.

    Examples
    --------
    A 35th of ten million JPY in a liquid name costs 10.5 bps:

    >>> cost = CostModel().trade_cost(10_000_000 / 35, 1e9)
    >>> print(f"{cost.commission_jpy:.2f} + {cost.slippage_jpy:.2f} JPY = {cost.bps:.4f} bps")
    157.14 + 143.67 JPY = 10.5286 bps

    With unknown and with vanishing volume:

    >>> CostModel().trade_cost([285_714.29, 285_714.29], [0.0, 1.0]).bps.round(4)
    array([11.5, 25.5])
    """

    tiers: tuple[CommissionTier, ...] = V0_1_0_TIERS
    slippage_base_bps: float = 5.0
    slippage_impact_bps: float = 100.0
    slippage_cap_bps: float = 20.0
    unknown_participation: float = 0.01

    def __post_init__(self) -> None:
        bounds = [tier.up_to_jpy for tier in self.tiers]
        if not bounds or bounds[-1] != math.inf or any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"tiers must ascend and end at infinity: received={bounds}")

    def commission_jpy(self, value_jpy: ArrayLike) -> NDArray[np.float64]:
        """Commission of trades.

        Parameters
        ----------
        value_jpy
            Absolute trade values in JPY, any shape.

        Returns
        -------
        ndarray of float64
            Commission in JPY, same shape; 0 for a value of 0.

        Raises
        ------
        ValueError
            A value is negative or not finite.
        """
        value = _trade_values(value_jpy)
        up_to, rate, least, most = np.array([astuple(tier) for tier in self.tiers], dtype=np.float64).T
        tier = np.searchsorted(up_to, value)
        return np.where(value > 0, np.clip(value * rate[tier], least[tier], most[tier]), 0.0)

    def slippage_bps(self, value_jpy: ArrayLike, adv_jpy: ArrayLike) -> NDArray[np.float64]:
        """Slippage of trades in basis points of their value.

        Parameters
        ----------
        value_jpy
            Absolute trade values in JPY.
        adv_jpy
            Daily volume of each stock in JPY, broadcast against the values; NaN, 0 or less means unknown.

        Returns
        -------
        ndarray of float64
            Slippage in bps, in the broadcast shape.

        Raises
        ------
        ValueError
            A trade value is negative or not finite, or a volume is infinite.
        """
        value, adv = np.broadcast_arrays(_trade_values(value_jpy), np.asarray(adv_jpy, dtype=np.float64))
        if np.isinf(adv).any():
            raise ValueError("adv_jpy: expected=finite or unknown (NaN), received=inf")
        known = adv > 0
        with np.errstate(over="ignore"):  # an almost empty volume is capped like any other
            participation = np.where(known, value / np.where(known, adv, 1.0), self.unknown_participation)
        return np.minimum(
            self.slippage_base_bps + self.slippage_impact_bps * participation, self.slippage_cap_bps
        )

    def trade_cost(self, value_jpy: ArrayLike, adv_jpy: ArrayLike) -> TradeCost:
        """Commission and slippage of trades; takes and refuses the same as `slippage_bps`."""
        slippage_bps = self.slippage_bps(value_jpy, adv_jpy)
        value = np.broadcast_to(_trade_values(value_jpy), slippage_bps.shape)
        commission = self.commission_jpy(value)
        slippage = value * slippage_bps / BPS
        total = commission + slippage
        bps = np.divide(total * BPS, value, out=np.zeros_like(total), where=value > 0)
        return TradeCost(commission, slippage, total, bps)


def _trade_values(value_jpy: ArrayLike) -> NDArray[np.float64]:
    value = np.asarray(value_jpy, dtype=np.float64)
    if not (np.isfinite(value) & (value >= 0)).all():
        wrong = value[~(np.isfinite(value) & (value >= 0))]
        raise ValueError(f"value_jpy: expected=finite and >= 0, received={wrong.flat[0]}")
    return value
