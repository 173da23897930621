"""What a backtest leaves: figures, rebalances and daily states, ready for JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from apex_tasks.backtesting.simulation import Rebalanced, Simulation
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.portfolio.daily_rows import DailyRow, daily_rows
from apex_tasks.portfolio.delisting import DelistedName
from apex_tasks.statistics.performance import Performance, measure_performance


class RebalanceRow(FrozenModel):
    """One rebalance.

    Attributes
    ----------
    date, as_of
        Day of the trades, and the session whose close decided.
    eligible, priced
        Stocks that were ranked, and those among them with a close.
    candidate_total, candidate_kept, fallback
        Stocks before and after the gate, and whether the gate fell back to the best.
    positions, trades, cost_jpy, turnover
        Of the fills: names held afterwards, number of trades, their cost, half the traded share of the portfolio.
    estimated_cost_jpy, estimated_turnover
        The same two as the orders said at the as-of close.
    unfilled
        Codes of buys without a close on the day.
    filled
        False where the data have no closes of the day, so that the estimate counts for the fills.
    notes
        What the policy gave up.
    weights
        Code -> weight that was traded to.
    """

    date: dt.date
    as_of: dt.date
    eligible: int
    priced: int
    candidate_total: int
    candidate_kept: int
    fallback: bool
    positions: int
    trades: int
    cost_jpy: float
    turnover: float
    estimated_cost_jpy: float
    estimated_turnover: float
    unfilled: tuple[str, ...]
    filled: bool
    notes: tuple[str, ...]
    weights: dict[str, float]


class FailedAttempt(FrozenModel):
    """A rebalance that was due and could not be planned."""

    date: dt.date
    reason: str


class BacktestResult(FrozenModel):
    """A whole backtest; docs/backtest.md describes every part."""

    synthetic: bool
    performance: Performance
    rebalances: tuple[RebalanceRow, ...]
    failed_attempts: tuple[FailedAttempt, ...]
    daily: tuple[DailyRow, ...]
    delisted: tuple[DelistedName, ...] = ()
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    hashes: dict[str, str]


def summarize(
    simulation: Simulation,
    *,
    capital_jpy: float,
    synthetic: bool,
    warnings: Sequence[str],
    settings: Mapping[str, Any],
    hashes: Mapping[str, str],
) -> BacktestResult:
    """Measure a simulation.

    Raises
    ------
    Refusal
        There is not a single state.
    """
    traded = [rebalanced.traded for rebalanced in simulation.rebalances]
    return BacktestResult(
        synthetic=synthetic,
        performance=measure_performance(
            [day.book.portfolio_value_jpy for day in simulation.days],
            initial_capital_jpy=capital_jpy,
            total_trades=sum(len(orders.rows) for orders in traded),
            total_cost_jpy=sum(orders.total_cost_jpy for orders in traded),
        ),
        rebalances=tuple(_row(rebalanced) for rebalanced in simulation.rebalances),
        failed_attempts=tuple(
            FailedAttempt(date=day, reason=reason) for day, reason in simulation.failed_attempts
        ),
        daily=daily_rows(simulation.days),
        delisted=simulation.delisted,
        warnings=tuple(warnings),
        settings=dict(settings),
        hashes=dict(hashes),
    )


def _row(rebalanced: Rebalanced) -> RebalanceRow:
    plan, traded = rebalanced.plan, rebalanced.traded
    return RebalanceRow(
        date=rebalanced.rebalance.date,
        as_of=rebalanced.rebalance.as_of,
        eligible=plan.candidates.eligible_count,
        priced=plan.candidates.priced_count,
        candidate_total=plan.candidates.pool_size,
        candidate_kept=plan.candidates.kept_count,
        fallback=plan.candidates.fallback,
        positions=len(traded.book.positions),
        trades=len(traded.rows),
        cost_jpy=traded.total_cost_jpy,
        turnover=traded.turnover,
        estimated_cost_jpy=plan.orders.total_cost_jpy,
        estimated_turnover=plan.orders.turnover,
        unfilled=traded.unpriced_buys,
        filled=rebalanced.fills is not None,
        notes=tuple(str(note) for note in plan.target.notes),
        weights=dict(plan.target.weights),
    )
