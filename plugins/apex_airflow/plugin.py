"""What this package registers with every Airflow component: timetable, deadline reference, pages."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from apex_airflow.queued_at_deadline import QueuedAtDeadline
from apex_airflow.timetable import TseRebalanceTimetable
from apex_airflow.web import EXTERNAL_VIEWS, FASTAPI_APPS


class ApexPlugin(AirflowPlugin):
    """Registers what the DAG files and the web server need; Airflow declares its attributes as plain lists."""

    name = "apex"
    timetables = [TseRebalanceTimetable]  # noqa: RUF012
    deadline_references = [QueuedAtDeadline]  # noqa: RUF012
    fastapi_apps = FASTAPI_APPS
    external_views = EXTERNAL_VIEWS
