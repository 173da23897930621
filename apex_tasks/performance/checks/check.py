"""A check that looks for the cause of a deviation: its verdict, what it found, and what to do first."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


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


class Check(BaseModel):
    """One check.

    Attributes
    ----------
    name
        Which.
    verdict
        OK, attention, or unknown where it could not be answered.
    finding
        One sentence with the numbers.
    first
        What to do first; empty when it is ok.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: CheckName
    verdict: CheckVerdict
    finding: str
    first: str = ""
