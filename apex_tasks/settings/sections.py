"""The sections of the settings; their defaults and descriptions make the table in the README."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.settings.choices import FeaturesMode, MarketRules, Normalization, Policy, Priority, Severity
from apex_tasks.settings.comma_separated import CommaSeparated, Name
from apex_tasks.settings.faults import Fault

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
KeyHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

MONTH_MINUTES, DAY_SECONDS = 44_640.0, 86_400.0
"""Bounds on times: what is longer is a slip, and what is much longer no clock can hold."""
Bound = Annotated[float, Field(ge=-1e15, le=1e15)]


class SettingsSection(FrozenModel):
    """A section: a number is finite, and within what can be meant by it."""

    model_config = ConfigDict(allow_inf_nan=False)


class ScheduleSettings(SettingsSection):
    """When the monthly rebalance is due."""

    nth_session: Annotated[int, Field(ge=1, le=15)] = Field(
        1, description="Which TSE session of the month rebalances (1 = first)."
    )
    grace_days: Annotated[int, Field(ge=0, le=366)] | None = Field(
        None,
        description="A missed slot older than this many days is skipped instead of run late; "
        "unset: the latest missed slot always runs.",
    )


class FreshnessSettings(SettingsSection):
    """When the dataset counts as complete for the as-of session."""

    min_row_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.95, description="Least rows of the as-of session, as a share of the trailing median."
    )
    trailing_sessions: Annotated[int, Field(ge=1, le=1_000)] = Field(
        20, description="Sessions before the as-of session that make the trailing median."
    )
    poke_interval_seconds: Annotated[float, Field(gt=0, le=DAY_SECONDS)] = Field(
        300.0,
        description="Seconds between two looks of the waiting sensor; 10 or more where it really has to wait.",
    )
    timeout_minutes: Annotated[float, Field(gt=0, le=MONTH_MINUTES)] = Field(
        180.0, description="Minutes until a dataset that stays incomplete fails the run."
    )


class JudgementSettings(SettingsSection):
    """When a dataset that reads well is sound; docs/dataset.md describes every fault."""

    market: MarketRules = Field(
        MarketRules.TSE,
        description="`tse`: Tokyo's codes, calendar and daily limits; `generic`: the data's own.",
    )
    min_priced_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.95, description="Least closes on the as-of session, as a share of the trailing median."
    )
    min_traded_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.80, description="Least volumes on it, likewise."
    )
    min_session_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.80, description="Closes of an earlier session below this share of the usual are told."
    )
    max_null_rise: Annotated[float, Field(gt=0, le=1)] = Field(
        0.10, description="Most by which a feature's share of nulls may exceed its median over the lookback."
    )
    max_price_feature_nulls: Annotated[float, Field(gt=0, le=1)] = Field(
        0.05, description="Largest share of nulls of a feature that follows from prices, over the lookback."
    )
    max_missing_rows: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01, description="Largest share of rows that may be missing within the histories of stocks."
    )
    max_repeated_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.10, description="Largest share of stocks that may repeat close and volume of the session before."
    )
    max_moved_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01, description="Largest share of closes that may move beyond the daily limit on one session."
    )
    max_turnover_ratio: Annotated[float, Field(gt=1, le=10)] = Field(
        1.5, description="TurnoverValue over Volume x Close, or its inverse, above which a unit is wrong."
    )
    max_lost_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.10,
        description="Largest share of held or ordered names that may have no row since the month before.",
    )
    min_distinct_scores: Annotated[float, Field(gt=0, le=1)] = Field(
        0.90, description="Least share of scores that differ from all others."
    )
    accepted_moves: CommaSeparated[Name] = Field(
        (), description="Moves beyond the limit that are true, as `<Code>@<date>`, separated by commas."
    )
    warn_only: CommaSeparated[Fault] = Field(
        (), description="Faults that are told and stop no month, separated by commas."
    )


class RankingSettings(SettingsSection):
    """What is ranked, and how the model is fed."""

    top_k: Annotated[int, Field(ge=1, le=500)] = Field(35, description="Names to hold.")
    horizon: Literal[1, 5, 10, 20] = Field(20, description="Forecast horizon in sessions.")
    normalization: Normalization = Field(
        Normalization.CSZ, description="`csz`: z-score per day (production); `raw`: values as they are."
    )
    normalization_reason: Reason | None = Field(
        None,
        description="Why the features are normalized otherwise than in training, which is refused without a reason.",
        # What determines a result names it where it is given: keys and run.json without one stay as they were.
        exclude_if=lambda reason: reason is None,
    )
    features_mode: FeaturesMode = Field(
        FeaturesMode.FILL_ZERO,
        description="Missing features: `fill-zero` (never for returns, targets, labels) or `strict` "
        "(refuse). `drop-missing` cannot feed a fixed checkpoint and is always refused.",
    )
    new_history_after_sessions: Annotated[int, Field(ge=1)] = Field(
        60,
        description="A code that comes back after this many sessions without a row is another company's: no window "
        "reaches across. Not for `apex score` and `same_close` backtests, which do what v0.1.0 did.",
    )


class SelectionSettings(SettingsSection):
    """The candidate gate where the bundle's config does not say (it has the first word)."""

    k_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.60, description="Share of the pool that the percentile gate keeps."
    )
    k_min: Annotated[int, Field(ge=1, le=100_000)] = Field(53, description="Least candidates the gate keeps.")
    sign: Literal[-1, 1] = Field(1, description="1: a higher output of the model is better; -1: a lower one.")


