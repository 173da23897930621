"""The earlier sessions and months that the newest is compared with."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from apex_tasks.performance.checks.reference_sessions import months_of_same_scores, reference_as_of
from apex_tasks.published.portfolio import latest_version
from apex_tasks.store import Store
from tests.support import bundle_factory
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    CALENDAR,
    JULY,
    REBALANCES,
    SEPTEMBER,
    SmallMarket,
    home_after,
    run,
)


@pytest.fixture
def home(chain: Path, tmp_path: Path) -> Path:
    return home_after(chain, tmp_path / "home", *REBALANCES)


def months(home: Path, *days: dt.date) -> list[Any]:
    return [latest_version(Store(home), day) for day in days]


def test_published_as_of_sessions_come_first_and_the_calendar_goes_on(home: Path) -> None:
    published = months(home, JULY, AUGUST, SEPTEMBER)
    assert reference_as_of(published, 2, CALENDAR, 1) == [AS_OF[AUGUST], AS_OF[JULY]]
    found = reference_as_of(published, 4, CALENDAR, 1)
    assert found == [AS_OF[AUGUST], AS_OF[JULY], dt.date(2025, 5, 30), dt.date(2025, 4, 30)]
    assert reference_as_of(months(home, JULY), 1, CALENDAR, 1) == [dt.date(2025, 5, 30)]


def test_scores_of_another_horizon_are_no_reference(market: SmallMarket, home: Path) -> None:
    assert [month.rebalance_date for month in months_of_same_scores(months(home, *REBALANCES), 2)] == [
        SEPTEMBER,
        AUGUST,
    ]
    run(market, home, AUGUST, horizon=5, republish_reason="another horizon")
    assert [month.rebalance_date for month in months_of_same_scores(months(home, *REBALANCES), 9)] == [
        SEPTEMBER,
        JULY,
    ]


def test_scores_of_the_other_sign_are_no_reference(market: SmallMarket, home: Path, tmp_path: Path) -> None:
    turned = bundle_factory.Draft()
    turned.config["selection"]["horizons"]["20"]["sign"] = -1
    other = SmallMarket(market.dataset, turned.folder(tmp_path / "turned"))
    run(other, home, AUGUST, republish_reason="the other sign")
    found = months(home, *REBALANCES)
    assert found[1].run().hashes["checkpoint"] == found[0].run().hashes["checkpoint"]
    assert [month.rebalance_date for month in months_of_same_scores(found, 9)] == [SEPTEMBER, JULY]
