"""Monthly rebalance of the Tokyo book: a bundle and a dataset in, a portfolio to trade out."""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Asset, DeadlineAlert, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from apex_airflow.callbacks import (
    deadline_alerts,
    notify_published,
    notify_retry,
    notify_run_failure,
    notify_task_failure,
)
from apex_airflow.dataset_fresh_sensor import DatasetFreshSensor
from apex_airflow.portfolio_approval import PortfolioApproval
from apex_airflow.previous_month_sensor import PreviousMonthSensor
from apex_airflow.tasks import APPROVAL, DATASET_FRESH, draft_from, monthly_run_from, step
from apex_airflow.timetable import TseRebalanceTimetable

from apex_tasks.settings import FeaturesMode, Normalization, Policy, load_settings

SETTINGS = load_settings()
PORTFOLIO = Asset("apex_portfolio")
IO_RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": 2.0}

TRIAGE = """
**Who is hit:** the fund has no portfolio for the month until `publish` succeeds.

**First:** open the failed task's log; its last line says what was expected, what was received and what to do. Does
`approval` await input? Read the report and answer under Required Actions.

**Is a re-run safe:** yes, always. Every step is repeatable, a published month is never changed, and a different
result for it is refused unless `republish_reason` is given.
"""


def _choice(default: object, values: object, description: str) -> Param:
    return Param(default, type=["null", "string"], enum=[None, *values], description=description)


PARAMS = {
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date",
        description="TSE session whose close decides; the next session trades. "
        "Empty: the session before the latest rebalance day.",
    ),
    "bundle": Param(None, type=["null", "string"], description="Folder or tar.gz. Empty: APEX_BUNDLE."),
    "dataset": Param(None, type=["null", "string"], description="Parquet file. Empty: APEX_DATASET."),
    "top_k": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=500,
        description="Names to hold. Empty: the setting.",
    ),
    "horizon": Param(
        None,
        type=["null", "integer"],
        enum=[None, 1, 5, 10, 20],
        description="Forecast horizon, sessions. Empty: the setting.",
    ),
    "normalization": _choice(None, Normalization, "csz: z-score per day; raw: as is. Empty: the setting."),
    "features_mode": _choice(None, FeaturesMode, "What to do with missing features. Empty: the setting."),
    "policy": _choice(None, Policy, "How weights follow from candidates. Empty: the setting."),
    "dry_run": Param(False, type="boolean", description="Do everything but publish."),
    "approval": Param(
        None,
        type=["null", "boolean"],
        description="Wait for a person's approval before publishing. Untouched: the setting.",
    ),
    "republish_reason": Param(
        None,
        type=["null", "string"],
        description="Why a published month may get a new version with a different result; kept in the audit trail.",
    ),
    "cold_start": Param(
        False, type="boolean", description="Start from cash when last month has no published portfolio."
    ),
}


def monthly_rebalance(deadlines: list[DeadlineAlert]) -> DAG:
    """Wire the steps; `dag.test()` cannot run a DAG that has deadlines, so tests pass none."""
    with DAG(
        dag_id="apex_monthly_rebalance",
        description="Rank the Tokyo market and publish the month's portfolio",
        doc_md=f"{__doc__}\n{TRIAGE}",
        # when
        schedule=TseRebalanceTimetable(SETTINGS.schedule.nth_session, SETTINGS.schedule.grace_days),
        start_date=pendulum.datetime(2000, 1, 1, tz="Asia/Tokyo"),
        catchup=False,
        max_active_runs=3,
        dagrun_timeout=timedelta(hours=24),
        # what
        params=PARAMS,
        default_args={
            "owner": "apex",
            "on_failure_callback": notify_task_failure,
            "on_retry_callback": notify_retry,
        },
        tags=["apex", "production"],
        # who is told
        on_failure_callback=notify_run_failure,
        deadline=deadlines,
    ) as dag:

        @task(**IO_RETRIES)
        @step
        def validate_bundle():
            """Agree checkpoint, config, dataset schema and MANIFEST.lock."""
            return monthly_run_from(get_current_context()).validate_bundle()

        @task(**IO_RETRIES)
        @step
        def build_panel(handshake):
            """Decode and normalise the windows of the as-of session."""
            return monthly_run_from(get_current_context()).build_panel(handshake)

        @task(**IO_RETRIES)
        @step
        def infer(handshake, panel):
            """Score every eligible stock."""
            return monthly_run_from(get_current_context()).infer(handshake, panel)

        @task(**IO_RETRIES)
        @step
        def apply_costs(handshake, panel, scores):
            """Plan target weights, orders and their costs."""
            return monthly_run_from(get_current_context()).apply_costs(handshake, panel, scores)

        @task(
            **IO_RETRIES, outlets=[PORTFOLIO], max_active_tis_per_dag=1, on_success_callback=notify_published
        )
        @step
        def publish(panel, scores, plan):
            """Publish the portfolio with the report that was drafted, unless the run is dry."""
            context = get_current_context()
            run = monthly_run_from(context)
            if run.request.dry_run:
                raise AirflowSkipException("Dry run: nothing is published.")
            return run.publish(panel, scores, plan, draft_from(context))

        dataset_fresh = DatasetFreshSensor(
            task_id=DATASET_FRESH,
            doc_md="Wait until the as-of session is complete in the dataset.",
            mode="reschedule",
            poke_interval=SETTINGS.freshness.poke_interval_seconds,
            timeout=SETTINGS.freshness.timeout_minutes * 60,
            **IO_RETRIES,
        )
        previous_month = PreviousMonthSensor(
            task_id="previous_month",
            doc_md="Wait for the book of the month before, so that months are planned in order.",
            mode="reschedule",
            poke_interval=10,  # Airflow may take a sensor that looks again within 5 s for a failed one
            timeout=SETTINGS.freshness.timeout_minutes * 60,
            **IO_RETRIES,
        )
        handshake = validate_bundle()
        panel = build_panel(handshake)
        scores = infer(handshake, panel)
        plan = apply_costs(handshake, panel, scores)
        approval = PortfolioApproval(
            task_id=APPROVAL,
            doc_md="Draft the report and, where that is wanted, wait for a person to approve it.",
            steps=[handshake, panel, scores, plan],
            response_timeout=timedelta(minutes=SETTINGS.deadlines.approval_minutes),
            **IO_RETRIES,
        )
        dataset_fresh >> panel
        previous_month >> plan
        approval >> publish(panel, scores, plan)
    return dag


dag = monthly_rebalance(deadline_alerts(SETTINGS.deadlines))
