"""Judgements of the live performance in the store: `performance/<last session>-<key>`."""

from __future__ import annotations

from apex_tasks.performance.report import PerformanceReport
from apex_tasks.store import MANIFEST, Store

PERFORMANCES = "performance"
REPORT_FILE, DRIFT_FILE = "performance.json", "drift.csv"


def read_report(store: Store, name: str) -> PerformanceReport:
    """Read a judgement back.

    Raises
    ------
    Refusal
        It is not in the store, or was changed there.
    """
    return PerformanceReport.model_validate(store.get(PERFORMANCES, name).read_json(REPORT_FILE))


def newest_report(store: Store) -> PerformanceReport | None:
    """The judgement of the latest session, of several the one that was written last; None before the first.

    Raises
    ------
    Refusal
        It was changed in the store.
    """
    complete = [
        (name, found) for name in store.names(PERFORMANCES) if (found := store.find(PERFORMANCES, name))
    ]
    if not complete:
        return None
    latest = max(name[: len("2000-01-01")] for name, _ in complete)
    of_latest = [(found, name) for name, found in complete if name.startswith(latest)]
    _, name = max(of_latest, key=lambda one: ((one[0].folder / MANIFEST).stat().st_mtime, one[1]))
    return read_report(store, name)