class PortfolioSettings(SettingsSection):
    """How candidates become a book."""

    policy: Policy = Field(
        Policy.BASELINE,
        description="`baseline`: the frozen v0.1.0 algorithm; `capped`: exactly top_k names in lots of 100, with "
        "turnover, 5 % of ADV and cash as hard limits.",
    )
    initial_capital_jpy: Annotated[float, Field(gt=0, le=1e15)] = Field(
        10_000_000.0, description="Cash of a cold start, JPY."
    )
    candidate_multiplier: Annotated[float, Field(ge=1, le=1_000)] = Field(
        2.0, description="Size of the candidate pool in multiples of top_k."
    )
    min_weight: Annotated[float, Field(ge=0, lt=1)] = Field(0.02, description="Least weight of a new name.")
    turnover_limit: Annotated[float, Field(ge=0, le=1)] = Field(
        0.35, description="One-way turnover above which the step to the target is shortened."
    )
    cost_penalty: Annotated[float, Field(ge=0, le=1_000)] = Field(
        1.0, description="Multiple of the round-trip cost fraction taken off a new name's score."
    )
    min_alpha: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="Shortest step towards the target."
    )
    epsilon: Annotated[float, Field(gt=0, le=1e-3)] = Field(
        1e-8, description="Weights at or below this are dropped; tolerance of the weight comparisons."
    )


class EnhancedSettings(SettingsSection):
    """Enhanced inference (EI): the two options of v0.1.0 that production leaves off."""

    hysteresis: bool = Field(
        False, description="A.3: the best entry_k enter, held names stay within the best exit_k; no gate."
    )
    entry_k: Annotated[int, Field(ge=1, le=100_000)] = Field(
        35, description="Best names of the pool that may enter."
    )
    exit_k: Annotated[int, Field(ge=1, le=100_000)] = Field(
        60, description="Best names of the pool that may stay."
    )
    priority: Priority = Field(
        Priority.RANK,
        description="`rank`: the best entry_k of these, as in v0.1.0 (what is held then decides nothing); `held`: "
        "held names first.",
    )
    neutralisation: bool = Field(
        False, description="A.4: sector and volatility_60d are regressed out of the scores before ranking."
    )
    gamma: Annotated[float, Field(ge=0, le=1)] = Field(0.3, description="Share of the fit that is taken out.")
    ridge_alpha: Annotated[float, Field(gt=0, le=1e9)] = Field(
        10.0, description="Penalty of the ridge regression."
    )

    @model_validator(mode="after")
    def _exit_after_entry(self) -> Self:
        if self.exit_k < self.entry_k:
            raise ValueError(f"exit_k must be at least entry_k ({self.entry_k})")
        return self


