"""Rehearsal of a deployment: bundle, dataset and store are tried, and nothing is published."""

from datetime import timedelta

from airflow.sdk import DAG, get_current_context, task
from apex_airflow.callbacks import REHEARSAL, notify_run_failure
from apex_airflow.dag_defaults import DEFAULT_ARGS, START_DATE, input_params, optional_count
from apex_airflow.tasks import StepResult, rehearsal_from, step

TRIAGE = """
Trigger it by hand on the day of a deployment, before the first month; docs/day-zero.md has the whole day.

**Who is hit:** nobody. What failed here would have failed, or misled, the monthly run.

**First:** open the failed task's log; its last line names what differs and what to do.

**Is a re-run safe:** yes, always. The rehearsal publishes nothing and changes nothing that is published.
"""

PARAMS = {
    **input_params(),
    "sessions": optional_count("Newest sessions that are scored twice. Empty: 5.", maximum=60),
    "months": optional_count("Newest rebalances that are rehearsed. Empty: 3.", maximum=120),
}

with DAG(
    dag_id=REHEARSAL,
    description="Try a deployment: handshake, scores twice, months rehearsed, checklist; publishes nothing",
    doc_md=f"{__doc__}\n{TRIAGE}",
    # when
    schedule=None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    # what
    params=PARAMS,
    default_args=DEFAULT_ARGS,
    tags=["apex", "rehearsal"],
    # who is notified
    on_failure_callback=notify_run_failure,
) as dag:

    @task
    @step
    def handshake() -> object:
        """Agree checkpoint, config, dataset schema and MANIFEST.lock; log all resolved settings."""
        return rehearsal_from(get_current_context()).handshake().bundle_sha256

    @task
    @step
    def smoke_test() -> object:
        """Score the newest sessions twice, independently, and compare the names and scores."""
        return rehearsal_from(get_current_context()).smoke_test().require_passed()

    @task
    @step
    def monthly_rehearsal() -> object:
        """Replay the newest months and count the rebalances against the calendar."""
        return rehearsal_from(get_current_context()).monthly_rehearsal().require_passed()

    @task
    @step
    def checklist(smoke: StepResult, months: StepResult) -> object:
        """Print every item of the deployment checklist as done, open or failed, with the evidence."""
        return rehearsal_from(get_current_context()).report(smoke, months).require_passed()

    smoke = smoke_test()
    months = monthly_rehearsal()
    handshake() >> smoke >> months >> checklist(smoke, months)
