"""How a check is stored: stored reports must stay readable, and equal inputs must give equal bytes."""

from __future__ import annotations

from apex_tasks.performance.checks.check import Check, CheckName, CheckVerdict
from tests.support.notification_samples import performance_report

CHECK = Check(
    name=CheckName.DRIFT, verdict=CheckVerdict.ATTENTION, finding="returns moved", remedy="Look at the feed."
)
STORED = {
    "name": "drift of features and scores",
    "verdict": "attention",
    "finding": "returns moved",
    "first": "Look at the feed.",
}


def test_the_remedy_keeps_its_stored_name() -> None:
    assert CHECK.model_dump(mode="json") == STORED
    assert list(CHECK.model_dump()) == list(STORED)
    assert Check.model_validate(STORED) == CHECK


def test_it_keeps_it_inside_a_report_as_well() -> None:
    (check,) = performance_report(CheckName.DRIFT).model_dump(mode="json")["checks"][3:]
    assert check["first"] == "Do drift of features and scores first."
    assert "remedy" not in check
