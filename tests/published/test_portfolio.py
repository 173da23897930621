"""Published portfolios in the store: which versions there are, which is the newest, and what each says."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from apex_tasks.published.portfolio import (
    BOOK_FILE,
    PORTFOLIOS,
    PortfolioDetails,
    last_published_before,
    latest_version,
    newest_of_month,
    published_dates,
    published_months,
    rebalance_dates,
    version_numbers,
)
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store

JULY, AUGUST, SEPTEMBER = dt.date(2025, 7, 1), dt.date(2025, 8, 1), dt.date(2025, 9, 1)


def publish(store: Store, day: dt.date, version: int = 1, content: bytes = b"{}") -> None:
    details = PortfolioDetails(rebalance_date=day, as_of=day - dt.timedelta(days=1))
    place = (PORTFOLIOS, str(day), f"v{version}")
    store.write(*place, files={BOOK_FILE: content}, details=details.model_dump(mode="json"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """July twice, September once; August was killed before its manifest, as was the third version of July."""
    store = Store(tmp_path)
    for day, version in ((JULY, 1), (JULY, 2), (SEPTEMBER, 1)):
        publish(store, day, version)
    for place in (f"{JULY}/v3", f"{AUGUST}/v1"):
        (tmp_path / PORTFOLIOS / place).mkdir(parents=True)
    return store


def test_the_newest_complete_version_counts(store: Store) -> None:
    july = latest_version(store, JULY)
    assert july is not None
    assert (july.name, july.as_of) == ("2025-07-01/v2", dt.date(2025, 6, 30))
    assert latest_version(store, AUGUST) is None
    assert version_numbers(store, JULY) == [1, 2, 3]


def test_months_are_those_with_a_complete_version_up_to_a_day(store: Store) -> None:
    assert [month.name for month in published_months(store)] == ["2025-07-01/v2", "2025-09-01/v1"]
    assert [month.name for month in published_months(store, AUGUST)] == ["2025-07-01/v2"]
    assert published_dates(store) == [JULY, SEPTEMBER]
    assert rebalance_dates(store) == [JULY, AUGUST, SEPTEMBER]


def test_the_month_before_and_the_month_by_name(store: Store) -> None:
    before = last_published_before(store, SEPTEMBER)
    assert before is not None
    assert before.rebalance_date == JULY
    assert last_published_before(store, JULY) is None
    found = newest_of_month(store, "2025-09")
    assert found is not None
    assert found.rebalance_date == SEPTEMBER
    assert newest_of_month(store, "2025-08") is None


def test_an_unexpected_folder_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / PORTFOLIOS / "backup of July").mkdir()
    with pytest.raises(Refusal, match=r"is unexpected.*backup of July.*Move that folder"):
        published_months(store)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"before": {}, "orders": {}}'])
def test_a_book_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    publish(store, JULY, content=content)
    july = latest_version(store, JULY)
    assert july is not None
    for read in (july.book_before, july.orders):
        with pytest.raises(Refusal, match=r"cannot be read.*book\.json"):
            read()
