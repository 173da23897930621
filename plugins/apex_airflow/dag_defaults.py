"""What all DAGs of APEX Batch share: owner, retries, failure callbacks, start, and the kinds of their parameters."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param

from apex_airflow.callbacks import notify_retry, notify_task_failure

# No run is due before a DAG is unpaused (catchup is off); backfills may reach this far back.
START_DATE = pendulum.datetime(2000, 1, 1, tz="Asia/Tokyo")

# Each step reads or writes a file or a store, whose failures pass; a refusal is never retried.
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "apex",
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    "on_failure_callback": notify_task_failure,
    "on_retry_callback": notify_retry,
}


def optional_text(description: str) -> Param:
    """A text that may be left empty."""
    return Param(None, type=["null", "string"], description=description)


def optional_day(description: str) -> Param:
    """A calendar day that may be left empty."""
    return Param(None, type=["null", "string"], format="date", description=description)


def optional_count(description: str, maximum: int) -> Param:
    """A whole number from 1, which may be left empty."""
    return Param(None, type=["null", "integer"], minimum=1, maximum=maximum, description=description)


def optional_choice(description: str, values: Iterable[str]) -> Param:
    """One of these words, or none of them."""
    return Param(None, type=["null", "string"], enum=[None, *values], description=description)


def input_params() -> dict[str, Param]:
    """Bundle and dataset, which every run may name instead of taking those of the settings."""
    return {
        "bundle": optional_text("Folder or tar.gz. Empty: APEX_BUNDLE."),
        "dataset": optional_text("Parquet file. Empty: APEX_DATASET."),
    }
