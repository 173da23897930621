"""One rebalance in memory: from scores and the present book to weights and orders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from apex_tasks.dataset.risk_factors import VOLATILITY
from apex_tasks.dataset.schema import CODE, SECTOR
from apex_tasks.market.costs import CostModel
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.capped import capped_rebalance
from apex_tasks.portfolio.hysteresis import Hysteresis
from apex_tasks.portfolio.neutralisation import Neutralised, neutralise
from apex_tasks.portfolio.orders import Orders, estimate_orders
from apex_tasks.portfolio.selection import SCORE, Candidates, rank_table, select_candidates
from apex_tasks.portfolio.weights import TargetWeights, target_weights
from apex_tasks.refusal import Refusal
from apex_tasks.settings import (
    ApexSettings,
    EnhancedSettings,
    LimitSettings,
    Policy,
    SelectionSettings,
)

WEIGHT_TOLERANCE = 1e-9
"""By how much a weight may exceed its limit: the rounding of sums in float64."""


@dataclass(frozen=True, eq=False)
class Session:
    """What is known of a market at the close that decides.

    Attributes
    ----------
    ranked
        `Code`, `Score` (float32, higher is better), `Rank` of all eligible stocks, best first.
    close_jpy, adv_jpy
        Code -> close and daily volume, JPY.
    factors
        `Code`, `sector33_code`, `volatility_60d` of the session; None when neutralisation is off.
    """

    ranked: pd.DataFrame
    close_jpy: Mapping[str, float]
    adv_jpy: Mapping[str, float]
    factors: pd.DataFrame | None = None


@dataclass(frozen=True, eq=False)
class MonthlyPlan:
    """What one rebalance is meant to do.

    Attributes
    ----------
    ranked
        The scores that decided, ranked: the model's own, or the neutralised ones.
    neutralised
        What neutralisation found; None when it is off.
    candidates
        Stocks that may enter the book.
    target
        Weights to trade to.
    current_weights
        Code -> weight before the trades.
    orders
        The trades, estimated at the as-of close, and the book that they lead to.
    """

    ranked: pd.DataFrame
    neutralised: Neutralised | None
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
    session: Session,
    settings: ApexSettings,
    rule: SelectionSettings,
    rebalance_date: dt.date,
) -> MonthlyPlan:
    """Select candidates, weigh them against costs and the present book, and estimate the orders.

    Parameters
    ----------
    current
        Book at the close of the session.
    session
        Scores and prices.
    settings
        Names to hold, policy and options.
    rule
        The candidate gate. Its sign is in the scores already, see `selection.ranked_scores`.
    rebalance_date
        Day of the trades.

    Raises
    ------
    Refusal
        Nothing can be held, or the book is worth nothing.
    """
    top_k, portfolio, enhanced = settings.ranking.top_k, settings.portfolio, settings.enhanced
    ranked, neutralised = session.ranked, None
    if enhanced.neutralisation:
        if session.factors is None:
            raise ValueError("neutralisation needs the session's factors")
        neutralised = _neutralise(ranked, session.factors, enhanced)
        ranked = rank_table(ranked[[CODE]].assign(**{SCORE: neutralised.scores}))
    weights, costs = current.weights(), CostModel()
    candidates = select_candidates(
        ranked[CODE].tolist(),
        ranked[SCORE].to_numpy(),
        np.array([session.close_jpy.get(code, np.nan) for code in ranked[CODE]]),
        top_k=top_k,
        multiplier=portfolio.candidate_multiplier,
        k_ratio=rule.k_ratio,
        k_min=rule.k_min,
        hysteresis=_hysteresis(enhanced, weights),
    )
    if portfolio.policy is Policy.CAPPED:
        target, orders = capped_rebalance(
            current,
            candidates,
            session.close_jpy,
            session.adv_jpy,
            portfolio,
            top_k,
            costs,
            rebalance_date,
        )
    else:
        target = target_weights(
            candidates, weights, current.portfolio_value_jpy, session.adv_jpy, portfolio, top_k, costs
        )
        orders = estimate_orders(
            current, target.weights, session.close_jpy, session.adv_jpy, costs, rebalance_date
        )
    return MonthlyPlan(ranked, neutralised, candidates, target, weights, orders)


def require_within_limits(plan: MonthlyPlan, limits: LimitSettings, rebalance_date: dt.date) -> None:
    """Refuse a plan that goes beyond what any month may, whatever was asked for.

    Judged are the candidates and the book that the orders are expected to lead to.

    Raises
    ------
    Refusal
        One limit or more is broken; the first is described, with the number of all.
    """
    weights = plan.orders.book.weights()
    broken = broken_limits(
        limits,
        names=len(weights),
        largest_weight=max(weights.values(), default=0.0),
        candidates=plan.candidates.kept_count,
    )
    if broken:
        raise Refusal(
            f"the plan goes beyond the limits of every month: {'; '.join(map(str, broken))}",
            expected="; ".join(limit.expected for limit in broken),
            received="; ".join(limit.received for limit in broken),
            where=f"rebalance {rebalance_date}, settings {', '.join(limit.setting for limit in broken)}",
            remedy="Ask for more names, or find out why so few stocks may be held; no parameter moves a limit.",
        )


@dataclass(frozen=True)
class BrokenLimit:
    """One of the setting `limits` that a plan goes beyond."""

    setting: str
    expected: str
    received: str

    def __str__(self) -> str:
        return f"{self.received}, {self.expected}"


def broken_limits(
    limits: LimitSettings, *, names: int, largest_weight: float, candidates: int
) -> tuple[BrokenLimit, ...]:
    """Compare a plan with the limits.

    Parameters
    ----------
    names
        Names held after the trades.
    largest_weight
        Largest of their weights, a fraction of the portfolio.
    candidates
        Stocks that the gate let through.
    """
    judged = (
        (
            names < limits.least_names,
            BrokenLimit("limits.least_names", f"at least {limits.least_names} names", f"{names} names"),
        ),
        (
            not largest_weight <= limits.largest_weight + WEIGHT_TOLERANCE,
            BrokenLimit(
                "limits.largest_weight",
                f"no weight above {limits.largest_weight:.2%}",
                f"a weight of {largest_weight:.2%}",
            ),
        ),
        (
            candidates < limits.least_candidates,
            BrokenLimit(
                "limits.least_candidates",
                f"at least {limits.least_candidates} candidates",
                f"{candidates} candidates",
            ),
        ),
    )
    return tuple(limit for is_broken, limit in judged if is_broken)


def _neutralise(ranked: pd.DataFrame, factors: pd.DataFrame, enhanced: EnhancedSettings) -> Neutralised:
    aligned = factors.set_index(CODE).reindex(ranked[CODE])
    sectors = [sector if isinstance(sector, str) else None for sector in aligned[SECTOR]]
    volatility = aligned[VOLATILITY].to_numpy(dtype=np.float64)
    return neutralise(
        ranked[SCORE].to_numpy(),
        sectors=sectors if any(sectors) else None,
        numeric={VOLATILITY: volatility} if np.isfinite(volatility).any() else None,
        gamma=enhanced.gamma,
        ridge_alpha=enhanced.ridge_alpha,
    )


def _hysteresis(enhanced: EnhancedSettings, weights: Mapping[str, float]) -> Hysteresis | None:
    if not enhanced.hysteresis:
        return None
    return Hysteresis(frozenset(weights), enhanced.entry_k, enhanced.exit_k, enhanced.priority)
