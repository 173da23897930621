"""Rehearsal of a deployment: bundle, dataset and store are tried, and nothing is published."""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param, get_current_context, task
from apex_airflow.callbacks import REHEARSAL, notify_retry, notify_run_failure, notify_task_failure
from apex_airflow.tasks import rehearsal_from, step

IO_RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": 2.0}

TRIAGE = """
Trigger it by hand on the day of a deployment, before the first month; docs/day-zero.md has the whole day.

**Who is hit:** nobody. What failed here would have failed, or misled, the monthly run.

**First:** open the failed task's log; its last line names what differs and what to do.

**Is a re-run safe:** yes, always. The rehearsal publishes nothing and changes nothing that is published.
"""

PARAMS = {
    "bundle": Param(None, type=["null", "string"], description="Folder or tar.gz. Empty: APEX_BUNDLE."),
    "dataset": Param(None, type=["null", "string"], description="Parquet file. Empty: APEX_DATASET."),
    "sessions": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=60,
        description="Newest sessions that are scored twice. Empty: 5.",
    ),
    "months": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=120,
        description="Newest rebalances that are rehearsed. Empty: 3.",
    ),
}

with DAG(
    dag_id=REHEARSAL,
    description="Try a deployment: handshake, scores twice, months rehearsed, checklist; publishes nothing",
    doc_md=f"{__doc__}\n{TRIAGE}",
    # when
    schedule=None,
    start_date=pendulum.datetime(2000, 1, 1, tz="Asia/Tokyo"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    # what
    params=PARAMS,
    default_args={
        "owner": "apex",
        "on_failure_callback": notify_task_failure,
        "on_retry_callback": notify_retry,
    },
    tags=["apex", "rehearsal"],
    # who is told
    on_failure_callback=notify_run_failure,
) as dag:

    @task(**IO_RETRIES)
    @step
    def handshake():
        """Agree checkpoint, config, dataset schema and MANIFEST.lock; log all resolved settings."""
        return rehearsal_from(get_current_context()).handshake().bundle_sha256

    @task(**IO_RETRIES)
    @step
    def smoke_test():
        """Score the newest sessions twice, independently, and compare the names and scores."""
        return rehearsal_from(get_current_context()).smoke_test().require_passed()

    @task(**IO_RETRIES)
    @step
    def monthly_rehearsal():
        """Play the newest months through and count the rebalances against the calendar."""
        return rehearsal_from(get_current_context()).monthly_rehearsal().require_passed()

    @task(**IO_RETRIES)
    @step
    def checklist(smoke, months):
        """Print every item of the deployment checklist as done, open or failed, with the evidence."""
        return rehearsal_from(get_current_context()).report(smoke, months).require_passed()

    smoke = smoke_test()
    months = monthly_rehearsal()
    handshake() >> smoke >> months >> checklist(smoke, months)
