"""The monthly rehearsal: the newest months replayed, and counted against the exchange's calendar."""

from __future__ import annotations

import calendar as gregorian
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from apex_tasks.backtesting.backtest import backtest, open_market
from apex_tasks.backtesting.result import BacktestResult, RebalanceRow
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import FIRST_DAY, TseCalendar
from apex_tasks.monitoring import alerts
from apex_tasks.portfolio.monthly_plan import broken_limits
from apex_tasks.published.run_document import Alert
from apex_tasks.refusal import Refusal
from apex_tasks.rehearsal.outcome import StageOutcome, verdict_on
from apex_tasks.rehearsal.request import RehearsalRequest
from apex_tasks.settings import ApexSettings, Severity


class RehearsedMonth(FrozenModel):
    """One rehearsed rebalance.

    Attributes
    ----------
    rebalance_date, as_of
        Day of the trades, and the session whose close decided.
    eligible, candidate_kept
        Stocks that were ranked, and those that passed the gate.
    positions, trades
        Names held after the fills, and the number of trades.
    turnover, cost_bps
        One-way turnover (fraction), and cost in bps of the portfolio's value, both as the live run publishes
        them: estimated at the as-of close.
    filled
        The dataset has closes of the day, so that the orders traded.
    unfilled
        Codes of buys without a close on the day.
    notes
        What the policy gave up.
    alerts
        Thresholds that the month breaks; a critical one would stop the live run.
    limits
        What of the setting `limits` it goes beyond; the live run would be refused.
    """

    rebalance_date: dt.date
    as_of: dt.date
    eligible: int
    candidate_kept: int
    positions: int
    trades: int
    turnover: float
    cost_bps: float
    filled: bool
    unfilled: tuple[str, ...]
    notes: tuple[str, ...]
    alerts: tuple[Alert, ...]
    limits: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of the month, one clause each."""
        return [
            *(str(alert) for alert in self.alerts),
            *self.limits,
            *([] if self.filled else ["no closes of the day, orders count as estimated"]),
            *([f"{len(self.unfilled)} buys unfilled"] if self.unfilled else []),
            *self.notes,
        ]


class MonthlyRehearsal(StageOutcome):
    """Outcome of the monthly rehearsal.

    Attributes
    ----------
    problems
        Missing and unexpected rebalances, critical thresholds, broken limits.
    requested
        Months asked for; fewer are expected where the dataset does not reach back far enough.
    expected, missing, unexpected
        Rebalance dates by the calendar; those among them that did not trade; and those that traded beside them.
    months
        In order; the first starts from cash.
    warnings
        What a reader must know of the data.
    """

    stage: ClassVar[str] = "monthly rehearsal"
    requested: int
    expected: tuple[dt.date, ...]
    missing: tuple[dt.date, ...]
    unexpected: tuple[dt.date, ...]
    months: tuple[RehearsedMonth, ...]
    warnings: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        if self.problems:
            return "; ".join(self.problems)
        kept = sorted({month.candidate_kept for month in self.months})
        return (
            f"{len(self.months)} rebalances of {len(self.expected)} expected from {self.expected[0]} to "
            f"{self.expected[-1]}, candidates kept {', '.join(map(str, kept))}"
        )


def rehearse_months(
    request: RehearsalRequest, calendar: TseCalendar, progress: ReportProgress | None = None
) -> MonthlyRehearsal:
    """Replay the newest rebalances that the dataset covers, from cash and with live timing.

    Raises
    ------
    Refusal
        The dataset covers no rebalance, or one of them cannot be planned: live, nothing would be published.
    """
    market = open_market(request.whole_dataset, calendar, progress)
    first, last = market.days[0], market.days[-1]
    nth_session = request.settings.schedule.nth_session
    lookback = market.bundle.lookback
    expected = expected_rebalances(
        calendar, first, last, lookback=lookback, months=request.months, nth_session=nth_session
    )
    if not expected:
        raise Refusal(
            "the dataset covers no rebalance that could be rehearsed",
            expected=f"a rebalance day with {lookback} sessions before it",
            received=f"sessions from {first} to {last}",
            where=request.dataset,
            remedy="Deliver a dataset that reaches further back.",
        )
    period = market.request.model_copy(update={"start": expected[0], "end": last})
    result = backtest(replace(market, request=period))
    months = rehearsed_months(result, request.settings, market.bundle.effective_dim)
    return compare_with_calendar(expected, months, requested=request.months, warnings=result.warnings)


def expected_rebalances(
    calendar: TseCalendar,
    first: dt.date,
    last: dt.date,
    *,
    lookback: int,
    months: int,
    nth_session: int,
) -> list[dt.date]:
    """Count the newest rebalance days off the calendar, day by day, without the backtest's schedule.

    Parameters
    ----------
    first, last
        First and last session of the dataset.
    lookback
        Sessions from `first` to the as-of session, both inclusive, without which no stock has a window.

    Returns
    -------
    list
        At most `months`, in order; none after `last`.
    """
    found: list[dt.date] = []
    year, month = last.year, last.month
    while len(found) < months and (year, month) >= (first.year, first.month):
        days = (dt.date(year, month, day) for day in range(1, gregorian.monthrange(year, month)[1] + 1))
        sessions = [day for day in days if calendar.is_session(day)]
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
        if len(sessions) < nth_session or sessions[nth_session - 1] > last:
            continue
        rebalance = sessions[nth_session - 1]
        if not _reaches(calendar, first, rebalance, lookback):
            break
        found.append(rebalance)
    return found[::-1]


def rehearsed_months(
    result: BacktestResult, settings: ApexSettings, effective_dim: int
) -> tuple[RehearsedMonth, ...]:
    """The rebalances of a backtest, with the live run's metrics and alerts."""
    values = {row.date: row.portfolio_value for row in result.daily}
    capital = settings.portfolio.initial_capital_jpy
    return tuple(
        _rehearsed_month(
            row, values.get(row.as_of, capital), settings, effective_dim, first_build=number == 0
        )
        for number, row in enumerate(result.rebalances)
    )