class InferenceSettings(SettingsSection):
    """How the forward pass uses the machine; it never changes a score beyond 1e-5."""

    workers: Annotated[int, Field(ge=1, le=1_024)] | None = Field(
        None, description="Threads that each run whole batches; unset: one per core."
    )
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = Field(32, description="Stocks per forward pass.")


class PerformanceSettings(SettingsSection):
    """When the live book's figures deviate from the bundle's benchmarks, and what counts as drift."""

    max_deviation: Annotated[float, Field(gt=0, le=1_000)] = Field(
        0.20,
        description="Share of its benchmark from which a deviation is marked as large; it alarms on nothing.",
    )
    false_alarm_rate: Annotated[float, Field(ge=0.001, le=0.2)] = Field(
        0.01,
        description="Chance that a judgement finds any deviation in a book that does what its benchmark did.",
    )
    check_false_alarm_rate: Annotated[float, Field(ge=0.02, le=0.5)] = Field(
        0.05,
        description="Chance that a sound market or dataset needs attention, in each of regime and drift.",
    )
    min_sessions: Annotated[int, Field(ge=2, le=25_000)] = Field(
        60, description="Sessions of live history before which deviations are shown but not judged."
    )
    reference_sessions: Annotated[int, Field(ge=1, le=24)] = Field(
        6,
        description="As-of sessions that features and scores are pooled over to compare the one after them with.",
    )
    max_psi: Annotated[float, Field(gt=0, le=1_000)] = Field(
        0.25,
        description="Population stability index up to which neither a feature nor the scores have drifted.",
    )
    max_ks: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.20, description="Kolmogorov-Smirnov statistic up to which they have not."
    )
    max_volatility_ratio: Annotated[float, Field(gt=1, le=1_000)] = Field(
        1.5,
        description="Live over earlier market volatility, or its inverse, up to which the regime is the same.",
    )


class LimitSettings(SettingsSection):
    """What no month may go beyond, whatever a run asks for: no parameter of a run changes these."""

    least_names: Annotated[int, Field(ge=1, le=500)] = Field(
        10, description="Fewest names of a book; a smaller top_k is refused at once, a smaller plan too."
    )
    largest_weight: Annotated[float, Field(gt=0, le=1)] = Field(
        0.25, description="Largest weight of one name; a plan with a larger one is refused."
    )
    least_candidates: Annotated[int, Field(ge=1, le=5000)] = Field(
        15, description="Fewest candidates that a plan is made of, however few names are asked for."
    )


class BundleLimits(SettingsSection):
    """Bounds on what a bundle may unpack to."""

    max_unpacked_mib: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        512, description="Largest unpacked size, MiB."
    )
    max_files: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1000, description="Most files.")


class NotificationSettings(SettingsSection):
    """Who is notified of failures, deadlines and published months, and how."""

    slack_connection: str = Field(
        "apex_slack", description="Airflow connection (type slackwebhook) for messages; undefined: no Slack."
    )
    smtp_connection: str = Field(
        "apex_smtp", description="Airflow connection (type smtp) for e-mail; undefined: no e-mail."
    )
    email_from: str | None = Field(
        None, description="Sender of e-mail; unset: the connection's `from_email`."
    )
    email_to: CommaSeparated[Name] = Field(
        (), description="Recipients of e-mail, separated by commas; unset: no e-mail."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=60)] = Field(
        10, description="Seconds until a mail or Slack server that does not answer is given up."
    )
    runbook: str = Field(
        "docs/runbook.md", description="Path or URL of the runbook; messages link to its headings."
    )


