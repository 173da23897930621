"""One rebalance in memory: from scores and the present book to weights and orders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from apex_tasks.dataset.schema import CODE
from apex_tasks.market.costs import CostModel
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.capped import capped_rebalance
from apex_tasks.portfolio.orders import Orders, estimate_orders
from apex_tasks.portfolio.selection import Candidates, select_candidates
from apex_tasks.portfolio.weights import TargetWeights, target_weights
from apex_tasks.settings import Policy, PortfolioSettings, SelectionSettings


@dataclass(frozen=True)
class MonthlyPlan:
    """What one rebalance is meant to do.

    Attributes
    ----------
    candidates
        Stocks that may enter the book.
    target
        Weights to trade to.
    current_weights
        Code -> weight before the trades.
    orders
        The trades, reckoned at the as-of close, and the book that they lead to.
    """

    candidates: Candidates
    target: TargetWeights
    current_weights: Mapping[str, float]
    orders: Orders

    @property
    def first_build(self) -> bool:
        """Nothing is held before the trades."""
        return not self.current_weights


def plan_month(
    current: Book,
    ranked: pd.DataFrame,
    close_jpy: Mapping[str, float],
    adv_jpy: Mapping[str, float],
    *,
    top_k: int,
    rule: SelectionSettings,
    portfolio: PortfolioSettings,
    rebalance_date: dt.date,
) -> MonthlyPlan:
    """Select candidates, weigh them against costs and the present book, and estimate the orders.

    Parameters
    ----------
    current
        Book at the as-of close.
    ranked
        `Code`, `Score` (float32) of all eligible stocks.
    close_jpy, adv_jpy
        Code -> close and daily volume of the as-of session, JPY.
    top_k
        Names to hold.
    rule
        The candidate gate.
    portfolio
        Policy and its limits.
    rebalance_date
        Day of the trades.

    Raises
    ------
    Refusal
        Nothing can be held, or the book is worth nothing.
    """
    candidates = select_candidates(
        ranked[CODE].tolist(),
        ranked["Score"].to_numpy(),
        np.array([close_jpy.get(code, np.nan) for code in ranked[CODE]]),
        top_k=top_k,
        multiplier=portfolio.candidate_multiplier,
        k_ratio=rule.k_ratio,
        k_min=rule.k_min,
        sign=rule.sign,
    )
    weights, costs = current.weights(), CostModel()
    if portfolio.policy is Policy.CAPPED:
        target, orders = capped_rebalance(
            current, candidates, close_jpy, adv_jpy, portfolio, top_k, costs, rebalance_date
        )
    else:
        target = target_weights(
            candidates, weights, current.portfolio_value_jpy, adv_jpy, portfolio, top_k, costs
        )
        orders = estimate_orders(current, target.weights, close_jpy, adv_jpy, costs, rebalance_date)
    return MonthlyPlan(candidates, target, weights, orders)
