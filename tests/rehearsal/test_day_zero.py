"""Day zero as a whole: what it leaves in the store, what it leaves alone, and that stages come back from JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from apex_tasks.refusal import CheckFailed, Refusal
from apex_tasks.rehearsal.day_zero import REHEARSAL_FILE, REHEARSALS, DayZero, RehearsalReport
from apex_tasks.rehearsal.outcome import ItemState, StageVerdict
from apex_tasks.rehearsal.request import RehearsalRequest
from apex_tasks.store import Store
from tests.support.small_market import (
    CALENDAR,
    LAST_SESSION,
    SEPTEMBER,
    SmallMarket,
    published_bytes,
    run_chain,
    small_settings,
    write_table,
)

pytestmark = pytest.mark.slow


def day_zero(market: SmallMarket, home: Path, log: list[str], **given: Any) -> DayZero:
    inputs = {
        "bundle": str(market.bundle),
        "dataset": str(market.dataset),
        "today": LAST_SESSION,
        "sessions": 2,
    }
    request = RehearsalRequest.model_validate({**inputs, "settings": small_settings(home), **given})
    return DayZero(request, CALENDAR, log=log.append)


def rehearse(zero: DayZero) -> RehearsalReport:
    """As the tasks of the DAG: each stage starts from the JSON that the one before left."""
    smoke, months = zero.smoke_test(), zero.monthly_rehearsal()
    return zero.report(smoke.model_dump(mode="json"), json.loads(months.model_dump_json()))


def test_a_rehearsal_is_kept_and_nothing_published_changes(market: SmallMarket, tmp_path: Path) -> None:
    home, log = tmp_path / "home", list[str]()
    run_chain(market, home, (SEPTEMBER,))
    before, parts = published_bytes(home), {path.name for path in home.iterdir()}
    report = rehearse(day_zero(market, home, log))
    assert report.verdict is StageVerdict.PASSED
    assert report.require_passed() is report
    assert published_bytes(home) == before
    added = {path.name for path in home.iterdir()} - parts
    assert {name for name in added if not name.endswith(".lock")} == {REHEARSALS}
    kept = Store(home).get(REHEARSALS, report.key)
    assert RehearsalReport.model_validate(kept.read_json(REHEARSAL_FILE)) == report
    assert str(kept.folder) in log[-1]
    for item in report.checklist:
        mark = {ItemState.DONE: "✔ done", ItemState.OPEN: "○ open"}[item.state]
        assert any(line.startswith(mark) and item.title in line and item.evidence in line for line in log)


def test_the_handshake_prints_the_settings_and_needs_no_store(market: SmallMarket, tmp_path: Path) -> None:
    log = list[str]()
    zero = day_zero(market, tmp_path / "home", log)
    assert zero.handshake().effective_dim == 178
    assert log[0].startswith("RESOLVED SETTINGS")
    assert not (tmp_path / "home").exists()
    with pytest.raises(Refusal, match="dataset is missing"):
        day_zero(market, tmp_path, log, dataset="nowhere.parquet").handshake()


def test_a_failed_part_fails_the_whole(market: SmallMarket, tmp_path: Path) -> None:
    hole = write_table(market.table.filter(pa.array(market.dates != SEPTEMBER)), tmp_path / "hole.parquet")
    log = list[str]()
    report = rehearse(day_zero(market, tmp_path / "home", log, dataset=str(hole)))
    assert report.verdict is StageVerdict.FAILED
    assert report.problems == (
        "Months rehearsed: 2 rebalances instead of 3: missing 2025-09-01",
        "Dataset fresh for the next run: rebalance 2025-10-01, as-of 2025-09-30: 120 rows, trailing median 120; "
        "sessions_absent: 1 sessions without a row: 2025-09-01",
    )
    assert any(line.startswith("✘ failed Months rehearsed") for line in log)
    with pytest.raises(CheckFailed, match=r"the rehearsal failed.*missing 2025-09-01.*day-zero.md"):
        report.require_passed()


def test_a_store_that_cannot_be_written_is_a_failed_item_and_keeps_nothing(
    market: SmallMarket, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    log = list[str]()
    report = rehearse(day_zero(market, tmp_path / "file" / "home", log))
    assert report.verdict is StageVerdict.FAILED
    assert report.problems[0].startswith("Store can be written and locked: NotADirectoryError")
    assert log[-1].startswith("WARNING the report is not kept")


def test_airflow_tells_of_its_connections(market: SmallMarket, tmp_path: Path) -> None:
    zero = day_zero(market, tmp_path / "home", [])
    smoke, months = zero.smoke_test(), zero.monthly_rehearsal()
    in_airflow = DayZero(
        zero.request, CALENDAR, lambda settings: {settings.slack_connection: True}, log=lambda _: None
    )
    found = [
        next(item for item in each.report(smoke, months).checklist if item.title == "Somebody is told")
        for each in (zero, in_airflow)
    ]
    assert [item.state for item in found] == [ItemState.OPEN, ItemState.DONE]
