"""Items of the checklist on the store: can it be written and locked, is there room, what is published already."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

from apex_tasks.published import audit
from apex_tasks.published.chain import book_to_start_from, due_before
from apex_tasks.published.portfolio import last_published_before
from apex_tasks.rehearsal.deployment import Deployment
from apex_tasks.rehearsal.outcome import ItemOutcome, done, failed, still_open
from apex_tasks.store import Store, local_path, write_file

MONTHS_OF_ROOM = 12
"""Panels that should fit before somebody has to clear the store; a year."""
GIB = 2**30
PROBE = "rehearsal"


def store_writable(deployment: Deployment) -> ItemOutcome:
    """A file can be written and read back, and a lock that one process holds keeps others out."""
    store = deployment.store
    _write_and_remove(store)
    root = local_path(store.root)
    if root is None:
        return done(f"{store.root}: written, read back; a URL has no lock, the DAG keeps publishers apart")
    with store.lock(PROBE):
        excludes = not _second_lock_opens(root / f".{PROBE}.lock")
    if not excludes:
        return failed(
            f"{root}: two processes can hold the same lock: put the store on a file system with locks"
        )
    return done(f"{root}: written, read back, locked")


def audit_trail_verifies(deployment: Deployment) -> ItemOutcome:
    """The trail is a whole chain, and every published file is as it was published."""
    report = audit.verify(deployment.store)
    if report.problems:
        return failed("; ".join(report.problems))
    if not report.records:
        return still_open("nothing is published yet, so there is no trail to verify")
    return done(f"{report.records} records, every published file as recorded")


def room_for_panels(deployment: Deployment) -> ItemOutcome:
    """Free space for a year of panels, by far the largest artifacts."""
    root = local_path(deployment.store.root)
    panel = deployment.panel_bytes
    need = f"a month's panel takes about {panel / GIB:.2f} GiB"
    if root is None:
        return still_open(f"{deployment.store.root} does not say how much it holds; {need}")
    folder = _nearest_existing(root)
    free = shutil.disk_usage(folder).free
    evidence = f"{free / GIB:.1f} GiB free at {folder}, {need}"
    if free < panel:
        return failed(evidence)
    return done(evidence) if free >= MONTHS_OF_ROOM * panel else still_open(f"{evidence}: less than a year")


def previous_book(deployment: Deployment) -> ItemOutcome:
    """The rebalance before the next scheduled one is published."""
    rebalance, calendar = deployment.next_rebalance, deployment.calendar
    nth_session = deployment.request.settings.schedule.nth_session
    before = due_before(deployment.store, rebalance, calendar, nth_session)
    parent = book_to_start_from(deployment.store, rebalance, before, calendar)
    if parent is not None:
        return done(f"{rebalance} starts from {parent.name}")
    older = last_published_before(deployment.store, rebalance)
    last = "nothing is published" if older is None else f"the last is {older.name}"
    return still_open(f"no portfolio of {before}, {last}: start {rebalance} with cold_start")


def _write_and_remove(store: Store) -> None:
    store.root.mkdir(parents=True, exist_ok=True)
    content = uuid.uuid4().hex.encode()
    probe = store.root / f".{PROBE}-{content.decode()}"
    try:
        write_file(probe, content, durable=True)
        if probe.read_bytes() != content:
            raise OSError(f"{probe} reads back as something else")
    finally:
        if probe.exists():
            probe.unlink()


def _second_lock_opens(path: Path) -> bool:
    try:
        FileLock(path, timeout=0).acquire().lock.release()
    except Timeout:
        return False
    return True


def _nearest_existing(path: Path) -> Path:
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
