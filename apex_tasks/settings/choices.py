"""What a setting may be where it is one of a few words."""

from __future__ import annotations

from enum import StrEnum


class Normalization(StrEnum):
    """How features reach the model."""

    CSZ = "csz"
    RAW = "raw"


class MarketRules(StrEnum):
    """Whose rules a dataset keeps."""

    TSE = "tse"
    """Tokyo's codes, calendar and daily limits."""

    GENERIC = "generic"
    """Any safe codes; sessions and plausible moves come from the data themselves."""


class FeaturesMode(StrEnum):
    """What happens to a feature that the dataset lacks."""

    FILL_ZERO = "fill-zero"
    STRICT = "strict"
    DROP_MISSING = "drop-missing"


class RunParameter(StrEnum):
    """What a monthly run may be given; the setting `locked` names those that it may not."""

    AS_OF = "as_of"
    OFF_CYCLE = "off_cycle"
    BUNDLE = "bundle"
    DATASET = "dataset"
    TOP_K = "top_k"
    HORIZON = "horizon"
    NORMALIZATION = "normalization"
    NORMALIZATION_REASON = "normalization_reason"
    FEATURES_MODE = "features_mode"
    POLICY = "policy"
    DRY_RUN = "dry_run"
    APPROVAL = "approval"
    REPUBLISH_REASON = "republish_reason"
    COLD_START = "cold_start"


class Priority(StrEnum):
    """Which names give way when more qualify under hysteresis than may be kept."""

    RANK = "rank"
    """The last in rank order, as the notes on v0.1.0 say. Holdings then decide nothing."""

    HELD = "held"
    """The last new name: held names keep their places, and new ones fill what is left."""


class Policy(StrEnum):
    """How target weights follow from the candidates."""

    BASELINE = "baseline"
    CAPPED = "capped"


class Timing(StrEnum):
    """When a backtest's orders are decided and filled."""

    LIVE = "live"
    SAME_CLOSE = "same_close"


class Sessions(StrEnum):
    """Whose sessions set the rebalance days of a backtest."""

    TSE = "tse"
    DATASET = "dataset"


class Severity(StrEnum):
    """What a broken alert threshold does: stop before publish, or go on and notify."""

    CRITICAL = "CRITICAL"
    WARNING = "WARNING"
