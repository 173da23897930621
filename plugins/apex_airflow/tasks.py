"""What all tasks share: the run or rehearsal that a task belongs to, and how a refusal fails it."""

from __future__ import annotations

import datetime as dt
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException
from airflow.sdk.log import redact

if TYPE_CHECKING:
    from airflow.sdk import Context

    from apex_tasks.monthly.request import RunRequest
    from apex_tasks.monthly.run import MonthlyRun
    from apex_tasks.performance.run import PerformanceRun
    from apex_tasks.refusal import Refusal
    from apex_tasks.rehearsal.day_zero import DayZero
    from apex_tasks.settings import NotificationSettings

log = logging.getLogger(__name__)

DATASET_FRESH = "dataset_fresh"
"""Task that waits for the dataset."""
WAITING = "waiting"
"""XCom in which it stores what is missing, and since when."""
APPROVAL = "approval"
"""Task that asks a person, where the run or the setting wants it."""
DRAFT = "draft"
"""XCom in which it stores the key and hash of what would be published, also for dry runs."""
REFUSAL = "refusal"
"""XCom in which any task stores why it was refused, for the run's tab."""

StepResult = Mapping[str, Any]
"""What an earlier step returned, as it comes back from JSON."""


def run_request_from(context: Context) -> RunRequest:
    """Resolve the run's request from its parameters and due time; the same in every task of a run.

    The time of day only decides whether the as-of session has closed: it has in all tasks once it has in the first.

    A run that was triggered by hand or by an asset has no logical date: its `run_after` takes its place.
    """
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.monthly.request import resolve_request
    from apex_tasks.settings import load_settings

    return resolve_request(
        context["params"],
        moment=context.get("logical_date") or context["dag_run"].run_after,
        now=dt.datetime.now(dt.UTC),
        settings=load_settings(),
        calendar=TseCalendar.load(),
    )


def triggered_by(context: Context) -> str:
    """The run, and the user who triggered it where Airflow knows one."""
    run_id = str(context["run_id"])
    user = getattr(context.get("dag_run"), "triggering_user_name", None)
    return f"{user}, run {run_id}" if user else f"run {run_id}"


def attempt_of(context: Context) -> int:
    """How often tasks of the run have been cleared."""
    # Airflow leaves the run out of a DAG callback's context when it knows no task to blame.
    return context["dag_run"].clear_number or 0 if "dag_run" in context else 0


def monthly_run_from(context: Context) -> MonthlyRun:
    """Build the run whose steps the tasks call."""
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.monthly.run import MonthlyRun
    from apex_tasks.store import Store

    request = run_request_from(context)
    return MonthlyRun(
        request,
        Store(request.settings.home),
        TseCalendar.load(),
        context["run_id"],
        triggered_by=triggered_by(context),
    )


def draft_from(context: Context) -> StepResult | None:
    """Reference of the draft that the run's approval task stored, or None where it stored none."""
    return context["ti"].xcom_pull(task_ids=APPROVAL, key=DRAFT)


def performance_run_from(context: Context) -> PerformanceRun:
    """Build the performance run whose steps the tasks call, the same in every task of a run.

    Raises
    ------
    AirflowSkipException
        Nothing is published yet, so there is no performance.
    """
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.performance.request import PERFORMANCE_PARAMETERS, resolve_performance_request
    from apex_tasks.performance.run import PerformanceRun
    from apex_tasks.settings import load_settings
    from apex_tasks.store import Store

    settings, calendar = load_settings(), TseCalendar.load()
    request = resolve_performance_request(
        {name: context["params"][name] for name in PERFORMANCE_PARAMETERS},
        moment=context.get("logical_date") or context["dag_run"].run_after,
        settings=settings,
        calendar=calendar,
    )
    run = PerformanceRun(request, Store(settings.home), calendar)
    if run.nothing_published:
        reason = f"No month is published up to {request.until}: there is no performance yet."
        run.log(reason)  # Airflow's own line of a skip does not say why
        raise AirflowSkipException(reason)
    return run


def rehearsal_from(context: Context) -> DayZero:
    """Build the rehearsal of a run; today is the Tokyo date of its due time."""
    from apex_tasks.market.calendar import TseCalendar, tokyo_date
    from apex_tasks.rehearsal.day_zero import DayZero
    from apex_tasks.rehearsal.request import resolve_rehearsal
    from apex_tasks.settings import load_settings

    request = resolve_rehearsal(
        context["params"],
        today=tokyo_date(context["dag_run"].run_after),
        settings=load_settings(),
    )
    return DayZero(request, TseCalendar.load(), defined_connections)


def defined_connections(settings: NotificationSettings) -> dict[str, bool]:
    """Whether the connections that messages are sent by are defined; their content is not read."""
    return {name: _is_defined(name) for name in (settings.slack_connection, settings.smtp_connection)}


def _is_defined(name: str) -> bool:
    try:
        BaseHook.get_connection(name)
    except AirflowNotFoundException:
        return False
    return True


@contextmanager
def fail_on_refusal() -> Iterator[None]:
    """Turn a refusal into a failure that is not retried: another try would meet the same input."""
    from apex_tasks.refusal import Refusal

    try:
        yield
    except Refusal as refusal:
        _push_refusal(refusal)
        raise AirflowFailException(str(refusal)) from None


def _push_refusal(refusal: Refusal) -> None:
    try:
        get_current_context()["ti"].xcom_push(REFUSAL, redact(vars(refusal)))
    except Exception as error:  # the failure itself matters more than where else it can be read
        log.warning("The run's tab will not say why: %s: %s", type(error).__name__, error)


def refusal_from(error: BaseException | None) -> Refusal | None:
    """The refusal that `fail_on_refusal` turned into this failure, or None for any other error."""
    from apex_tasks.refusal import Refusal

    cause = None if error is None else error.__context__
    return cause if isinstance(cause, Refusal) else None


def step(function: Callable[..., object]) -> Callable[..., object]:
    """Make a step a task body: its result becomes JSON, and a refusal fails it at once."""

    @functools.wraps(function)
    def run(*args: object, **kwargs: object) -> object:
        from pydantic import BaseModel

        with fail_on_refusal():
            result = function(*args, **kwargs)
        return result.model_dump(mode="json") if isinstance(result, BaseModel) else result

    return run
