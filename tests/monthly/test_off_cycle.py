"""A book between the months: published, told as what it is, and the parent, month or figure of nothing."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from apex_tasks.monitoring.gauges import published_gauges
from apex_tasks.monthly.run import MonthlyRun, run_month
from apex_tasks.published import audit
from apex_tasks.published.ledger import published_chain
from apex_tasks.published.portfolio import (
    latest_of_month,
    latest_version,
    newest_of_month,
    newest_published,
    published_dates,
    rebalance_dates,
)
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ScheduleSettings
from apex_tasks.store import Store
from apex_tasks.web.pages.months import list_months
from tests.support.month_reading import results, run_document
from tests.support.small_market import (
    AUGUST,
    CALENDAR,
    JULY,
    SEPTEMBER,
    SmallMarket,
    home_after,
    month,
    portfolio,
    run,
    small_settings,
)

BETWEEN = dt.date(2025, 7, 16)
REASON = "a name was <suspended>"


def between(market: SmallMarket, home: Path, day: dt.date = BETWEEN) -> MonthlyRun:
    return replace(month(market, home, day, off_cycle=REASON), triggered_by="ada")


@pytest.fixture(scope="module")
def template(market: SmallMarket, chain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """July, and a book of 16 July that is off-cycle."""
    home = home_after(chain, tmp_path_factory.mktemp("off_cycle") / "home", JULY)
    run_month(between(market, home))
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "home")


def test_it_is_published_and_says_what_it_is(home: Path) -> None:
    published = latest_version(Store(home), BETWEEN)
    assert published is not None
    assert (published.name, published.off_cycle) == (f"{BETWEEN}/v1", REASON)
    document = run_document(home, BETWEEN)
    assert (document["off_cycle"], document["triggered_by"], document["overrides"]) == (REASON, "ada", [])
    assert document["parent"]["portfolio"] == f"{JULY}/v1"
    page = published.artifact.read_bytes("report.html").decode()
    assert "OFF-CYCLE" in page
    assert "a name was &lt;suspended&gt;. Triggered by ada." in page


def test_it_is_no_month_of_anything(home: Path) -> None:
    store = Store(home)
    assert rebalance_dates(store) == [JULY, BETWEEN]
    assert published_dates(store) == [JULY]
    assert latest_of_month(store, BETWEEN) is None
    for found in (newest_published(store), newest_of_month(store, "2025-07")):
        assert found is not None
        assert found.rebalance_date == JULY
    (only,), _ = published_chain(store, None)
    assert only.rebalance_date == JULY
    shutil.rmtree(home / "portfolio" / str(JULY))
    assert newest_published(store) is None
    assert published_gauges(store, small_settings(home), CALENDAR) == []


def test_the_list_of_months_marks_it(home: Path) -> None:
    assert [(row.rebalance_date, row.off_cycle) for row in list_months(Store(home))] == [
        (BETWEEN, REASON),
        (JULY, None),
    ]


def test_the_next_month_starts_from_the_month_before_it(market: SmallMarket, chain: Path, home: Path) -> None:
    run(market, home, AUGUST)
    assert results(home, AUGUST) == results(chain, AUGUST)


def test_a_month_never_starts_from_it_alone(market: SmallMarket, home: Path) -> None:
    shutil.rmtree(home / "portfolio" / str(JULY))
    with pytest.raises(Refusal, match="last month's portfolio is not published") as refused:
        run(market, home, AUGUST)
    assert refused.value.received == "none at all"


def test_it_is_repeated_like_a_month(market: SmallMarket, home: Path) -> None:
    before = audit.records(Store(home))[:-1]
    _, again = run_month(between(market, home))
    assert again is not None
    assert again.already_published
    assert audit.records(Store(home))[:-1] == before
    other = month(market, home, BETWEEN, off_cycle=REASON, top_k=30)
    with pytest.raises(Refusal, match="is published already, with a different result"):
        run_month(other)


def test_it_is_not_added_behind_a_later_month(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    home = home_after(chain, tmp_path / "home", JULY, AUGUST, SEPTEMBER)
    with pytest.raises(Refusal, match=f"{BETWEEN} is older than the newest published month"):
        run_month(between(market, home))


def test_a_month_on_its_day_is_a_version_of_its_own(market: SmallMarket, chain: Path, home: Path) -> None:
    """The setting `schedule.nth_session` may come to mean the day that was off-cycle before."""
    sessions = CALENDAR.sessions(JULY, BETWEEN)
    settings = small_settings(home, schedule=ScheduleSettings(nth_session=len(sessions)))
    _, published = run(market, home, BETWEEN, settings)
    assert published is not None
    assert (published.portfolio, published.already_published) == (f"{BETWEEN}/v2", False)
    assert published_dates(Store(home)) == [JULY, BETWEEN]
    _, again = run(market, home, BETWEEN, settings)
    assert again is not None
    assert again.already_published
    assert portfolio(home, BETWEEN).details.keys() == {"rebalance_date", "as_of"}
