"""Reads from Airflow's database what the tab of a run shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from apex_airflow.tasks import APPROVAL, DATASET_FRESH, DRAFT, REFUSAL, WAITING

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy.orm import Session

    from apex_tasks.web.pages.run_banner import AnswerState, RunState

PUBLISH = "publish"
BEGUN = ("running", "awaiting_input", "deferred", "up_for_retry", "success", "failed")
# What Airflow allows in an id is a setting; these characters are safe for every database and page.
_ID = re.compile(r"[^\x00-\x1f\x7f/\ud800-\udfff]{1,250}")


def check_ids(dag_id: str, run_id: str) -> None:
    """Let nothing through that cannot be an id; a dependency of the web application."""
    from apex_tasks.web.pages.published_files import UnknownError

    if not (_ID.fullmatch(dag_id) and _ID.fullmatch(run_id)):
        raise UnknownError("that is no id of a DAG and a run")


def read_run_state(dag_id: str, run_id: str, airflow: str) -> RunState | None:
    """A run's state, or None where there is no such run.

    Parameters
    ----------
    airflow
        Path below which Airflow answers; empty for none.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from apex_tasks.web.pages.run_banner import RunState, TaskState

    page = f"{airflow}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
    with create_session(scoped=False) as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        if run is None:
            return None
        instances = session.scalars(
            select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        ).all()
        tasks = {one.task_id: one for one in sorted(instances, key=_start)}
        published = _xcom_of(session, tasks.get(PUBLISH), "return_value", "success")
        draft = _xcom_of(session, tasks.get(APPROVAL), DRAFT, *BEGUN)
        waiting = _xcom_of(
            session, tasks.get(DATASET_FRESH), WAITING, "running", "up_for_reschedule", "up_for_retry"
        )
        return RunState(
            run_id=run_id,
            state=str(run.state),
            dry_run=_mapping(run.conf).get("dry_run") is True,
            tasks=tuple(
                TaskState(
                    task_id=one.task_id,
                    state=None if one.state is None else str(one.state),
                    page=f"{page}/tasks/{quote(one.task_id, safe='')}",
                    refusal=_refusal(_xcom_of(session, one, REFUSAL, "failed")),
                )
                for one in tasks.values()
            ),
            published=_text(published.get("portfolio")),
            already_published=published.get("already_published") is True,
            draft=_text(draft.get("key")),
            waiting=_awaited(waiting),
            question=_question(session, tasks.get(APPROVAL)),
            actions_page=f"{page}/required_actions",
        )


def _start(one: TaskInstance) -> tuple[bool, str, str]:
    return one.start_date is None, str(one.start_date), one.task_id


def _xcom_of(session: Session, task: TaskInstance | None, key: str, *states: str) -> Mapping[str, Any]:
    """What a task stored, where it is in one of these states: a cleared one still has what it stored before."""
    from airflow.models.xcom import XComModel

    if task is None or str(task.state) not in states:
        return {}
    query = XComModel.get_many(
        run_id=task.run_id, key=key, task_ids=task.task_id, dag_ids=task.dag_id, map_indexes=-1, limit=1
    )
    found = session.scalars(query).first()
    return {} if found is None else _mapping(XComModel.deserialize_value(found))


def _question(session: Session, approval: TaskInstance | None) -> AnswerState | None:
    from airflow.models.hitl import HITLDetail

    from apex_tasks.market.calendar import TOKYO
    from apex_tasks.web.pages.run_banner import AnswerState

    asked = None if approval is None else session.get(HITLDetail, approval.id)
    if asked is None:
        return None
    return AnswerState(
        chosen=tuple(str(option) for option in asked.chosen_options or ()),
        by=None if asked.responded_by is None else str(asked.responded_by.get("name")),
        at=None if asked.responded_at is None else asked.responded_at.astimezone(TOKYO),
    )


def _awaited(stored: Mapping[str, Any]) -> str | None:
    """What the dataset lacks; None where nothing is known of it."""
    parts = _texts(stored, "what", "expected", "received")
    return None if parts is None else "{what} (expected {expected}, received {received}).".format(**parts)


def _refusal(stored: Mapping[str, Any]) -> str | None:
    """Why a task was refused, and what to do; None where nothing is known of it."""
    from apex_tasks.refusal import Refusal

    parts = _texts(stored, "what", "expected", "received", "where", "remedy")
    return None if parts is None else str(Refusal(**parts))


def _texts(stored: Mapping[str, Any], *names: str) -> dict[str, str] | None:
    texts = {name: text for name in names if (text := _text(stored.get(name))) is not None}
    return texts if len(texts) == len(names) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
