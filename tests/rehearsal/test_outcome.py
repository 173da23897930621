"""The vocabulary of a rehearsal: verdicts of stages, states of items."""

from __future__ import annotations

from typing import ClassVar

import pytest

from apex_tasks.refusal import CheckFailed
from apex_tasks.rehearsal.outcome import (
    ItemState,
    StageOutcome,
    StageVerdict,
    done,
    failed,
    still_open,
    verdict_on,
)


class Stage(StageOutcome):
    stage: ClassVar[str] = "dress rehearsal"


@pytest.mark.parametrize(
    ("problems", "verdict"), [([], StageVerdict.PASSED), (["it differs"], StageVerdict.FAILED)]
)
def test_a_problem_decides_the_verdict(problems: list[str], verdict: StageVerdict) -> None:
    assert verdict_on(problems) is verdict


def test_a_stage_that_passed_goes_on() -> None:
    outcome = Stage(verdict=StageVerdict.PASSED, problems=())
    assert outcome.require_passed() is outcome


def test_a_stage_that_failed_stops_with_every_problem() -> None:
    outcome = Stage(verdict=StageVerdict.FAILED, problems=("one", "two"))
    with pytest.raises(CheckFailed, match=r"the dress rehearsal failed.*one; two") as stopped:
        outcome.require_passed()
    assert stopped.value.exit_code == 4


def test_the_name_of_the_stage_is_not_stored() -> None:
    assert Stage(verdict=StageVerdict.PASSED, problems=()).model_dump(mode="json") == {
        "verdict": "passed",
        "problems": [],
    }


def test_an_item_has_one_of_three_states_and_its_evidence() -> None:
    outcomes = [say("seen") for say in (done, still_open, failed)]
    assert [outcome.state for outcome in outcomes] == list(ItemState)
    assert {outcome.evidence for outcome in outcomes} == {"seen"}
