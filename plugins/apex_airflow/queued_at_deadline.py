"""Deadline reference: the moment a run was first queued."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from airflow.sdk.definitions.deadline import BaseDeadlineReference

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class QueuedAtDeadline(BaseDeadlineReference):
    """When a run was first queued; clearing it moves no deadline.

    Replaces Airflow's own `DAGRUN_QUEUED_AT`. With that one, Airflow 3.3.0 to 3.3.2 answers every attempt to
    clear a run with an error until its last deadline has passed (apache/airflow issue 70368), and no failed month
    could be repaired in time, by hand or by a backfill.
    """

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str) -> datetime | None:
        # Called by the scheduler and the API server, which have the database; DAG files must not import it.
        from airflow.models import DagRun
        from sqlalchemy import select

        run = (DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        return session.scalar(select(DagRun.queued_at).where(*run))
