"""What every test of a performance check asserts of its outcome."""

from __future__ import annotations

from apex_tasks.performance.checks.check import Check, CheckVerdict


def verdict_of(check: Check) -> CheckVerdict:
    """The verdict of a check that says what to do where there is something to do."""
    assert bool(check.remedy) is (check.verdict is not CheckVerdict.OK)
    assert check.finding
    assert not check.finding.endswith(".")
    return check.verdict
