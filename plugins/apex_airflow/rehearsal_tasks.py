"""What every task of the rehearsal shares: the rehearsal it belongs to, and what only Airflow can see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

if TYPE_CHECKING:
    from apex_tasks.rehearsal.day_zero import DayZero
    from apex_tasks.settings import NotificationSettings


def rehearsal_from(context: Any) -> DayZero:
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
    """Whether the connections that messages go out by are defined; their content is not looked at."""
    return {name: _is_defined(name) for name in (settings.slack_connection, settings.smtp_connection)}


def _is_defined(name: str) -> bool:
    try:
        BaseHook.get_connection(name)
    except AirflowNotFoundException:
        return False
    return True
