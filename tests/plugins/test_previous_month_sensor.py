"""The sensor that keeps books in order: whom it waits for, whom it stops, and who may start from cash."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from apex_airflow.previous_month_sensor import PreviousMonthSensor

from tests.support.small_market import AUGUST, CALENDAR, JULY, OCTOBER, SEPTEMBER, SmallMarket, home_after

Look = Callable[..., bool]


class Runs:
    """The runs that Airflow knows, by their slot, as the task sees them."""

    def __init__(self, states: dict[dt.date, str]) -> None:
        self.states = {CALENDAR.rebalance_instant(day): state for day, state in states.items()}
        self.on_count: Callable[[], None] = lambda: None

    def get_dr_count(
        self, dag_id: str, logical_dates: list[dt.datetime], states: list[str] | None = None
    ) -> int:
        found = [self.states[slot] for slot in logical_dates if slot in self.states]
        self.on_count()
        return sum(states is None or state in states for state in found)


@pytest.fixture
def look(market: SmallMarket, chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """One look of a month's sensor, with these months published and these runs known."""
    home = tmp_path / "home"
    environment = {
        "APEX_HOME": home,
        "APEX_BUNDLE": market.bundle,
        "APEX_DATASET": market.dataset,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))

    def look(
        month: dt.date,
        published: tuple[dt.date, ...] = (),
        runs: Runs | None = None,
        run_type: str = "backfill",
        **params: Any,
    ) -> bool:
        home_after(chain, home, *published)
        context = {
            "dag_run": SimpleNamespace(run_type=run_type),
            "logical_date": CALENDAR.rebalance_instant(month),
            "params": params,
            "ti": runs or Runs({}),
        }
        return PreviousMonthSensor(task_id="previous_month").poke(context)

    return look


@pytest.mark.parametrize("state", ["queued", "running"])
def test_waits_while_the_previous_month_is_under_way(look: Look, state: str) -> None:
    assert not look(AUGUST, runs=Runs({JULY: state}), cold_start=True)


@pytest.mark.parametrize("state", ["queued", "running", "failed", "success"])
def test_goes_on_once_the_previous_month_is_published(look: Look, state: str) -> None:
    assert look(AUGUST, published=(JULY,), runs=Runs({JULY: state}))


@pytest.mark.parametrize("cold_start", [False, True])
@pytest.mark.parametrize("run_type", ["backfill", "scheduled"])
@pytest.mark.parametrize(("state", "said"), [("failed", "failed"), ("success", "published nothing")])
def test_an_ended_month_without_a_portfolio_stops_the_next(
    look: Look, cold_start: bool, run_type: str, state: str, said: str
) -> None:
    with pytest.raises(
        AirflowFailException, match=f"the run of the month before {said}.*a portfolio of {JULY}"
    ):
        look(AUGUST, runs=Runs({JULY: state}), run_type=run_type, cold_start=cold_start)


def test_a_month_that_is_published_between_two_looks_counts(look: Look, chain: Path, tmp_path: Path) -> None:
    runs = Runs({JULY: "success"})
    published: list[dt.date] = []

    def publish() -> None:
        if not published:
            home_after(chain, tmp_path / "home", JULY)
            published.append(JULY)

    runs.on_count = publish
    assert look(AUGUST, runs=runs)


def test_a_month_that_is_cleared_between_two_looks_is_waited_for(look: Look) -> None:
    """Clearing turns a failed run into a queued one: no look may take it for a month without a run."""
    runs = Runs({JULY: "failed"})
    runs.on_count = lambda: runs.states.update({CALENDAR.rebalance_instant(JULY): "queued"})
    assert not look(AUGUST, runs=runs, cold_start=True)


def test_the_first_book_ever_may_start_from_cash(look: Look) -> None:
    assert look(JULY, cold_start=True)


@pytest.mark.parametrize("run_type", ["backfill", "scheduled"])
def test_a_backfill_does_not_start_from_cash_after_an_older_book(look: Look, run_type: str) -> None:
    with pytest.raises(AirflowFailException, match=r"older book.*the last one is 2025-07-01/v1.*by hand"):
        look(SEPTEMBER, published=(JULY,), run_type=run_type, cold_start=True)


def test_later_books_are_no_older_ones(look: Look) -> None:
    assert look(AUGUST, published=(SEPTEMBER, OCTOBER), cold_start=True)


@pytest.mark.parametrize("run_type", ["manual", "asset_triggered"])
def test_a_run_by_hand_waits_for_nobody(look: Look, run_type: str) -> None:
    assert look(
        SEPTEMBER, published=(JULY,), runs=Runs({AUGUST: "failed"}), run_type=run_type, cold_start=True
    )


def test_without_a_run_and_a_book_the_plan_decides(look: Look) -> None:
    assert look(SEPTEMBER, published=(JULY,))


@pytest.mark.parametrize("cold_start", [False, True])
def test_a_book_of_the_month_before_counts_on_another_session(
    look: Look, monkeypatch: pytest.MonkeyPatch, cold_start: bool
) -> None:
    monkeypatch.setenv("APEX_SCHEDULE__NTH_SESSION", "5")
    august, september = (CALENDAR.rebalance_session(2025, month, 5) for month in (8, 9))
    assert look(august, published=(JULY,), cold_start=cold_start)
    with pytest.raises(AirflowFailException, match="failed"):
        look(september, runs=Runs({august: "failed"}), cold_start=cold_start)
