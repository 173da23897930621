"""The chain of months holds when `schedule.nth_session` changes; what is missing is still missed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from apex_tasks.published.chain import book_to_start_from, due_before, published_for
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings
from apex_tasks.store import Store
from tests.support.small_market import (
    AUGUST,
    CALENDAR,
    JULY,
    SEPTEMBER,
    SmallMarket,
    home_after,
    portfolio,
    run,
    small_settings,
)

LATER = 5
AUGUST_LATER, SEPTEMBER_LATER = (CALENDAR.rebalance_session(2025, month, LATER) for month in (8, 9))


def on_session(home: Path, nth_session: int) -> ApexSettings:
    settings = small_settings(home)
    return settings.model_copy(
        update={"schedule": settings.schedule.model_copy(update={"nth_session": nth_session})}
    )


def parent_of(home: Path, rebalance: dt.date, nth_session: int) -> str | None:
    store = Store(str(home))
    due = due_before(store, rebalance, CALENDAR, nth_session)
    found = book_to_start_from(store, rebalance, due, CALENDAR)
    return None if found is None else found.name


def test_a_month_after_a_rise_starts_from_the_book_before(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path, JULY)
    plan, _ = run(market, home, AUGUST_LATER, on_session(home, LATER))
    assert plan.parent == "2025-07-01/v1"
    plan, _ = run(market, home, SEPTEMBER_LATER, on_session(home, LATER))
    assert plan.parent == f"{AUGUST_LATER}/v1"
    # Lowered again: the next month finds the later day, and months published on it can be run again.
    assert parent_of(home, CALENDAR.rebalance_session(2025, 10, 1), 1) == f"{SEPTEMBER_LATER}/v1"
    plan, published = run(market, home, AUGUST_LATER, on_session(home, LATER))
    assert published is not None
    assert published.already_published
    assert parent_of(home, AUGUST_LATER, 1) == "2025-07-01/v1"
    assert parent_of(home, SEPTEMBER_LATER, 1) == f"{AUGUST_LATER}/v1"


@pytest.mark.parametrize("nth_session", range(1, 16))
def test_every_session_finds_the_month_before(chain: Path, nth_session: int) -> None:
    rebalance = CALENDAR.rebalance_session(2025, 11, nth_session)
    assert parent_of(chain, rebalance, nth_session) == "2025-10-01/v1"
    # Of two months before, no book is taken: October is missing then.
    assert parent_of(chain, CALENDAR.rebalance_session(2025, 12, nth_session), nth_session) is None


def test_a_month_that_was_left_out_is_still_missed(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    home = home_after(chain, tmp_path, JULY)
    with pytest.raises(
        Refusal, match=r"last month's portfolio is not published.*the last one is 2025-07-01/v1"
    ):
        run(market, home, SEPTEMBER_LATER, on_session(home, LATER))


def test_a_book_made_by_hand_before_the_session_of_the_month_does_not_count(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path, JULY)
    by_hand = CALENDAR.rebalance_session(2025, 8, 3)
    run(market, home, by_hand, on_session(home, LATER), off_cycle="by hand")
    assert portfolio(home, by_hand)
    assert parent_of(home, SEPTEMBER_LATER, LATER) is None
    with pytest.raises(Refusal, match=f"expected=a portfolio published for {AUGUST_LATER} or later"):
        run(market, home, SEPTEMBER_LATER, on_session(home, LATER))


def test_a_later_book_of_the_same_month_is_not_the_month_before(chain: Path) -> None:
    store = Store(str(chain))
    found = published_for(store, AUGUST_LATER, SEPTEMBER, CALENDAR)
    assert found is not None
    assert found.rebalance_date == AUGUST
    assert published_for(store, AUGUST_LATER, AUGUST, CALENDAR) is None
