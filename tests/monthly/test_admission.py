"""What is refused at once: sessions of no month, sessions to come, months behind the newest, too few names."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monthly.request import RunRequest, resolve_request
from apex_tasks.published.portfolio import published_dates
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, LimitSettings, ScheduleSettings, load_settings
from apex_tasks.store import Store
from tests.support.small_market import (
    AUGUST,
    JULY,
    OCTOBER,
    SEPTEMBER,
    SmallMarket,
    home_after,
    month,
    published_bytes,
    run,
)

CALENDAR = TseCalendar.load()
TOKYO = ZoneInfo("Asia/Tokyo")
SETTINGS = load_settings().model_copy(update={"bundle": "b", "dataset": "d"})
NOW = dt.datetime(2026, 9, 10, 12, tzinfo=TOKYO)


def resolve(now: dt.datetime = NOW, settings: ApexSettings = SETTINGS, **given: Any) -> RunRequest:
    return resolve_request(given, moment=now, now=now, settings=settings, calendar=CALENDAR)


def refused(now: dt.datetime = NOW, settings: ApexSettings = SETTINGS, **given: Any) -> Refusal:
    with pytest.raises(Refusal) as raised:
        resolve(now, settings, **given)
    return raised.value


# --- the as-of session --------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_of", ["2026-09-30", "2026-10-30", "2099-11-30"])
@pytest.mark.parametrize("given", [{}, {"dry_run": True}, {"republish_reason": "why"}])
def test_an_as_of_in_the_future_is_refused(as_of: str, given: dict[str, Any]) -> None:
    found = refused(as_of=as_of, **given)
    assert found.what == f"the as-of session {as_of} is in the future"
    assert "2026-09-10 12:00 JST" in found.expected


def test_an_off_cycle_as_of_in_the_future_is_refused_too() -> None:
    assert "is in the future" in refused(as_of="2026-09-15", off_cycle="an exam").what


def test_a_session_counts_once_the_exchange_has_closed() -> None:
    closing = dt.datetime(2026, 8, 31, 15, 30, tzinfo=TOKYO)
    assert str(resolve(closing, as_of="2026-08-31").rebalance_date) == "2026-09-01"
    early = refused(closing - dt.timedelta(microseconds=1), as_of="2026-08-31")
    assert early.received == "2026-08-31, which closes at 15:30 JST"


def test_a_run_whose_due_time_is_in_the_future_is_refused() -> None:
    with pytest.raises(Refusal, match="2026-09-30 is in the future"):
        resolve_request(
            {},
            moment=dt.datetime(2026, 10, 1, 9, tzinfo=TOKYO),
            now=NOW,
            settings=SETTINGS,
            calendar=CALENDAR,
        )


def test_the_rebalance_day_typed_as_as_of_is_named_with_its_session() -> None:
    found = refused(as_of="2026-09-01")
    assert found.what == "2026-09-01 is the rebalance day; its as-of session is 2026-08-31"
    assert "as_of 2026-08-31" in found.remedy
    # Also before that day: what is wrong is the day, not the time.
    assert (
        refused(as_of="2026-10-01").what == "2026-10-01 is the rebalance day; its as-of session is 2026-09-30"
    )
    third = SETTINGS.model_copy(update={"schedule": ScheduleSettings(nth_session=3)})
    assert "its as-of session is 2026-09-02" in refused(settings=third, as_of="2026-09-03").what
    assert resolve(settings=third, as_of="2026-09-02").rebalance_date == dt.date(2026, 9, 3)


def test_a_session_of_no_month_names_those_around_it() -> None:
    found = refused(as_of="2026-08-14")
    assert found.what == "2026-08-14 is not the session before a rebalance day"
    assert found.expected == "2026-07-31 (trades on 2026-08-03) or 2026-08-31 (trades on 2026-09-01)"
    assert found.received == "2026-08-14 (trades on 2026-08-17)"
    assert "off_cycle" in found.remedy


@pytest.mark.parametrize("nth", [1, 2, 5])
def test_of_all_sessions_exactly_one_a_month_is_admitted(nth: int) -> None:
    """Counted off the list of sessions, without the calendar's own notion of a rebalance."""
    settings = SETTINGS.model_copy(update={"schedule": ScheduleSettings(nth_session=nth)})
    sessions = CALENDAR.sessions(dt.date(2025, 1, 1), dt.date(2025, 12, 31))
    by_month = itertools.groupby(sessions, key=lambda day: day.month)
    rebalances = [list(days)[nth - 1] for _, days in by_month]
    expected = {max(day for day in sessions if day < rebalance) for rebalance in rebalances[1:]}
    admitted, with_reason = set(), set()
    for day in sessions[20:-20]:
        for reason, found in ((None, admitted), ("why", with_reason)):
            try:
                found.add(resolve(as_of=day, settings=settings, off_cycle=reason).as_of)
            except Refusal:
                continue
    assert admitted == {day for day in expected if sessions[20] <= day < sessions[-20]}
    assert with_reason == set(sessions[20:-20]) - admitted


