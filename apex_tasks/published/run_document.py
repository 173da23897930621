"""What run.json, plan.json and execution.json say: one typed form for those who write and those who read them."""

from __future__ import annotations

import datetime as dt

from pydantic import Field, JsonValue

from apex_tasks.dataset.features.feature_plan import FeaturePlan
from apex_tasks.frozen_model import FrozenModel, StoredDocument
from apex_tasks.parameters import Override
from apex_tasks.settings import AlertThreshold, Normalization, SelectionSettings, Severity
from apex_tasks.store import Artifact

RUN_FILE, EXECUTION_FILE = "run.json", "execution.json"


class Alert(FrozenModel):
    """A broken threshold: `metric comparison bound` was true for `value`; `runbook` links to what to do."""

    metric: str
    value: float
    comparison: str
    bound: float
    severity: Severity
    remedy: str
    runbook: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.metric} = {self.value:g}, alert when {self.comparison} {self.bound:g}"


class ParentPortfolio(StoredDocument):
    """The published portfolio that the orders start from: `<rebalance date>/v<version>` and its content."""

    portfolio: str
    content_hash: str


class RunMetrics(StoredDocument):
    """The month's figures; None: there is none this month. docs/monitoring.md says what each one is."""

    apex_selected_count: int
    apex_effective_dim: int
    apex_daily_cost_bps: float
    listed_stocks: int
    median_rows: float
    eligible_stocks: int
    priced_candidates: int
    pool_size: int
    positions: int
    trades: int
    turnover: float
    cost_jpy: float
    portfolio_value_jpy: float
    cash_after_jpy: float
    non_finite_cells: int
    filled_features: int
    filled_share: float | None = None
    dataset_faults: int | None = None
    priced_stocks: int | None = None
    traded_stocks: int | None = None
    score_best: float
    score_worst: float
    score_std: float
    first_build: int
    hysteresis: int
    score_rank_correlation: float | None
    bundle_age_days: int | None
    calendar_horizon_days: int

    def by_name(self) -> dict[str, float | None]:
        """All of them, also those that another version of this package wrote."""
        return self.model_dump()


class NeutralisationRecord(StoredDocument):
    """What taking sector and volatility out of the scores found."""

    outcome: str
    r_squared: float | None
    max_abs_t: float | None
    missing: dict[str, int]
    clipped: int


class SelectionRecord(StoredDocument):
    """How the candidates were chosen and weighed; see `Candidates` and `TargetWeights`."""

    candidates: tuple[str, ...]
    fallback: bool
    threshold: float | None
    alpha: float | None
    turnover_unconstrained: float
    turnover_of_weights: float
    dropped_min_weight: tuple[str, ...]
    dropped_turnover: tuple[str, ...]
    notes: tuple[str, ...]
    score_penalties: dict[str, float]
    neutralisation: NeutralisationRecord | None
    target_weights: dict[str, float]


class PlanDocument(StoredDocument):
    """Content of plan.json: what a month's plan rests on.

    Attributes
    ----------
    parent
        None from cash.
    alerts
        Thresholds that were broken without stopping the month.
    warnings
        What a reader of the book must know of the data.
    dataset_faults
        Count of each kind of fault that the dataset has and that is told; empty for a sound one.
    features_until
        Newest TSE session whose features reach a score of a stock with a row on every session: the as-of session, or
        earlier where the model's patches do not reach the newest rows. None in months of 1.0.0.
    eligible_by_sector
        Number of eligible stocks by sector code; an empty text where it is unknown.
    """

    rebalance_date: dt.date
    as_of: dt.date
    features_until: dt.date | None = None
    parent: ParentPortfolio | None
    metrics: RunMetrics
    alerts: tuple[Alert, ...]
    warnings: tuple[str, ...]
    dataset_faults: dict[str, int] = Field(default_factory=dict)
    selection: SelectionRecord
    eligible_by_sector: dict[str, int]


class RankingRecord(StoredDocument):
    """Settings of the ranking, as far as anybody reads them back."""

    top_k: int
    horizon: int
    normalization: Normalization


class PolicyRecord(StoredDocument):
    """Settings of the portfolio, as far as anybody reads them back."""

    turnover_limit: float


class ScheduleRecord(StoredDocument):
    """Settings of the schedule, as far as anybody reads them back."""

    nth_session: int


class RunSettings(StoredDocument):
    """The settings that decide the result; what this version does not read is kept as it is."""

    schedule: ScheduleRecord
    ranking: RankingRecord
    portfolio: PolicyRecord
    thresholds: tuple[AlertThreshold, ...]


class BundleRecord(StoredDocument):
    """The resolved bundle, without where it was read from.

    Attributes
    ----------
    newest_rows_unread
        Newest rows of each stock's window that reach no score; None in months of 1.0.0.
    """

    bundle_version: JsonValue
    created: JsonValue
    git_tag: JsonValue
    plan: FeaturePlan
    newest_rows_unread: int | None = None
    selection: SelectionSettings
    performance_benchmarks: dict[str, JsonValue]
    training_period: JsonValue = Field(None, exclude_if=lambda value: value is None)
    validation: JsonValue = Field(None, exclude_if=lambda value: value is None)


class RunDocument(PlanDocument):
    """Content of run.json: all that determines the month's result, and nothing of when, where and by whom.

    Attributes
    ----------
    off_cycle
        Why the book belongs to no month; None for a month's.
    overrides
        Parameters with which the run went another way than the settings.
    triggered_by
        Who or what started a run with overrides or off-cycle, for those who read of them; None for a usual month.
    hashes
        SHA-256 by name: bundle, checkpoint, features, panel, scores, plan.
    versions
        Of this package, Python and the libraries that computed.
    """

    synthetic: bool
    off_cycle: str | None = None
    overrides: tuple[Override, ...] = ()
    triggered_by: str | None = None
    hashes: dict[str, str]
    bundle: BundleRecord
    settings: RunSettings
    versions: dict[str, str]


class ExecutedDataset(StoredDocument):
    """The dataset file that was read, and its content."""

    file: str
    sha256: str


class ExecutionDocument(StoredDocument):
    """Content of execution.json: when, where and by whom; the only published file that differs between two runs.

    Attributes
    ----------
    published_at
        UTC, ISO 8601.
    apex_inference_latency_ms
        Of the forward pass, or of finding the scores in the store.
    alerts
        Broken thresholds on that latency.
    approval
        Who approved, when and with what note; None where nobody was asked.
    """

    published_at: str
    run_id: str
    host: str
    bundle: str
    dataset: ExecutedDataset
    panel_cached: bool
    scores_cached: bool
    apex_inference_latency_ms: float
    alerts: tuple[Alert, ...]
    cold_start: bool
    republish_reason: str | None
    approval: dict[str, JsonValue] | None


def read_run(artifact: Artifact) -> RunDocument:
    """Read run.json of a published month or a draft, checked against its manifest.

    Raises
    ------
    Refusal
        It was changed after it was written, or is none.
    """
    return artifact.read_document(RUN_FILE, RunDocument)


def read_execution(artifact: Artifact) -> ExecutionDocument:
    """Read execution.json of a published month, checked against its manifest.

    Raises
    ------
    Refusal
        It was changed after it was written, or is none.
    """
    return artifact.read_document(EXECUTION_FILE, ExecutionDocument)