class DeadlineSettings(SettingsSection):
    """When a run that has not published is late, counted from the moment it was queued; how long people may think."""

    warning_minutes: Annotated[float, Field(gt=0, le=MONTH_MINUTES)] = Field(
        60.0, description="Minutes until a run without a published portfolio is late."
    )
    critical_minutes: Annotated[float, Field(gt=0, le=MONTH_MINUTES)] = Field(
        180.0, description="Minutes until that is critical."
    )
    approval_minutes: Annotated[float, Field(gt=0, le=1200)] = Field(
        120.0,
        description="Minutes that people have to answer when approval is asked; then the month stays unpublished. At "
        "most 1200, since Airflow ends a run after 24 hours.",
    )


class StatsdSettings(SettingsSection):
    """Where a run's metrics are sent, by UDP."""

    host: str | None = Field(None, description="Host of the statsd exporter; unset: no metrics are sent.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8125, description="UDP port of the statsd exporter.")
    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        "apex", description="First part of every metric's name; the exporter's mapping expects `apex`."
    )


class ServeSettings(SettingsSection):
    """How `apex serve` answers, whom, and how much."""

    host: str = Field("127.0.0.1", description="Address that `apex serve` listens on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8000, description="Its port; 0: a free one, which it prints."
    )
    cache_dir: str = Field(
        "apex_cache", description="Local folder of its panels and scores; never the store `home`."
    )
    cache_max_gib: Annotated[float, Field(gt=0, le=1_048_576)] = Field(
        10.0,
        description="Size of that folder above which the panels and scores used longest ago are removed.",
    )
    api_key_file: str | None = Field(
        None,
        description="File with one API key a line, read again when it changes; no key: only this host is served.",
    )
    api_key_hashes: CommaSeparated[KeyHash] = Field(
        (), description="SHA-256 of API keys in hex, separated by commas, instead of the file or beside it."
    )
    rate_limit: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}/(second|minute|hour|day)$")] = Field(
        "6000/minute", description="Most requests of one client address; more are answered with 429."
    )
    max_body_bytes: Annotated[int, Field(ge=1, le=1 << 30)] = Field(
        65_536, description="Largest request body; a larger one is answered with 413."
    )
    body_timeout_seconds: Annotated[float, Field(gt=0, le=DAY_SECONDS)] = Field(
        10.0, description="Seconds until a request body that does not arrive is given up with 408."
    )
    request_timeout_seconds: Annotated[float, Field(gt=0, le=DAY_SECONDS)] = Field(
        120.0,
        description="Seconds until a prediction that is not ready is answered with 503; the computation goes on.",
    )
    docs: bool = Field(True, description="Serve the interactive documentation under /docs.")


class AlertThreshold(SettingsSection):
    """A bound on one metric; the alert fires when `metric comparison bound` is true."""

    metric: str = Field(description="Name in run.json's metrics.")
    comparison: Literal["<", "<=", ">", ">=", "!=", "=="] = Field(description="Between metric and bound.")
    bound: Bound = Field(description="The alert fires when the comparison with it is true.")
    per_name: Annotated[float, Field(ge=0, le=1_000)] | None = Field(
        None, description="Lowers the bound to ceil(per_name * top_k), for a smaller book."
    )
    hysteresis_per_name: Annotated[float, Field(ge=0, le=1_000)] | None = Field(
        None, description="Stands for per_name when hysteresis, not the gate, chooses the candidates."
    )
    first_build_bound: Bound | None = Field(
        None, description="Stands for the bound when nothing is held before the trades."
    )
    severity: Severity = Field(description="CRITICAL stops before publish, WARNING is published.")
    remedy: str = Field(description="What the operator does first.")
    runbook: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = Field(description="Heading of docs/runbook.md.")
