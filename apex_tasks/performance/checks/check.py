"""A check that looks for the cause of a deviation: its verdict, what it found, and what to do."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field

from apex_tasks.frozen_model import StoredDocument


class CheckVerdict(StrEnum):
    """What a check says."""

    OK = "ok"
    ATTENTION = "attention"
    UNKNOWN = "unknown"


class CheckName(StrEnum):
    """The four checks."""

    FRESHNESS = "dataset freshness"
    INTEGRITY = "checkpoint integrity"
    REGIME = "market regime"
    DRIFT = "drift of features and scores"


class Check(StoredDocument):
    """One check.

    Attributes
    ----------
    name
        Which.
    verdict
        OK, attention, or unknown where it could not be answered.
    finding
        One sentence with the numbers.
    remedy
        What to do first; empty when it is ok. Stored as `first`, the name that older reports have.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    name: CheckName
    verdict: CheckVerdict
    finding: str
    remedy: str = Field("", alias="first")
