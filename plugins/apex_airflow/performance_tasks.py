"""What the tasks of the performance run share: the look they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from apex_tasks.performance.run import PerformanceRun


def performance_run_from(context: Any) -> PerformanceRun:
    """Build the look whose steps the tasks call, the same in every task of a run.

    Raises
    ------
    AirflowSkipException
        Nothing is published yet, so there is nothing to look at.
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
