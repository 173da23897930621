"""Operator: a person approves the month's portfolio before it is published, where that is wanted."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.exceptions import HITLRejectException, HITLTimeoutError
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseNotifier, Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from apex_airflow.callbacks import approval_question, request_approval
from apex_airflow.tasks import DRAFT, attempt_of, fail_on_refusal, monthly_run_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from apex_tasks.monthly.approval import ApprovalAnswer
    from apex_tasks.notifications.notification import Notification
    from apex_tasks.refusal import Refusal

NOTE = "note"


class PortfolioApproval(ApprovalOperator):
    """Drafts what would be published, and asks a person whether it shall be.

    The draft is stored in the XCom `draft`, also by runs that ask nobody. Where somebody is asked, the task waits in
    the state `awaiting_input`, without a worker, until Approve or Reject is chosen in the required actions. The
    answer goes into the audit trail; anything but Approve fails the task at once, so that nothing is published.

    Safe to repeat: what was approved in this run is not asked again, what was rejected only after a clear.

    Parameters
    ----------
    steps
        What the earlier steps returned: handshake, panel, scores and plan.
    response_timeout
        How long people may think.
    """

    template_fields = ("steps",)
    response_timeout: dt.timedelta

    def __init__(self, *, steps: Sequence[Any], response_timeout: dt.timedelta, **kwargs: Any) -> None:
        super().__init__(
            subject="Publish this month's portfolio?",
            fail_on_reject=True,
            response_timeout=response_timeout,
            **kwargs,
        )
        # Not as an argument: Airflow would add the parameters of the DAG.
        why = "Why; kept in the audit trail with your name."
        self.params = ParamsDict(
            {NOTE: Param(None, type=["null", "string"], maxLength=1000, description=why)}
        )
        self.steps = steps

    def execute(self, context: Context) -> None:
        """Draft; return at once when nobody has to be asked, else ask and wait."""
        context = self._of_the_run(context)
        with fail_on_refusal():
            run, plan = monthly_run_from(context), self.steps[-1]
            drafted = run.draft(*self.steps)
            context["ti"].xcom_push(DRAFT, drafted.model_dump(mode="json"))
            if not run.awaits_approval(plan, drafted, attempt_of(context)):
                return
            approvers = run.request.settings.approvers
            question = approval_question(context, plan, dt.datetime.now(dt.UTC) + self.response_timeout)
        self.subject, self.body = question.headline, question.markdown
        self.notifiers = [QuestionNotifier(question)]
        self.assigned_users = [{"id": user, "name": user} for user in approvers]
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Record the answer, or that there was none in time; fail unless it is yes."""
        context = self._of_the_run(context)
        with fail_on_refusal():
            answer = self._answer(context, event)
            drafted = context["ti"].xcom_pull(task_ids=self.task_id, key=DRAFT)
            decision = monthly_run_from(context).decide(self.steps[-1], drafted, answer, attempt_of(context))
            return decision.model_dump(mode="json")

    def _answer(self, context: Context, event: Mapping[str, Any]) -> ApprovalAnswer:
        from pydantic import ValidationError

        from apex_tasks.monthly.approval import ApprovalAnswer, ApprovalOutcome

        outcome = ApprovalOutcome.APPROVED
        try:
            super().execute_complete(context, dict(event))
        except HITLTimeoutError:
            return ApprovalAnswer(outcome=ApprovalOutcome.TIMED_OUT)
        except HITLRejectException:
            outcome = ApprovalOutcome.REJECTED
        except (ValueError, ParamValidationError) as error:
            raise _not_understood(error) from None
        try:
            return ApprovalAnswer(
                outcome=outcome,
                by=event["responded_by_user"],
                at=event["responded_at"],
                note=(event["params_input"] or {}).get(NOTE) or "",
            )
        except ValidationError as error:
            raise _not_understood(error) from None

    def _of_the_run(self, context: Context) -> Context:
        """The context without the parameters of the question, which the run does not know."""
        of_the_run = {name: value for name, value in context["params"].items() if name not in self.params}
        return {**context, "params": of_the_run}


class QuestionNotifier(BaseNotifier):
    """Sends the question by Slack and e-mail; whatever fails there, the question is shown in Airflow."""

    def __init__(self, question: Notification) -> None:
        super().__init__()
        self.question = question

    def notify(self, context: Context) -> None:
        """Send it."""
        request_approval(context, self.question)


def _not_understood(error: Exception) -> Refusal:
    from apex_tasks.refusal import Refusal

    return Refusal(
        "the answer cannot be understood, nothing is published",
        expected=f"{ApprovalOperator.APPROVE} or {ApprovalOperator.REJECT} by a person, with a note of at most "
        "1000 characters",
        received=str(error).splitlines()[0],
        where="required actions of this run",
        remedy="Clear the task approval: it asks again.",
    )