def test_an_off_cycle_run_has_a_reason_and_no_month() -> None:
    request = resolve(as_of="2026-08-14", off_cycle="  index change ")
    assert (request.off_cycle, str(request.rebalance_date)) == ("index change", "2026-08-17")
    assert resolve(as_of="2026-09-01", off_cycle="a day late").rebalance_date == dt.date(2026, 9, 2)
    for given in ({"as_of": "2026-08-31"}, {}):
        assert "is a month's rebalance day" in refused(off_cycle="why", **given).what
    assert refused(as_of="2026-08-14", off_cycle="  ").what == "run parameter off_cycle is invalid"
    assert refused(as_of="2026-08-14", off_cycle="").what.endswith(
        "is not the session before a rebalance day"
    )


@pytest.mark.parametrize("reason", [" ", "\n\t"])
def test_a_blank_reason_is_none(reason: str) -> None:
    assert refused(republish_reason=reason).what == "run parameter republish_reason is invalid"


# --- months behind the newest -------------------------------------------------------------------------------


def test_a_month_behind_the_newest_is_refused_before_anything_is_read(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path / "home", JULY, SEPTEMBER)
    before = published_bytes(home)
    with pytest.raises(Refusal) as found:
        run(market, home, AUGUST, dataset=str(tmp_path / "nowhere.parquet"))
    assert found.value.what == "2025-08-01 is older than the newest published month"
    assert found.value.expected == "a rebalance day after 2025-09-01"
    late = month(market, home, AUGUST)
    with pytest.raises(Refusal, match="older than the newest"):  # the first step of a DAG run
        late.validate_bundle()
    assert published_bytes(home) == before


def test_a_month_that_a_later_one_overtakes_is_not_published(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path / "home", JULY)
    late = month(market, home, AUGUST)
    handshake = late.validate_bundle()
    panel = late.build_panel(handshake)
    scores = late.infer(handshake, panel)
    plan = late.apply_costs(handshake, panel, scores)
    drafted = late.draft(handshake, panel, scores, plan)
    home_after(chain, home, SEPTEMBER)
    before = published_bytes(home)
    with pytest.raises(Refusal, match="2025-08-01 is older than the newest published month"):
        late.publish(panel, scores, plan, drafted)
    assert published_bytes(home) == before


def test_a_correction_a_dry_run_and_a_month_that_is_there_may_be_older(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path / "home", JULY, OCTOBER)
    _, dry = run(market, home, AUGUST, dry_run=True)
    _, same = run(market, home, JULY, cold_start=True)
    assert dry is None
    assert same is not None
    assert same.already_published
    _, added = run(market, home, AUGUST, republish_reason="was missed")
    assert added is not None
    assert (added.portfolio, added.already_published) == ("2025-08-01/v1", False)
    assert published_dates(Store(home)) == [JULY, AUGUST, OCTOBER]


# --- names --------------------------------------------------------------------------------------------------


def test_fewer_names_than_any_book_may_hold_are_refused_at_once() -> None:
    for top_k in (1, 9):
        found = refused(top_k=top_k)
        assert found.what == f"top_k {top_k} is below the fewest names that a book may hold"
        assert found.expected == "at least 10, the setting limits.least_names"
    assert resolve(top_k=10).settings.ranking.top_k == 10
    wide = SETTINGS.model_copy(update={"limits": LimitSettings(least_names=36)})
    assert "top_k 35 is below" in refused(settings=wide).what
