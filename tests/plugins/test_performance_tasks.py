"""The look that a task of the performance run belongs to, from Airflow's context."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from apex_airflow.tasks import performance_run_from

from tests.support.small_market import SmallMarket

AT = dt.datetime(2025, 10, 10, 9, tzinfo=dt.UTC)


def context(
    run_after: dt.datetime = AT, logical_date: dt.datetime | None = None, **given: Any
) -> dict[str, Any]:
    found = {
        "params": {"dataset": None, "bundle": None, "until": None, **given},
        "dag_run": SimpleNamespace(run_after=run_after),
    }
    return found if logical_date is None else {**found, "logical_date": logical_date}


@pytest.fixture
def here(market: SmallMarket, chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_HOME", str(chain))
    monkeypatch.setenv("APEX_DATASET", str(market.dataset))


@pytest.mark.usefixtures("here")
def test_the_day_is_that_of_the_run() -> None:
    """A run that an asset triggered has no logical date; a run that starts late keeps its own day."""
    assert performance_run_from(context()).request.until == dt.date(2025, 10, 10)
    late = context(AT + dt.timedelta(days=9), logical_date=AT)
    assert performance_run_from(late).request.until == dt.date(2025, 10, 10)
    assert performance_run_from(context(until="2025-08-29")).request.until == dt.date(2025, 8, 29)


@pytest.mark.usefixtures("here")
def test_before_the_first_month_it_skips_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AirflowSkipException, match="No month is published up to 2025-06-30"):
        performance_run_from(context(until="2025-06-30"))
    monkeypatch.setenv("APEX_HOME", str(tmp_path))
    with pytest.raises(AirflowSkipException, match="there is no performance yet"):
        performance_run_from(context())
