"""Target weights of the baseline policy: the deployed v0.1.0's answer to "how much of which name"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from apex_tasks.market.costs import BPS, CostModel
from apex_tasks.portfolio.selection import Candidates
from apex_tasks.portfolio.turnover import one_way_turnover
from apex_tasks.refusal import Refusal
from apex_tasks.settings import PortfolioSettings

RELAXED_LIMIT = 1.0
RELAXED_MIN_ALPHA = 0.05


class Note(StrEnum):
    """What a policy had to give up to arrive at weights."""

    TURNOVER_RELAXED = "turnover_constraint_relaxed"
    FALLBACK_EQUAL = "fallback_equal_weights"
    FIRST_BUILD = "first_build_exceeds_turnover_limit"
    FEWER_NAMES = "fewer_than_top_k_names"
    MORE_NAMES = "more_than_top_k_names"
    NEGATIVE_CASH = "cash_still_negative"


@dataclass(frozen=True)
class TargetWeights:
    """The weights to trade to, and how they came about.

    Parameters
    ----------
    weights
        Code -> weight, by Code; they sum to 1, or less where a policy keeps cash.
    turnover_unconstrained
        One-way turnover of a full step to the equal-weighted target.
    turnover
        One-way turnover of the step to `weights`.
    alpha
        Length of the step: 1 reaches the target, less leaves old names in the book; None: no single step.
    dropped_min_weight
        Names left out because equal weights would have been below the least weight.
    dropped_turnover
        New names left out for the limits on trading: the baseline's shortened step would have put them below
        the least weight.
    score_penalties
        Code -> round-trip cost taken off the score, all candidates in rank order; 0 for a held name.
    adjusted_scores
        Code -> score less penalty, all candidates in rank order.
    notes
        What the policy had to give up.
    """

    weights: Mapping[str, float]
    turnover_unconstrained: float
    turnover: float
    alpha: float | None
    dropped_min_weight: tuple[str, ...]
    dropped_turnover: tuple[str, ...]
    score_penalties: Mapping[str, float]
    adjusted_scores: Mapping[str, float]
    notes: tuple[Note, ...]


def target_weights(
    candidates: Candidates,
    current_weights: Mapping[str, float],
    portfolio_value_jpy: float,
    adv_jpy: Mapping[str, float | None],
    settings: PortfolioSettings,
    top_k: int,
    costs: CostModel,
) -> TargetWeights:
    """Weights of the baseline policy.

    Equal weights of the `top_k` best candidates after trading costs, approached only as far as the turnover
    limit allows. docs/portfolio.md states the algorithm and what follows from it.

    Parameters
    ----------
    candidates
        Stocks that may enter the book; those past ``round(top_k * candidate_multiplier)`` are ignored.
    current_weights
        Code -> weight of what is held; a code that is here counts as held.
    portfolio_value_jpy
        Cash and positions in JPY; sizes the trades whose costs are the penalties.
    adv_jpy
        Code -> daily volume in JPY; missing, None, NaN, 0 or less is unknown.
    settings
        Limits and tolerances.
    top_k
        Names to aim at.
    costs
        Cost model of the penalties.

    Raises
    ------
    Refusal
        There is no candidate.
    ValueError
        The portfolio value is negative or not finite.
    """
    pool = score_after_costs(
        candidates, current_weights, portfolio_value_jpy, adv_jpy, settings, top_k, costs
    )
    chosen = list(pool.best_first[:top_k])
    too_small: list[str] = []
    while 1 / len(chosen) + settings.epsilon < settings.min_weight:
        too_small.append(chosen.pop())

    notes: tuple[Note, ...] = ()
    step = _approach(
        chosen, current_weights, pool.adjusted_scores, settings, settings.turnover_limit, settings.min_alpha
    )
    if not step.weights:
        notes = (Note.TURNOVER_RELAXED,)
        step = _approach(
            chosen, current_weights, pool.adjusted_scores, settings, RELAXED_LIMIT, RELAXED_MIN_ALPHA
        )
    if not step.weights:
        notes = (Note.TURNOVER_RELAXED, Note.FALLBACK_EQUAL)
        step = _Step(_equal(candidates.codes[:top_k]), alpha=1.0)
        too_small = []
    weights = _normalised(step.weights, settings.epsilon)
    return TargetWeights(
        weights=weights,
        turnover_unconstrained=one_way_turnover(current_weights, _equal(chosen)),
        turnover=one_way_turnover(current_weights, weights),
        alpha=step.alpha,
        dropped_min_weight=tuple(too_small),
        dropped_turnover=step.dropped,
        score_penalties=pool.penalties,
        adjusted_scores=pool.adjusted_scores,
        notes=notes,
    )


@dataclass(frozen=True)
class ScoredPool:
    """Candidates with what entering them costs.

    Parameters
    ----------
    penalties
        Code -> round-trip cost taken off the score, in rank order; 0 for a held name.
    adjusted_scores
        Code -> score less penalty, in rank order.
    best_first
        Codes by adjusted score descending; ties stay in rank order.
    """

    penalties: Mapping[str, float]
    adjusted_scores: Mapping[str, float]
    best_first: tuple[str, ...]


def score_after_costs(
    candidates: Candidates,
    current_weights: Mapping[str, float],
    portfolio_value_jpy: float,
    adv_jpy: Mapping[str, float | None],
    settings: PortfolioSettings,
    top_k: int,
    costs: CostModel,
) -> ScoredPool:
    """Take `cost_penalty` times the round trip of a trade of ``portfolio_value_jpy / top_k`` off new names.

    Takes and refuses the same as `target_weights`.
    """
    if not candidates.codes:
        raise Refusal(
            "no stock may enter the book",
            expected="at least one candidate",
            received=f"{candidates.priced_count} priced of {candidates.eligible_count} eligible stocks",
            where="candidate gate",
            remedy="Check that the dataset is complete for the as-of session.",
        )
    pool = candidates.codes[: round(top_k * settings.candidate_multiplier)]
    trade_jpy = portfolio_value_jpy / top_k
    adv = np.array([adv_jpy.get(code) for code in pool], dtype=np.float64)  # None becomes NaN: unknown
    penalties = settings.cost_penalty * 2 * costs.trade_cost(trade_jpy, adv).bps / BPS
    penalties[[code in current_weights for code in pool]] = 0.0
    adjusted = np.array(candidates.scores[: len(pool)]) - penalties
    return ScoredPool(
        penalties=dict(zip(pool, penalties.tolist(), strict=True)),
        adjusted_scores=dict(zip(pool, adjusted.tolist(), strict=True)),
        best_first=tuple(pool[position] for position in np.argsort(-adjusted, kind="stable")),
    )


@dataclass(frozen=True)
class _Step:
    weights: Mapping[str, float]
    alpha: float
    dropped: tuple[str, ...] = ()


def _approach(
    chosen: Sequence[str],
    current: Mapping[str, float],
    adjusted_scores: Mapping[str, float],
    settings: PortfolioSettings,
    limit: float,
    min_alpha: float,
) -> _Step:
    """Step from the current weights towards equal weights of `chosen`; no weights if no name survives."""
    target = list(chosen)
    dropped: list[str] = []
    while target:
        goal = _equal(target)
        turnover = one_way_turnover(current, goal)
        if limit <= 0 or turnover <= limit + settings.epsilon:
            return _Step(goal, 1.0, tuple(dropped))
        alpha = min(1.0, max(min_alpha, limit / turnover))
        weights = _normalised(_blend(current, goal, alpha), settings.epsilon)
        thin = [
            code
            for code in target
            if code not in current and weights.get(code, 0.0) + settings.epsilon < settings.min_weight
        ]
        if not thin:
            return _Step(weights, alpha, tuple(dropped))
        worst = max(thin, key=lambda code: (-adjusted_scores[code], code))
        target.remove(worst)
        dropped.append(worst)
    return _Step({}, 1.0, tuple(dropped))


def _equal(codes: Sequence[str]) -> dict[str, float]:
    return dict.fromkeys(codes, 1 / len(codes))


def _blend(current: Mapping[str, float], goal: Mapping[str, float], alpha: float) -> dict[str, float]:
    stay = dict.fromkeys(goal, 0.0) | dict(current)
    return {code: weight + alpha * (goal.get(code, 0.0) - weight) for code, weight in stay.items()}


def _normalised(weights: Mapping[str, float], epsilon: float) -> dict[str, float]:
    """Weights above epsilon by Code, scaled to sum to 1."""
    kept = {code: weight for code, weight in sorted(weights.items()) if weight > epsilon}
    total = math.fsum(kept.values())
    return {code: weight / total for code, weight in kept.items()}
