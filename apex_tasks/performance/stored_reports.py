"""Evaluations of the live performance in the store: `performance/<last session>-<key>`."""

from __future__ import annotations

from apex_tasks.performance.report import PerformanceReport
from apex_tasks.store import MANIFEST, Store

PERFORMANCES = "performance"
PERFORMANCE_FILE, DRIFT_FILE = "performance.json", "drift.csv"


def read_report(store: Store, name: str) -> PerformanceReport:
    """Read an evaluation back.

    Raises
    ------
    Refusal
        It is not in the store, or was changed there.
    """
    return store.get(PERFORMANCES, name).read_document(PERFORMANCE_FILE, PerformanceReport)


def newest_report(store: Store) -> PerformanceReport | None:
    """The evaluation of the latest session, of several the one that was written last; None before the first.

    Raises
    ------
    Refusal
        It was changed in the store.
    """
    names = store.names(PERFORMANCES)
    for session in sorted({_session(name) for name in names}, reverse=True):
        found = [
            (artifact, name)
            for name in names
            if _session(name) == session and (artifact := store.find(PERFORMANCES, name)) is not None
        ]
        if found:
            _, newest = max(found, key=lambda one: ((one[0].folder / MANIFEST).stat().st_mtime, one[1]))
            return read_report(store, newest)
    return None


def _session(name: str) -> str:
    return name[: len("2000-01-01")]
