"""The sensor that waits for the dataset: for nothing that a run must not ask for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException
from apex_airflow import tasks
from apex_airflow.dataset_fresh_sensor import DatasetFreshSensor
from apex_airflow.tasks import REFUSAL, WAITING

from tests.support.small_market import AS_OF, AUGUST, CALENDAR, JULY, SEPTEMBER, SmallMarket, home_after


@pytest.fixture
def context(
    market: SmallMarket, chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """A run by hand in August, with July and September published and a dataset that never comes."""
    environment = {
        "APEX_HOME": home_after(chain, tmp_path / "home", JULY, SEPTEMBER),
        "APEX_BUNDLE": market.bundle,
        "APEX_DATASET": tmp_path / "nowhere.parquet",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    xcoms: dict[str, Any] = {}
    ti = SimpleNamespace(
        xcom_push=xcoms.__setitem__,
        get_first_reschedule_date=lambda _: None,
        start_date=CALENDAR.rebalance_instant(AUGUST),
    )
    monkeypatch.setattr(tasks, "get_current_context", lambda: {"ti": ti})
    return {
        "dag_run": SimpleNamespace(run_type="manual", run_after=CALENDAR.rebalance_instant(AUGUST)),
        "params": {},
        "ti": ti,
        "xcoms": xcoms,
    }


def look(context: dict[str, Any], **params: Any) -> bool:
    return DatasetFreshSensor(task_id="dataset_fresh").poke({**context, "params": params}).is_done


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"as_of": "2098-06-30"}, "the as-of session 2098-06-30 is in the future"),
        ({"as_of": "2025-09-01"}, "2025-09-01 is the rebalance day; its as-of session is 2025-08-29"),
        ({"as_of": "2025-09-10"}, "2025-09-10 is not the session before a rebalance day"),
        ({"top_k": 1, "dry_run": True}, "top_k 1 is below the fewest names"),
        ({}, "2025-08-01 is older than the newest published month"),
    ],
)
def test_the_first_look_refuses(context: dict[str, Any], params: dict[str, Any], said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        look(context, **params)
    assert context["xcoms"][REFUSAL]["what"].startswith(said), "the run's tab says why"


@pytest.mark.parametrize(
    "params",
    [
        {"dry_run": True},
        {"republish_reason": "was missed"},
        {"as_of": "2025-08-29"},
        {"as_of": "2025-09-10", "off_cycle": "why"},
    ],
)
def test_what_may_run_waits_for_its_dataset(context: dict[str, Any], params: dict[str, Any]) -> None:
    assert not look(context, **params)


def delivered(market: SmallMarket, path: Path, **columns: Any) -> None:
    market.changed(path, **columns).rename(path)


def test_a_session_without_closes_is_waited_for_and_shifted_dates_are_not(
    market: SmallMarket, context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dataset.parquet"
    monkeypatch.setenv("APEX_DATASET", str(path))
    monkeypatch.setenv("APEX_HOME", str(tmp_path / "empty"))
    closes = market.values("Close")
    closes[(market.dates == AS_OF[AUGUST]) & (market.codes > "15")] = np.nan
    delivered(market, path, Close=closes)
    assert not look(context)
    assert "prices_missing" in context["xcoms"][WAITING]["received"]
    delivered(market, path, Date=pa.array(market.dates + dt.timedelta(days=1)))
    with pytest.raises(AirflowFailException, match="off_session_rows"):
        look(context)
    delivered(market, path)
    assert look(context)
