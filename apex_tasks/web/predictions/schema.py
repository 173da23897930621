"""What is asked of `POST /predict` and what it answers."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from apex_tasks.frozen_model import FrozenModel

MAX_TOP_K = 500

_QUERY: dict[str, JsonValue] = {"horizon": 20, "top_k": 35}
_REPLY: dict[str, JsonValue] = {
    "date": "2025-10-31",
    "next_session": "2025-11-04",
    "horizon": 20,
    "top_k": 2,
    "predictions": [
        {"rank": 1, "code": "69370", "score": 1.8203125},
        {"rank": 2, "code": "13010", "score": 1.7890625},
    ],
    "warnings": [],
    "bundle_sha256": "5d0f…",
    "bundle_version": "v0.1.0-prod",
    "dataset_sha256": "91ac…",
    "cached": True,
    "synthetic": False,
}


def _written_as_date(value: object) -> object:
    """Take ISO dates only: pydantic would read numbers as seconds."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("give a date as YYYY-MM-DD")
    return value


class PredictionQuery(BaseModel):
    """A ranking that is asked for; every field has a default."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [_QUERY, {**_QUERY, "date": "2025-10-31"}]},
    )

    horizon: Annotated[int, Field(strict=True, ge=1)] | None = Field(
        None,
        description="Forecast horizon in sessions, one of the bundle's; default: setting `ranking.horizon`.",
    )
    top_k: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP_K)] | None = Field(
        None, description="Most stocks in the answer; default: setting `ranking.top_k`."
    )
    date: Annotated[dt.date, BeforeValidator(_written_as_date)] | None = Field(
        None,
        description="As-of session, one of `GET /available-dates`; default: the newest that is complete.",
    )


class RankedStock(FrozenModel):
    """One stock of a ranking."""

    rank: int = Field(description="1 = best; ties by code.")
    code: str
    score: float = Field(
        description="Higher is better: the model's float32, exactly, or its negative where the bundle's sign is -1."
    )


class PredictionReply(BaseModel):
    """The best stocks of one session, as `apex score` ranks them."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [_REPLY]})

    date: dt.date = Field(description="As-of session: nothing after its close was used.")
    next_session: dt.date = Field(description="Session after it: the first on which one can trade.")
    horizon: int
    top_k: int = Field(description="As asked; there may be fewer stocks.")
    predictions: tuple[RankedStock, ...] = Field(description="Best first.")
    warnings: tuple[str, ...] = Field(description="What a reader must know of the data behind it.")
    bundle_sha256: str
    bundle_version: str | None
    dataset_sha256: str
    cached: bool = Field(description="Nothing had to be computed.")
    synthetic: bool = Field(description="Bundle or dataset are made up.")


class AvailableDates(BaseModel):
    """Sessions that can be predicted."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "dates": ["2025-10-30", "2025-10-31"],
                    "first": "2025-10-30",
                    "last": "2025-10-31",
                    "default": "2025-10-31",
                }
            ]
        },
    )

    dates: tuple[dt.date, ...] = Field(description="Ascending.")
    first: dt.date
    last: dt.date
    default: dt.date | None = Field(
        description="The session of a query without a date; null: none is complete."
    )