def compare_with_calendar(
    expected: Sequence[dt.date],
    months: Sequence[RehearsedMonth],
    *,
    requested: int,
    warnings: Sequence[str] = (),
) -> MonthlyRehearsal:
    """Compare what traded with what the calendar expects."""
    traded = [month.rebalance_date for month in months if month.filled]
    missing = [day for day in expected if day not in traded]
    unexpected = [day for day in traded if day not in expected]
    problems = []
    if missing or unexpected:
        differences = [f"missing {', '.join(map(str, missing))}"] if missing else []
        differences += [f"unexpected {', '.join(map(str, unexpected))}"] if unexpected else []
        problems.append(f"{len(traded)} rebalances instead of {len(expected)}: {'; '.join(differences)}")
    problems += [
        f"{month.rebalance_date}: {alert}"
        for month in months
        for alert in month.alerts
        if alert.severity is Severity.CRITICAL
    ]
    problems += [f"{month.rebalance_date}: {limit}" for month in months for limit in month.limits]
    return MonthlyRehearsal(
        verdict=verdict_on(problems),
        problems=tuple(problems),
        requested=requested,
        expected=tuple(expected),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        months=tuple(months),
        warnings=tuple(warnings),
    )


def _rehearsed_month(
    row: RebalanceRow, value_jpy: float, settings: ApexSettings, effective_dim: int, *, first_build: bool
) -> RehearsedMonth:
    cost_bps = row.estimated_cost_jpy / value_jpy * 1e4
    metrics: Mapping[str, float] = {
        "apex_selected_count": row.candidate_kept,
        "apex_effective_dim": effective_dim,
        "apex_daily_cost_bps": cost_bps,
        "eligible_stocks": row.eligible,
        "priced_candidates": row.priced,
        "pool_size": row.candidate_total,
        "turnover": row.estimated_turnover,
        "cost_jpy": row.estimated_cost_jpy,
    }
    known = [threshold for threshold in settings.thresholds if threshold.metric in metrics]
    return RehearsedMonth(
        rebalance_date=row.date,
        as_of=row.as_of,
        eligible=row.eligible,
        candidate_kept=row.candidate_kept,
        positions=row.positions,
        trades=row.trades,
        turnover=row.estimated_turnover,
        cost_bps=cost_bps,
        filled=row.filled,
        unfilled=row.unfilled,
        notes=row.notes,
        alerts=alerts.evaluate(
            known,
            metrics,
            settings.ranking.top_k,
            first_build=first_build,
            hysteresis=settings.enhanced.hysteresis,
        ),
        limits=tuple(
            str(broken)
            for broken in broken_limits(
                settings.limits,
                names=len(row.weights),
                largest_weight=max(row.weights.values(), default=0.0),
                candidates=row.candidate_kept,
            )
        ),
    )


def _reaches(calendar: TseCalendar, first: dt.date, rebalance: dt.date, lookback: int) -> bool:
    """Whether `lookback` sessions lie between `first` and the as-of session of a rebalance."""
    day, sessions = rebalance - dt.timedelta(days=1), 0
    while sessions < lookback and day >= max(first, FIRST_DAY):
        sessions += calendar.is_session(day)
        day -= dt.timedelta(days=1)
    return sessions >= lookback
