"""Step judge-performance: the live figures against the bundle's benchmarks, and four checks for a cause."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from apex_tasks.dataset.features.feature_plan import FeaturePlan, SourceKind
from apex_tasks.dataset.features.session_features import read_session_features
from apex_tasks.dataset.prices.market_returns import read_market_returns
from apex_tasks.dataset.schema import DatasetFile, open_dataset
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.performance.benchmarks import Metric, read_benchmarks
from apex_tasks.performance.checks.check import Check
from apex_tasks.performance.checks.drift import MeasuredDrift, check_drift, measure_drift, sessions_wanted
from apex_tasks.performance.checks.freshness import check_dataset
from apex_tasks.performance.checks.integrity import check_bundle
from apex_tasks.performance.checks.reference_sessions import months_of_same_scores, reference_as_of
from apex_tasks.performance.checks.regime import check_market
from apex_tasks.performance.deviation import compare_with_benchmarks
from apex_tasks.performance.intervals import expected_intervals, live_intervals
from apex_tasks.performance.mark_ledger import LedgerReference
from apex_tasks.performance.report import PerformanceReport, RebalanceTurnover
from apex_tasks.performance.request import PerformanceRequest
from apex_tasks.performance.stored_ledgers import (
    LEDGERS,
    LedgerDocument,
    read_daily_returns,
    read_ledger,
    read_turnovers,
)
from apex_tasks.performance.stored_reports import DRIFT_FILE, PERFORMANCE_FILE, PERFORMANCES
from apex_tasks.published.portfolio import SCORES_FILE, PublishedPortfolio, published_months
from apex_tasks.published.run_document import RunDocument
from apex_tasks.refusal import Refusal
from apex_tasks.settings import MarketRules
from apex_tasks.store import Artifact, Store, canonical_json, content_key
from apex_tasks.tables import csv_bytes, read_table

FORMAT = 3
"""Counts up when the files change their form or the checks their rules."""


class PerformanceReference(FrozenModel):
    """An evaluation in the store.

    Attributes
    ----------
    name
        Folder below `performance/`: the last session and the key.
    content_hash
        Hash of all that it holds.
    deviating
        Metrics that deviate and are judged.
    cached
        It was in the store already.
    """

    name: str
    content_hash: str
    deviating: tuple[Metric, ...]
    cached: bool


def judge_performance(
    request: PerformanceRequest, ledger: LedgerReference, store: Store, calendar: TseCalendar
) -> PerformanceReference:
    """Compare the ledger with the benchmarks of the bundle that published the newest month, and run the checks.

    The bundle is read and verified every time; the rest is found in the store where nothing has changed.

    Raises
    ------
    Refusal
        The dataset is another one than the ledger was marked with, or cannot be read; the ledger or a published month
        was changed in the store.
    """
    dataset = _require_same_dataset(request.dataset, ledger.dataset_sha256)
    evaluation = _Evaluation(request, ledger, store, calendar, dataset)
    key = content_key(
        format=FORMAT,
        ledger=ledger.content_hash,
        dataset=ledger.dataset_sha256,
        due=request.due,
        bundle=evaluation.run.hashes["bundle"],
        months=[(month.name, month.content_hash) for month in evaluation.months],
        integrity=evaluation.integrity.model_dump(mode="json"),
        performance=request.settings.performance.model_dump(mode="json"),
        freshness=request.settings.freshness.model_dump(mode="json"),
        nth_session=request.settings.schedule.nth_session,
    )
    name = f"{ledger.last_session}-{key}"
    stored = store.find(PERFORMANCES, name)
    artifact = stored or evaluation.write(name)
    return PerformanceReference(
        name=name, content_hash=artifact.content_hash, cached=stored is not None, **artifact.details
    )


def _require_same_dataset(path: str, marked_sha256: str) -> DatasetFile:
    dataset = open_dataset(path)
    received = dataset.sha256
    if received != marked_sha256:
        raise Refusal(
            "the dataset was replaced since the ledger was marked",
            expected=f"sha256 {marked_sha256}",
            received=f"sha256 {received}",
            where=path,
            remedy="Clear mark_ledger and the step after it.",
        )
    return dataset


@dataclass(frozen=True)
class _Evaluation:
    """One evaluation while it is made."""

    request: PerformanceRequest
    ledger: LedgerReference
    store: Store
    calendar: TseCalendar
    dataset: DatasetFile

    @cached_property
    def months(self) -> list[PublishedPortfolio]:
        """Every published month up to `until`, oldest first."""
        return published_months(self.store, self.request.until)

    @property
    def newest(self) -> PublishedPortfolio:
        return self.months[-1]

    @cached_property
    def run(self) -> RunDocument:
        """run.json of the newest month."""
        return self.newest.run()

    @cached_property
    def integrity(self) -> Check:
        limits = self.request.settings.bundle_limits
        return check_bundle(self.request.bundle, self.run.hashes, self.newest.name, limits)

    def write(self, name: str) -> Artifact:
        artifact = self.store.get(LEDGERS, self.ledger.name)
        settings = self.request.settings
        ledger = read_ledger(artifact)
        features, missing_features = self._feature_drift(self.dataset)
        scores = self._score_drift()
        checks = (
            check_dataset(self.request.dataset, self.request.due, settings.freshness),
            self.integrity,
            check_market(
                read_market_returns(
                    self.dataset,
                    self.ledger.last_session,
                    daily_limits=settings.judgement.market is MarketRules.TSE,
                ),
                ledger.first_marked,
                settings.performance,
            ),
            check_drift(features, scores, missing_features),
        )
        report = self._report(artifact, ledger, checks)
        return self.store.write(
            PERFORMANCES,
            name,
            files={
                PERFORMANCE_FILE: canonical_json(report.model_dump(mode="json")),
                DRIFT_FILE: csv_bytes(_drift_table(features, scores)),
            },
            details={"deviating": [str(found.metric) for found in report.deviating]},
        )

    def _report(
        self, artifact: Artifact, ledger: LedgerDocument, checks: tuple[Check, ...]
    ) -> PerformanceReport:
        bundle, settings = self.run.bundle, self.request.settings.performance
        benchmarks = read_benchmarks(
            bundle.performance_benchmarks, self.calendar, bundle.training_period, bundle.validation
        )
        returns_pct = read_daily_returns(artifact)
        expected = expected_intervals(returns_pct, benchmarks, settings.false_alarm_rate)
        turnovers = read_turnovers(artifact)
        traded = [turnover for turnover in turnovers.values() if turnover is not None]
        return PerformanceReport(
            synthetic=ledger.synthetic,
            portfolio=self.newest.name,
            first_marked=ledger.first_marked,
            last_marked=ledger.last_marked,
            sessions=ledger.sessions,
            last_session=ledger.last_session,
            performance=ledger.performance,
            intervals={str(metric): ends for metric, ends in live_intervals(returns_pct).items()},
            comparisons=compare_with_benchmarks(
                ledger.performance, ledger.sessions, benchmarks, expected, settings
            ),
            turnovers=tuple(
                RebalanceTurnover(portfolio=name, turnover=turnover) for name, turnover in turnovers.items()
            ),
            mean_turnover=float(pd.Series(traded).mean()) if traded else None,
            checks=checks,
            benchmarks_of=self.run.hashes["bundle"],
            backtest_period=benchmarks.period,
            ignored_benchmarks=benchmarks.ignored,
            ledger=f"{LEDGERS}/{self.ledger.name}",
            delisted=len(ledger.delisted),
            warnings=ledger.warnings,
            training_period=benchmarks.training,
            validation=benchmarks.validation,
            false_alarm_rate=settings.false_alarm_rate,
        )

    def _feature_drift(self, dataset: DatasetFile) -> tuple[MeasuredDrift | str, list[str]]:
        """Drift of the features that the newest month was scored with, and those that the dataset lacks now."""
        plan = self.run.bundle.plan
        used = [source for source in plan.sources if source.kind is not SourceKind.ZERO]
        there = [
            source
            for source in used
            if all(column is None or dataset.has(column) for column in (source.left, source.right))
        ]
        missing = [source.feature for source in used if source not in there]
        kept = FeaturePlan(sources=tuple(there))
        settings = self.request.settings
        number, nth_session = sessions_wanted(settings.performance), settings.schedule.nth_session
        earlier = reference_as_of(self.months, number, self.calendar, nth_session)
        newest = self.newest.as_of
        try:
            dataset.require_columns(kept.columns)
        except Refusal as refusal:
            return f"{refusal.what}: received {refusal.received}", missing
        found = read_session_features(dataset, kept, [newest, *earlier])
        references = [found[day] for day in reversed(earlier) if day in found]
        if newest not in found or not references or not there:
            return f"the dataset has no rows of {newest} or of any as-of session before it", missing
        return measure_drift(
            [s.feature for s in there], references, found[newest], settings.performance
        ), missing

    def _score_drift(self) -> MeasuredDrift | str:
        """Drift of the newest published scores, as they are.

        Scores are not standardized: the model's inputs are, so their level should stay; and the cost penalty is in
        units of the score, so that their spread decides how much is traded.
        """
        settings = self.request.settings.performance
        earlier = months_of_same_scores(self.months, sessions_wanted(settings))
        if not earlier:
            return f"no earlier month was scored by the same checkpoint as {self.newest.name}"
        references = [_scores(month) for month in reversed(earlier)]
        return measure_drift(["score"], references, _scores(self.newest), settings)


def _scores(month: PublishedPortfolio) -> np.ndarray:
    return read_table(month.artifact, SCORES_FILE)["Score"].to_numpy(dtype=np.float64)[:, None]


def _drift_table(*measured: MeasuredDrift | str) -> pd.DataFrame:
    """One row per feature, and one of the scores."""
    return pd.concat([_drift_rows(one) for one in measured if not isinstance(one, str)] or [pd.DataFrame()])


def _drift_rows(measured: MeasuredDrift) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": measured.names,
            "psi": measured.drift.psi,
            "ks": measured.drift.ks_statistic,
            "usual_psi": measured.usual_psi,
            "usual_ks": measured.usual_ks,
            "missing_before": measured.drift.missing_reference,
            "missing_now": measured.drift.missing_current,
            "market_wide": measured.market_wide,
            "drifted": measured.drifted,
        }
    )
