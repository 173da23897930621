"""Items on the store: each can be done, open or failed, and says on what evidence."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from apex_tasks.rehearsal import store_checks
from apex_tasks.rehearsal.outcome import ItemState
from apex_tasks.store import Store, write_file
from tests.support.deployments import DONE, FAILED, OPEN, Deploy, check_item
from tests.support.small_market import (
    AUGUST,
    JULY,
    OCTOBER,
    SEPTEMBER,
    SmallMarket,
    home_after,
    run_chain,
)


def test_a_store_is_written_locked_and_left_as_it_was(deploy: Deploy, tmp_path: Path) -> None:
    state, evidence = check_item("Store can be written and locked", deploy())
    assert (state, evidence) == (DONE, f"{tmp_path / 'home'}: written, read back, locked")
    assert [path.name for path in (tmp_path / "home").iterdir() if path.suffix != ".lock"] == []
    state, evidence = check_item("Store can be written and locked", deploy(home=f"memory://{tmp_path.name}"))
    assert state is DONE
    assert "a URL has no lock" in evidence
    assert Store(f"memory://{tmp_path.name}").names() == []


def test_a_file_system_without_locks_fails(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a mount that grants every lock."""
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    state, evidence = check_item("Store can be written and locked", deploy())
    assert state is FAILED
    assert "two processes can hold the same lock" in evidence


def test_a_lock_that_is_held_is_told(deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apex_tasks.store.LOCK_TIMEOUT_SECONDS", 0.1)
    (tmp_path / "home").mkdir()
    with FileLock(tmp_path / "home" / ".rehearsal.lock"):
        state, evidence = check_item("Store can be written and locked", deploy())
    assert state is FAILED
    assert "another process holds the store's lock" in evidence


def test_a_changed_publication_fails_the_audit(deploy: Deploy, market: SmallMarket, tmp_path: Path) -> None:
    title, home = "Audit trail verified", tmp_path / "home"
    assert check_item(title, deploy()) == (OPEN, "nothing is published yet, so there is no trail to verify")
    run_chain(market, home, (SEPTEMBER,))
    assert check_item(title, deploy()) == (DONE, "1 records, every published file as recorded")
    orders = home / "portfolio" / str(SEPTEMBER) / "v1" / "orders.csv"
    orders.write_bytes(orders.read_bytes() + b"\n")
    assert check_item(title, deploy()) == (FAILED, f"portfolio {SEPTEMBER}/v1: orders.csv was changed")


@pytest.mark.parametrize(("panels", "state"), [(0.5, FAILED), (11.9, OPEN), (12.0, DONE)])
def test_room_is_counted_in_panels(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch, panels: float, state: ItemState
) -> None:
    deployment = deploy()
    assert deployment.panel_bytes == 120 * 180 * 89 * 4
    usage = SimpleNamespace(total=0, used=0, free=int(panels * deployment.panel_bytes))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert check_item("Room for a year of panels", deployment)[0] is state


def test_room_of_the_real_disk_and_of_a_url(deploy: Deploy, tmp_path: Path) -> None:
    state, evidence = check_item("Room for a year of panels", deploy())
    assert state is DONE
    assert f"free at {tmp_path}" in evidence, "the store's folder is not there yet"
    assert check_item("Room for a year of panels", deploy(home=f"memory://{tmp_path.name}"))[0] is OPEN


def test_the_book_to_start_from_is_named_or_a_cold_start_is_needed(
    deploy: Deploy, chain: Path, tmp_path: Path
) -> None:
    title = "Book to start from"
    assert check_item(title, deploy(today=OCTOBER)) == (
        OPEN,
        "no portfolio of 2025-09-01, nothing is published: start 2025-10-01 with cold_start",
    )
    stale = home_after(chain, tmp_path / "stale", JULY, AUGUST)
    state, evidence = check_item(title, deploy(home=stale, today=OCTOBER))
    assert (state, "the last is 2025-08-01/v1" in evidence) == (OPEN, True)
    ready = home_after(chain, tmp_path / "ready", AUGUST, SEPTEMBER)
    assert check_item(title, deploy(home=ready, today=OCTOBER)) == (
        DONE,
        "2025-10-01 starts from 2025-09-01/v1",
    )


def test_a_store_that_reads_back_something_else_fails(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_checks, "write_file", lambda path, content, **_: write_file(path, content[:-1]))
    state, evidence = check_item("Store can be written and locked", deploy())
    assert (state, "reads back as something else" in evidence) == (FAILED, True)
