"""Monthly rebalance of the Tokyo book: a bundle and a dataset in, a portfolio to trade out."""

from datetime import timedelta

from airflow.sdk import DAG, Asset, Param, get_current_context, task
from airflow.sdk.definitions.deadline import DeadlineAlert
from airflow.sdk.exceptions import AirflowSkipException
from apex_airflow.callbacks import deadline_alerts, notify_published, notify_run_failure
from apex_airflow.dag_defaults import (
    DEFAULT_ARGS,
    START_DATE,
    input_params,
    optional_choice,
    optional_count,
    optional_day,
    optional_text,
)
from apex_airflow.dataset_fresh_sensor import DatasetFreshSensor
from apex_airflow.portfolio_approval import PortfolioApproval
from apex_airflow.previous_month_sensor import PreviousMonthSensor
from apex_airflow.tasks import APPROVAL, DATASET_FRESH, StepResult, draft_from, monthly_run_from, step
from apex_airflow.timetable import TseRebalanceTimetable

from apex_tasks.settings import FeaturesMode, Normalization, Policy, load_settings

SETTINGS = load_settings()
PORTFOLIO = Asset("apex_portfolio")

TRIAGE = """
**Who is hit:** the fund has no portfolio for the month until `publish` succeeds.

**First:** open the failed task's log; its last line says what was expected, what was received and what to do. Does
`approval` await input? Read the report and answer under Required Actions.

**Is a re-run safe:** yes, always. Every step is repeatable, a published month is never changed, and a different
result for it is refused unless `republish_reason` is given.
"""

PARAMS = {
    "as_of": optional_day(
        "TSE session whose close decides; the next session trades. "
        "Empty: the session before the latest rebalance day."
    ),
    "off_cycle": optional_text(
        "Why as_of may be another session than the one before a rebalance day; no month starts from such a book."
    ),
    **input_params(),
    "top_k": optional_count("Names to hold. Empty: the setting.", maximum=500),
    "horizon": Param(
        None,
        type=["null", "integer"],
        enum=[None, 1, 5, 10, 20],
        description="Forecast horizon, sessions. Empty: the setting.",
    ),
    "normalization": optional_choice("csz: z-score per day; raw: as is. Empty: the setting.", Normalization),
    "normalization_reason": optional_text(
        "Why the features are normalized otherwise than in the model's training; refused without."
    ),
    "features_mode": optional_choice("What to do with missing features. Empty: the setting.", FeaturesMode),
    "policy": optional_choice("How weights follow from candidates. Empty: the setting.", Policy),
    "dry_run": Param(False, type="boolean", description="Do everything but publish."),
    "approval": Param(
        None,
        type=["null", "boolean"],
        description="Wait for a person's approval before publishing. Untouched: the setting.",
    ),
    "republish_reason": optional_text(
        "Why a published month may get a new version with a different result, or a month may be added behind a newer "
        "one; kept in the audit trail."
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
        start_date=START_DATE,
        catchup=False,
        max_active_runs=3,
        dagrun_timeout=timedelta(hours=24),
        # what
        params=PARAMS,
        default_args=DEFAULT_ARGS,
        tags=["apex", "production"],
        # who is notified
        on_failure_callback=notify_run_failure,
        deadline=deadlines,
    ) as dag:

        @task
        @step
        def validate_bundle() -> object:
            """Agree checkpoint, config, dataset schema and MANIFEST.lock."""
            return monthly_run_from(get_current_context()).validate_bundle()

        @task
        @step
        def build_panel(handshake: str) -> object:
            """Decode and normalize the windows of the as-of session."""
            return monthly_run_from(get_current_context()).build_panel(handshake)

        @task
        @step
        def infer(handshake: str, panel: StepResult) -> object:
            """Score every eligible stock."""
            return monthly_run_from(get_current_context()).infer(handshake, panel)

        @task
        @step
        def apply_costs(handshake: str, panel: StepResult, scores: StepResult) -> object:
            """Plan target weights, orders and their costs."""
            return monthly_run_from(get_current_context()).apply_costs(handshake, panel, scores)

        @task(outlets=[PORTFOLIO], max_active_tis_per_dag=1, on_success_callback=notify_published)
        @step
        def publish(panel: StepResult, scores: StepResult, plan: StepResult) -> object:
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
        )
        previous_month = PreviousMonthSensor(
            task_id="previous_month",
            doc_md="Wait for the book of the month before, so that months are planned in order.",
            mode="reschedule",
            poke_interval=10,  # Airflow may take a sensor that looks again within 5 s for a failed one
            timeout=SETTINGS.freshness.timeout_minutes * 60,
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
        )
        dataset_fresh >> panel
        previous_month >> plan
        approval >> publish(panel, scores, plan)
    return dag


dag = monthly_rebalance(deadline_alerts(SETTINGS.deadlines))
