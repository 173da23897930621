"""First check: is the dataset complete for the newest session that it should hold?"""

from __future__ import annotations

import datetime as dt

from apex_tasks.dataset.freshness import check_freshness
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.performance.checks.check import Check, CheckName, CheckVerdict
from apex_tasks.refusal import Refusal
from apex_tasks.settings import FreshnessSettings


def check_dataset(path: str, due: dt.date, settings: FreshnessSettings) -> Check:
    """Count the rows of the newest session due, as the monthly run's sensor does."""
    try:
        state = check_freshness(open_dataset(path), due, settings)
    except Refusal as refusal:
        return Check(
            name=CheckName.FRESHNESS,
            verdict=CheckVerdict.ATTENTION,
            finding=f"{refusal.what}: expected {refusal.expected}, received {refusal.received}",
            remedy=refusal.remedy,
        )
    finding = (
        f"{due} is the newest session due and has {state.rows} rows, against a median of {state.median_rows:g} on "
        f"the {settings.trailing_sessions} sessions before; the last date is {state.last_day}"
    )
    if state.ready:
        return Check(name=CheckName.FRESHNESS, verdict=CheckVerdict.OK, finding=finding)
    return Check(
        name=CheckName.FRESHNESS,
        verdict=CheckVerdict.ATTENTION,
        finding=finding,
        remedy="Check the data delivery: the ledger stops where the data do.",
    )
