"""Who said yes to what: recorded once, bound to the bytes that were read, and asked for by publish."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from apex_tasks.monthly.apply_costs import PlanReference
from apex_tasks.monthly.approval import ApprovalAnswer, ApprovalOutcome, Person
from apex_tasks.monthly.draft import DraftReference
from apex_tasks.monthly.publish import PublishReference
from apex_tasks.monthly.run import MonthlyRun, run_month
from apex_tasks.published import audit
from apex_tasks.published.portfolio import published_dates
from apex_tasks.refusal import Refusal, Rejected, Unanswered
from tests.support.faults import failures
from tests.support.small_market import JULY, SmallMarket, month, portfolio, published_bytes, small_settings

ADA = Person(id="7", name="Ada")
AT = dt.datetime(2025, 7, 1, 0, 30, tzinfo=dt.UTC)
YES = ApprovalAnswer(outcome=ApprovalOutcome.APPROVED, by=ADA, at=AT, note="as usual")
NO = ApprovalAnswer(outcome=ApprovalOutcome.REJECTED, by=ADA, at=AT, note="one sector")
SILENCE = ApprovalAnswer(outcome=ApprovalOutcome.TIMED_OUT)


@dataclass(frozen=True)
class Asked:
    """A month that is drafted and asks for an approval."""

    run: MonthlyRun
    steps: Any
    draft: DraftReference

    @property
    def plan(self) -> PlanReference:
        return self.steps[-1]

    def awaits(self, attempt: int = 0) -> bool:
        return self.run.awaits_approval(self.plan, self.draft, attempt)

    def decide(self, answer: ApprovalAnswer, attempt: int = 0) -> None:
        self.run.decide(self.plan, self.draft, answer, attempt)

    def publish(self) -> PublishReference:
        _, panel, scores, plan = self.steps
        return self.run.publish(panel, scores, plan, self.draft)

    def events(self) -> list[str]:
        assert audit.verify(self.run.store).problems == ()
        return [record.event for record in audit.records(self.run.store)]


def ask(market: SmallMarket, home: Path, **given: Any) -> Asked:
    run = month(market, home, JULY, cold_start=True, **{"approval": True, **given})
    handshake = run.validate_bundle()
    panel = run.build_panel(handshake)
    scores = run.infer(handshake, panel)
    steps = (handshake, panel, scores, run.apply_costs(handshake, panel, scores))
    return Asked(run, steps, run.draft(*steps))


@pytest.fixture(scope="module")
def template(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return ask(market, tmp_path_factory.mktemp("template"))


@pytest.fixture
def asked(template: Asked) -> Iterator[Asked]:
    """The month in a home where nothing is decided or published."""
    yield template
    for part in ("portfolio", "audit"):
        shutil.rmtree(Path(template.run.store.root) / part, ignore_errors=True)


def test_an_approval_is_recorded_with_what_it_is_about_and_named_by_the_month(asked: Asked) -> None:
    assert asked.awaits()
    asked.decide(YES)
    assert not asked.awaits()
    asked.publish()
    approved, published = audit.records(asked.run.store)
    assert approved.event == "approved"
    assert approved.details == {
        "rebalance_date": "2025-07-01",
        "plan": asked.plan.content_hash,
        "draft": asked.draft.content_hash,
        "run_id": "test__2025-07-01",
        "attempt": 0,
        "by": {"id": "7", "name": "Ada"},
        "at": "2025-07-01T00:30:00Z",
        "note": "as usual",
    }
    assert published.event == "published"
    assert portfolio(asked.run.store.root, JULY).read_json("execution.json")["approval"] == {
        name: approved.details[name] for name in ("by", "at", "note")
    }
    assert asked.events() == ["approved", "published"]


def test_whether_a_person_was_asked_changes_no_published_byte(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    """By the setting; a run that asks although the setting does not tells that."""
    asked = ask(market, tmp_path, settings=small_settings(tmp_path, approval=True), approval=None)
    asked.decide(YES)
    asked.publish()
    approved, plain = portfolio(asked.run.store.root, JULY), portfolio(chain, JULY)
    for name in plain.manifest.files.keys() - {"execution.json"}:
        assert approved.read_bytes(name) == plain.read_bytes(name), name
    assert plain.read_json("execution.json")["approval"] is None


@pytest.mark.parametrize(("answer", "kind"), [(NO, Rejected), (SILENCE, Unanswered)])
def test_what_was_not_approved_is_recorded_and_asked_again_only_after_a_clear(
    asked: Asked, answer: ApprovalAnswer, kind: type[Refusal]
) -> None:
    with pytest.raises(kind) as refused:
        asked.decide(answer)
    assert "nothing is published" in refused.value.what
    with pytest.raises(kind):  # a retry of the same attempt
        asked.awaits()
    with pytest.raises(Refusal, match="a person must approve") as not_published:
        asked.publish()
    assert not_published.value.received == str(answer)
    assert asked.awaits(attempt=1)
    asked.decide(YES, attempt=1)
    asked.publish()
    assert asked.events() == [answer.outcome, "approved", "published"]


def test_a_rejection_says_who_when_and_why(asked: Asked) -> None:
    with pytest.raises(Rejected) as refused:
        asked.decide(NO)
    assert refused.value.what == "2025-07-01 was rejected by Ada (7), nothing is published"
    assert refused.value.received == "rejected by Ada (7) at 2025-07-01 09:30 JST: one sector"


def test_publish_refuses_what_nobody_approved_whatever_the_task_says(asked: Asked) -> None:
    with pytest.raises(Refusal) as refused:
        asked.publish()
    assert refused.value.received == "none"
    assert asked.plan.content_hash in refused.value.expected
    assert "marking it as success approves nothing" in refused.value.remedy
    assert published_dates(asked.run.store) == []


def test_an_approval_holds_for_its_run_plan_and_draft_alone(asked: Asked) -> None:
    asked.decide(YES)
    another = replace(asked, run=replace(asked.run, run_id="another"))
    assert another.awaits()
    with pytest.raises(Refusal, match="a person must approve"):
        another.publish()
    for changed in (
        {"draft": asked.draft.model_copy(update={"content_hash": "other"})},
        {"steps": (*asked.steps[:-1], asked.plan.model_copy(update={"content_hash": "other"}))},
    ):
        assert replace(asked, **changed).awaits()


def test_the_first_answer_of_an_attempt_stands(asked: Asked) -> None:
    with pytest.raises(Rejected):
        asked.decide(NO)
    with pytest.raises(Rejected):
        asked.decide(YES)
    assert asked.events() == ["rejected"]


def test_a_fault_anywhere_neither_loses_nor_doubles_an_answer(asked: Asked) -> None:
    for _ in failures(lambda: asked.decide(YES)):
        assert asked.events() in ([], ["approved"])
        asked.decide(YES)
        assert asked.events() == ["approved"]
        shutil.rmtree(Path(asked.run.store.root) / "audit")


def test_a_month_that_is_published_with_this_result_asks_nobody(asked: Asked) -> None:
    asked.decide(YES)
    asked.publish()
    before = published_bytes(Path(asked.run.store.root))
    again = replace(asked, run=replace(asked.run, run_id="again"))
    assert not again.awaits()
    assert again.publish().already_published
    assert published_bytes(Path(asked.run.store.root)) == before


def test_a_different_result_is_refused_before_anybody_is_asked(market: SmallMarket, asked: Asked) -> None:
    asked.decide(YES)
    asked.publish()
    home = Path(asked.run.store.root)
    with pytest.raises(Refusal, match="published already, with a different result"):
        ask(market, home, top_k=36).awaits()
    assert ask(market, home, top_k=36, republish_reason="one name more").awaits()


def test_a_dry_run_and_one_that_does_not_want_it_ask_nobody(market: SmallMarket, asked: Asked) -> None:
    for changes in ({"dry_run": True}, {"approval": False}):
        request = asked.run.request.model_copy(update=changes)
        assert not replace(asked, run=replace(asked.run, request=request)).awaits()


def test_a_run_in_one_process_needs_the_answer_given(asked: Asked) -> None:
    with pytest.raises(Unanswered) as refused:
        run_month(asked.run)
    report = Path(refused.value.where)
    assert report.is_file()
    assert "--approve" in refused.value.remedy
    assert published_dates(asked.run.store) == []
    _, published = run_month(asked.run, YES)
    assert published is not None
    assert asked.events() == ["approved", "published"]


@pytest.mark.parametrize(
    "said",
    [
        {"outcome": ApprovalOutcome.APPROVED},
        {"outcome": ApprovalOutcome.APPROVED, "by": ADA},
        {"outcome": ApprovalOutcome.REJECTED, "at": AT},
        {"outcome": ApprovalOutcome.TIMED_OUT, "by": ADA, "at": AT},
    ],
)
def test_nobody_cannot_answer(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ApprovalAnswer(**said)
