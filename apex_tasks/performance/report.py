"""What a performance run found, for people, machines and messages."""

from __future__ import annotations

import datetime as dt

from apex_tasks.frozen_model import StoredDocument
from apex_tasks.performance.checks.check import Check
from apex_tasks.performance.deviation import BenchmarkComparison, DeviationVerdict
from apex_tasks.statistics.performance import Performance


class RebalanceTurnover(StoredDocument):
    """One-way turnover of one month's fills, as a fraction; None until it is filled."""

    portfolio: str
    turnover: float | None


class PerformanceReport(StoredDocument):
    """Live figures, their benchmarks, and the four checks.

    Attributes
    ----------
    synthetic
        The dataset says that it is made up.
    portfolio
        Newest published month.
    first_marked, last_marked, sessions
        Sessions of the ledger; None and 0 until the first month is filled.
    last_session
        Last session of the dataset.
    performance
        Figures in the conventions of the benchmark; None without a session.
    intervals
        Metric -> ends of the 95 % interval of its live figure by block bootstrap, where the history allows one.
    comparisons
        One per metric that a manifest may have a benchmark of.
    turnovers, mean_turnover
        Per rebalance, and over the filled ones; there is no benchmark of it.
    checks
        The four, in their order.
    benchmarks_of
        Hash of the bundle whose benchmarks these are: the one that published `portfolio`.
    backtest_period, ignored_benchmarks
        Period of the benchmarks as the manifest writes it, and its keys that nothing is compared with.
    ledger
        Folder of the ledger in the store.
    delisted
        Held names that count as cash at their last price; `ledger.json` has each.
    warnings
        What a reader must know of the ledger.
    training_period, validation
        As the manifest writes them; empty where it does not, and in older reports.
    false_alarm_rate
        Chance that any comparison deviates though nothing differs; None in older reports, which judged otherwise.
    """

    synthetic: bool
    portfolio: str
    first_marked: dt.date | None
    last_marked: dt.date | None
    sessions: int
    last_session: dt.date
    performance: Performance | None
    intervals: dict[str, tuple[float, float]]
    comparisons: tuple[BenchmarkComparison, ...]
    turnovers: tuple[RebalanceTurnover, ...]
    mean_turnover: float | None
    checks: tuple[Check, ...]
    benchmarks_of: str
    backtest_period: str
    ignored_benchmarks: tuple[str, ...]
    ledger: str
    delisted: int = 0
    warnings: tuple[str, ...]
    training_period: str = ""
    validation: str = ""
    false_alarm_rate: float | None = None

    @property
    def deviating(self) -> tuple[BenchmarkComparison, ...]:
        """What the alert is about."""
        return tuple(found for found in self.comparisons if found.verdict is DeviationVerdict.DEVIATES)
