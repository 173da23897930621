"""A performance run: mark the ledger, then evaluate it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monitoring.statsd import Metrics
from apex_tasks.performance.gauges import performance_gauges
from apex_tasks.performance.judge_performance import PerformanceReference, judge_performance
from apex_tasks.performance.mark_ledger import LedgerReference, mark_ledger
from apex_tasks.performance.report import PerformanceReport
from apex_tasks.performance.request import PerformanceRequest
from apex_tasks.performance.stored_ledgers import LEDGERS
from apex_tasks.performance.stored_reports import read_report
from apex_tasks.published.portfolio import published_dates
from apex_tasks.store import Store


def log_to_stderr(message: str) -> None:
    """Leave stdout to the result."""
    print(message, file=sys.stderr)


@dataclass(frozen=True)
class PerformanceRun:
    """The two steps; Airflow calls one per task, `apex performance` one after the other.

    Attributes
    ----------
    request
        Inputs and days.
    store
        Where portfolios, ledgers and evaluations are stored.
    calendar
        TSE sessions.
    log
        Receives one line or more per step, for people.
    """

    request: PerformanceRequest
    store: Store
    calendar: TseCalendar
    log: Callable[[str], None] = print

    @functools.cached_property
    def metrics(self) -> Metrics:
        """Where the steps send their metrics."""
        return Metrics(self.request.settings.statsd)

    @property
    def nothing_published(self) -> bool:
        """Whether there is nothing to evaluate yet."""
        return all(day > self.request.until for day in published_dates(self.store))

    def mark_ledger(self) -> LedgerReference:
        """Fill and mark every published month, or find that in the store."""
        with self.metrics.step("mark_ledger"):
            ledger = mark_ledger(self.request, self.store)
        origin = "found in the store" if ledger.cached else "marked"
        self.log(
            f"Ledger of {ledger.months} months and {ledger.sessions} sessions up to {ledger.last_session} {origin}: "
            f"{ledger.name}"
        )
        return ledger

    def judge_performance(self, ledger: LedgerReference | Mapping[str, Any]) -> PerformanceReference:
        """Compare with the benchmarks and run the four checks, or find that in the store."""
        with self.metrics.step("judge_performance"):
            reference = judge_performance(
                self.request, LedgerReference.model_validate(ledger), self.store, self.calendar
            )
            report = read_report(self.store, reference.name)
            if self._is_newest(report):
                self.metrics.gauges(performance_gauges(report))
        for line in summary_lines(report):
            self.log(line)
        return reference

    def _is_newest(self, report: PerformanceReport) -> bool:
        """Whether no ledger in the store knows a later session: a run for an earlier day leaves the gauges alone."""
        return all(
            name[: len("2000-01-01")] <= str(report.last_session) for name in self.store.names(LEDGERS)
        )


def run_performance(run: PerformanceRun) -> PerformanceReport:
    """Run both steps and read the evaluation back.

    Raises
    ------
    Refusal
        Of either step.
    """
    reference = run.judge_performance(run.mark_ledger())
    return read_report(run.store, reference.name)


def summary_lines(report: PerformanceReport) -> list[str]:
    """The evaluation in a few lines."""
    return [
        *(f"{comparison.verdict.upper()}: {comparison}" for comparison in report.comparisons),
        *(f"{check.name}: {check.verdict.upper()}, {check.finding}" for check in report.checks),
        *(f"WARNING {warning}" for warning in report.warnings),
    ]
