"""Evaluations in the store: which one is the newest, and that a damaged one is refused."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from apex_tasks.performance.report import PerformanceReport
from apex_tasks.performance.stored_reports import PERFORMANCE_FILE, PERFORMANCES, newest_report, read_report
from apex_tasks.refusal import Refusal
from apex_tasks.store import MANIFEST, Store, canonical_json


def report(session: dt.date, **changes: object) -> PerformanceReport:
    fields = {
        "synthetic": False,
        "portfolio": "2025-10-01/v1",
        "first_marked": None,
        "last_marked": None,
        "sessions": 0,
        "last_session": session,
        "performance": None,
        "intervals": {},
        "comparisons": (),
        "turnovers": (),
        "mean_turnover": None,
        "checks": (),
        "benchmarks_of": "b",
        "backtest_period": "",
        "ignored_benchmarks": (),
        "ledger": "ledger/x",
        "warnings": (),
    }
    return PerformanceReport.model_validate({**fields, **changes})


def keep(store: Store, session: dt.date, key: str, written: float = 0.0, **changes: object) -> str:
    name = f"{session}-{key}"
    content = canonical_json(report(session, **changes).model_dump(mode="json"))
    artifact = store.write(PERFORMANCES, name, files={PERFORMANCE_FILE: content})
    os.utime(Path(str(artifact.folder)) / MANIFEST, (written, written))
    return name


MONDAY, TUESDAY = dt.date(2025, 10, 6), dt.date(2025, 10, 7)


def test_a_report_comes_back_with_what_a_later_version_added(tmp_path: Path) -> None:
    store = Store(tmp_path)
    name = keep(store, MONDAY, "a", mood="good")
    found = read_report(store, name)
    assert found == report(MONDAY, mood="good")
    assert found.model_dump(mode="json")["mood"] == "good"


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    assert newest_report(Store(tmp_path)) is None
    (tmp_path / PERFORMANCES / f"{MONDAY}-killed").mkdir(parents=True)
    assert newest_report(Store(tmp_path)) is None


def test_the_newest_is_of_the_latest_session_and_of_those_the_one_written_last(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, MONDAY, "z", written=9_000.0, portfolio="monday")
    keep(store, TUESDAY, "b", written=2_000.0, portfolio="tuesday, later")
    keep(store, TUESDAY, "c", written=1_000.0, portfolio="tuesday")
    newest = newest_report(store)
    assert newest is not None
    assert newest.portfolio == "tuesday, later"
    (tmp_path / PERFORMANCES / f"{dt.date(2025, 10, 8)}-killed").mkdir()
    assert newest_report(store) == newest


def test_a_changed_one_is_refused_and_an_absent_one_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    name = keep(store, MONDAY, "a")
    (tmp_path / PERFORMANCES / name / PERFORMANCE_FILE).write_bytes(b"{}")
    with pytest.raises(Refusal, match="changed after it was written"):
        newest_report(store)
    with pytest.raises(Refusal, match="not in the store"):
        read_report(store, "2025-10-06-other")
