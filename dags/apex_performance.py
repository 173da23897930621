"""Live performance of the published book: every session marked, figures against the bundle's benchmarks."""

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, get_current_context, task
from apex_airflow.callbacks import PERFORMANCE, notify_deviation, notify_run_failure
from apex_airflow.dag_defaults import DEFAULT_ARGS, START_DATE, input_params, optional_day
from apex_airflow.tasks import StepResult, performance_run_from, step

PORTFOLIO = Asset("apex_portfolio")
AFTER_THE_CLOSE = CronTriggerTimetable("0 18 * * 1-5", timezone="Asia/Tokyo")

TRIAGE = """
**Who is hit:** nobody's orders. While this fails, nobody watches whether the live book does what its benchmarks say.

**First:** open the failed task's log; its last line says what was expected, what was received and what to do. A
deviation is a message, not a failure.

**Is a re-run safe:** yes, always. The same inputs find the same ledger and judgement in the store, and no published
month is touched.
"""

PARAMS = {
    **input_params(),
    "until": optional_day("Last day to mark. Empty: the run's own day."),
}

with DAG(
    dag_id=PERFORMANCE,
    description="Mark the published book and compare it with the benchmarks",
    doc_md=f"{__doc__}\n{TRIAGE}",
    # when
    schedule=AssetOrTimeSchedule(timetable=AFTER_THE_CLOSE, assets=PORTFOLIO),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    # what
    params=PARAMS,
    default_args=DEFAULT_ARGS,
    tags=["apex", "production", "performance"],
    # who is notified
    on_failure_callback=notify_run_failure,
) as dag:

    @task
    @step
    def mark_ledger() -> object:
        """Fill and mark every published month from the dataset's closes."""
        return performance_run_from(get_current_context()).mark_ledger()

    @task(on_success_callback=notify_deviation)
    @step
    def judge_performance(ledger: StepResult) -> object:
        """Compare with the benchmarks, and answer the four checks."""
        return performance_run_from(get_current_context()).judge_performance(ledger)

    judge_performance(mark_ledger())
