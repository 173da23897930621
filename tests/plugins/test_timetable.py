"""The timetable asked as the scheduler, the backfill and the user interface ask it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise

import pendulum
import pytest
from airflow import plugins_manager, settings
from airflow.exceptions import AirflowTimetableInvalid
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.utils.types import DagRunType
from apex_airflow import timetable as timetable_module
from apex_airflow.timetable import TseRebalanceTimetable
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.refusal import Refusal
from tests.support.paths import ROOT

ANSWERS_FILE = ROOT / "tests" / "market" / "rebalance_answers.csv"

with ANSWERS_FILE.open(encoding="utf-8", newline="") as answers_file:
    SLOTS = [datetime.fromisoformat(row["rebalance_instant"]) for row in csv.DictReader(answers_file)]

Clock = Callable[[str], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the scheduler's clock."""

    def set_to(instant: str) -> None:
        monkeypatch.setattr(timetable_module, "_now", lambda: utc(instant))

    return set_to


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Airflow load the plugins folder, as each of its components does."""
    caches = (plugins_manager._get_plugins, plugins_manager.get_timetables_plugins)
    monkeypatch.setattr(settings, "PLUGINS_FOLDER", str(ROOT / "plugins"))
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def utc(instant: str) -> pendulum.DateTime:
    return pendulum.instance(datetime.fromisoformat(instant)).in_timezone("UTC")


def ask(
    timetable: TseRebalanceTimetable,
    *,
    last: str | None = None,
    earliest: str | None = None,
    latest: str | None = None,
    catchup: bool,
) -> str | None:
    """The next slot as an ISO string, having checked that it is one exact instant in UTC."""
    info = timetable.next_dagrun_info_v2(
        last_dagrun_info=DagRunInfo.exact(utc(last)) if last else None,
        restriction=TimeRestriction(
            earliest=utc(earliest) if earliest else None,
            latest=utc(latest) if latest else None,
            catchup=catchup,
        ),
    )
    if info is None:
        return None
    assert info == DagRunInfo.exact(info.run_after)
    assert info.run_after.timezone_name == "UTC"
    return info.run_after.isoformat()


def test_manual_run_has_its_own_instant_as_interval() -> None:
    at = utc("2025-11-20T03:21:00+00:00")
    assert TseRebalanceTimetable().infer_manual_data_interval(run_after=at) == DataInterval(at, at)


@pytest.mark.parametrize(
    ("earliest", "slot"),
    [
        ("2024-01-01T00:00:00+00:00", "2024-01-04T00:00:00+00:00"),
        ("2025-11-04T00:00:00+00:00", "2025-11-04T00:00:00+00:00"),  # inclusive
        ("2025-11-04T00:00:00.000001+00:00", "2025-12-01T00:00:00+00:00"),
        ("2025-11-03T22:00:00+00:00", "2025-11-04T00:00:00+00:00"),  # 07:00 in Tokyo, same Tokyo date
        ("2025-11-04T00:00:00+09:00", "2025-11-04T00:00:00+00:00"),  # midnight in Tokyo
        ("2025-10-31T23:00:00+00:00", "2025-11-04T00:00:00+00:00"),  # 1 November in Tokyo
        ("1970-01-01T00:00:00+00:00", "2000-01-04T00:00:00+00:00"),  # the calendar's first slot
    ],
)
def test_first_slot_with_catchup(clock: Clock, earliest: str, slot: str) -> None:
    clock("2026-06-15T00:00:00+00:00")
    assert ask(TseRebalanceTimetable(), earliest=earliest, catchup=True) == slot


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        ("2025-11-20T00:00:00+00:00", "2025-11-04T00:00:00+00:00"),  # the latest missed slot, at once
        ("2025-11-04T00:00:00+00:00", "2025-11-04T00:00:00+00:00"),
        ("2025-11-03T23:59:59+00:00", "2025-10-01T00:00:00+00:00"),  # 08:59:59 in Tokyo: not due yet
        ("2025-11-03T22:00:00+00:00", "2025-10-01T00:00:00+00:00"),
    ],
)
@pytest.mark.parametrize("earliest", [None, "2024-01-01T00:00:00+00:00"])
def test_first_slot_without_catchup(clock: Clock, now: str, slot: str, earliest: str | None) -> None:
    clock(now)
    assert ask(TseRebalanceTimetable(), earliest=earliest, catchup=False) == slot


def test_start_date_after_the_latest_missed_slot_waits(clock: Clock) -> None:
    clock("2025-11-20T00:00:00+00:00")
    slot = ask(TseRebalanceTimetable(), earliest="2025-11-05T00:00:00+00:00", catchup=False)
    assert slot == "2025-12-01T00:00:00+00:00"


def test_catchup_without_start_date_begins_like_no_catchup(clock: Clock) -> None:
    clock("2025-11-20T00:00:00+00:00")
    assert ask(TseRebalanceTimetable(), catchup=True) == "2025-11-04T00:00:00+00:00"


@pytest.mark.parametrize("catchup", [True, False])
def test_next_after_the_run_of_this_month(clock: Clock, catchup: bool) -> None:
    clock("2025-11-04T00:00:02+00:00")
    slot = ask(TseRebalanceTimetable(), last="2025-11-04T00:00:00+00:00", catchup=catchup)
    assert slot == "2025-12-01T00:00:00+00:00"


def test_next_after_a_long_pause(clock: Clock) -> None:
    clock("2025-11-20T00:00:00+00:00")
    timetable = TseRebalanceTimetable()
    last = "2025-06-02T00:00:00+00:00"
    assert ask(timetable, last=last, catchup=True) == "2025-07-01T00:00:00+00:00"
    assert ask(timetable, last=last, catchup=False) == "2025-11-04T00:00:00+00:00"


def test_a_start_date_moved_past_the_last_run_is_kept(clock: Clock) -> None:
    clock("2025-11-20T00:00:00+00:00")
    slot = ask(
        TseRebalanceTimetable(),
        last="2025-06-02T00:00:00+00:00",
        earliest="2025-09-15T00:00:00+00:00",
        catchup=True,
    )
    assert slot == "2025-10-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        ("2025-11-07T00:00:00+00:00", "2025-11-04T00:00:00+00:00"),  # three days old: still runs
        ("2025-11-07T00:00:01+00:00", "2025-12-01T00:00:00+00:00"),
    ],
)
def test_grace_skips_an_old_slot_without_catchup(clock: Clock, now: str, slot: str) -> None:
    clock(now)
    timetable = TseRebalanceTimetable(grace_days=3)
    assert ask(timetable, earliest="2024-01-01T00:00:00+00:00", catchup=False) == slot
    assert ask(timetable, last="2025-06-02T00:00:00+00:00", catchup=False) == slot


def test_grace_leaves_catchup_alone(clock: Clock) -> None:
    clock("2025-11-20T00:00:00+00:00")
    slot = ask(TseRebalanceTimetable(grace_days=3), earliest="2025-09-01T00:00:00+00:00", catchup=True)
    assert slot == "2025-09-01T00:00:00+00:00"


def test_latest_is_inclusive_and_ends_the_series(clock: Clock) -> None:
    clock("2025-11-20T00:00:00+00:00")
    timetable, last = TseRebalanceTimetable(), "2025-10-01T00:00:00+00:00"
    slot = "2025-11-04T00:00:00+00:00"
    assert ask(timetable, last=last, latest=slot, catchup=True) == slot
    assert ask(timetable, last=last, latest="2025-11-03T23:59:59+00:00", catchup=True) is None


@pytest.mark.parametrize("catchup", [True, False])
def test_past_the_calendars_end_is_none(clock: Clock, catchup: bool) -> None:
    clock("2099-12-15T00:00:00+00:00")
    timetable = TseRebalanceTimetable()
    assert ask(timetable, last="2099-11-02T00:00:00+00:00", catchup=catchup) == "2099-12-01T00:00:00+00:00"
    assert ask(timetable, last="2099-12-01T00:00:00+00:00", catchup=catchup) is None
    assert ask(timetable, earliest="2500-01-01T00:00:00+00:00", catchup=catchup) is None
    assert ask(timetable, earliest="9999-12-31T23:59:59+00:00", catchup=catchup) is None


def test_a_clock_past_the_calendars_end_is_none(clock: Clock) -> None:
    clock("2100-02-01T00:00:00+00:00")
    assert ask(TseRebalanceTimetable(), catchup=False) is None


def test_thirty_one_years_equal_the_frozen_answers() -> None:
    info, slots = None, []
    restriction = TimeRestriction(utc("2000-01-01T00:00:00+00:00"), utc("2030-12-31T00:00:00+00:00"), True)
    while True:
        info = TseRebalanceTimetable().next_dagrun_info_v2(last_dagrun_info=info, restriction=restriction)
        if info is None:
            break
        slots.append(info.run_after)
    assert slots == SLOTS


@given(st.datetimes(datetime(2001, 1, 1), datetime(2030, 10, 1), timezones=st.just(UTC)))
def test_next_run_is_never_null(now: datetime) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timetable_module, "_now", lambda: pendulum.instance(now))
        due = max(slot for slot in SLOTS if slot <= now)
        coming = min(slot for slot in SLOTS if slot > now)
        start = "2000-06-01T00:00:00+00:00"
        assert ask(TseRebalanceTimetable(), earliest=start, catchup=False) == utc(due.isoformat()).isoformat()
        after_due = ask(TseRebalanceTimetable(), last=due.isoformat(), earliest=start, catchup=False)
        assert after_due == utc(coming.isoformat()).isoformat()
        graced = ask(TseRebalanceTimetable(grace_days=0), earliest=start, catchup=False)
        assert graced == utc((due if due == now else coming).isoformat()).isoformat()


@pytest.mark.parametrize(
    ("nth", "words"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (13, "13th")]
)
def test_summary_and_description_in_words(nth: int, words: str) -> None:
    timetable = TseRebalanceTimetable(nth_session=nth)
    assert timetable.summary == f"{words} TSE session of the month, 09:00 JST"
    assert (
        timetable.description == f"At 09:00 JST on the {words} session of the Tokyo Stock Exchange each month"
    )
    assert timetable.periodic


def test_third_session_of_november() -> None:
    slot = ask(TseRebalanceTimetable(nth_session=3), earliest="2025-11-01T00:00:00+00:00", catchup=True)
    assert slot == "2025-11-06T00:00:00+00:00"


@pytest.mark.parametrize("wrong", [{"nth_session": 0}, {"nth_session": 16}, {"grace_days": -1}])
def test_wrong_arguments_are_invalid_when_parsed(wrong: dict[str, int]) -> None:
    with pytest.raises(AirflowTimetableInvalid, match=f"received={next(iter(wrong.values()))}"):
        DAG("wrong", schedule=TseRebalanceTimetable(**wrong)).validate()


def test_right_arguments_are_valid() -> None:
    DAG("right", schedule=TseRebalanceTimetable(nth_session=15, grace_days=0)).validate()


def test_a_broken_closures_file_fails_parsing_and_yields_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Refusal("closures file is invalid", expected="x", received="y", where="line 7", remedy="Fix.")

    def refuse() -> TseCalendar:
        raise broken

    monkeypatch.setattr(TseCalendar, "load", refuse)
    with pytest.raises(AirflowTimetableInvalid, match="line 7"):
        TseRebalanceTimetable().validate()
    assert ask(TseRebalanceTimetable(), last="2025-11-04T00:00:00+00:00", catchup=True) is None


@pytest.mark.usefixtures("registered")
def test_round_trip_through_a_serialized_dag() -> None:
    stored = json.dumps(DagSerialization.to_dict(rebalance_dag(TseRebalanceTimetable(2, grace_days=5))))
    timetable = DagSerialization.from_dict(json.loads(stored)).timetable
    assert timetable.type_name == "apex_airflow.timetable.TseRebalanceTimetable"
    assert timetable.serialize() == {"nth_session": 2, "grace_days": 5}
    assert timetable.summary == "2nd TSE session of the month, 09:00 JST"


@pytest.mark.usefixtures("registered")
def test_backfill_covers_the_benchmark_months() -> None:
    stored = DagSerialization.from_dict(DagSerialization.to_dict(rebalance_dag(TseRebalanceTimetable())))
    earliest, latest = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 10, 31, tzinfo=UTC)
    infos = list(stored.iter_dagrun_infos_between(earliest, latest))
    assert [info.logical_date for info in infos] == [slot for slot in SLOTS if earliest <= slot <= latest]
    assert len(infos) == 22


@pytest.mark.usefixtures("registered")
def test_scheduler_stores_a_next_run_after_every_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = DagSerialization.from_dict(DagSerialization.to_dict(rebalance_dag(TseRebalanceTimetable())))
    monkeypatch.setattr(timetable_module, "_now", lambda: utc("2024-01-10T00:00:00+00:00"))
    model = DagModel(dag_id="rebalance")
    model.calculate_dagrun_date_fields(stored, reference_run=None)
    for slot, coming in pairwise(slot for slot in SLOTS if slot.year >= 2024):
        assert model.next_dagrun == model.next_dagrun_create_after == slot
        run = DagRun(
            dag_id="rebalance",
            logical_date=slot,
            run_after=slot,
            data_interval=(slot, slot),
            run_type=DagRunType.SCHEDULED,
        )
        monkeypatch.setattr(timetable_module, "_now", lambda slot=slot: pendulum.instance(slot))
        model.calculate_dagrun_date_fields(stored, reference_run=run)
        assert model.next_dagrun == model.next_dagrun_create_after == coming


def test_run_id_reads_as_the_rebalance_date() -> None:
    timetable = TseRebalanceTimetable()
    info = timetable.next_dagrun_info_v2(
        last_dagrun_info=None, restriction=TimeRestriction(utc("2025-11-01T00:00:00+00:00"), None, True)
    )
    assert info is not None
    run_id = timetable.generate_run_id(
        run_type=DagRunType.SCHEDULED, run_after=info.run_after, data_interval=info.data_interval
    )
    assert run_id == "scheduled__2025-11-04T00:00:00+00:00"


def test_import_brings_nothing_heavy() -> None:
    heavy = "{'pandas', 'pyarrow', 'torch', 'exchange_calendars'}"
    program = f"import airflow, sys; import apex_airflow.timetable; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'plugins'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def rebalance_dag(timetable: TseRebalanceTimetable) -> DAG:
    return DAG("rebalance", schedule=timetable, start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False)
