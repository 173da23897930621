"""How a part of the rehearsal ended."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict

from apex_tasks.refusal import CheckFailed


class Verdict(StrEnum):
    """Whether a part did what it must."""

    PASSED = "passed"
    FAILED = "failed"


class Outcome(BaseModel):
    """What every part of the rehearsal leaves.

    Attributes
    ----------
    part
        Name of the part.
    verdict
        Failed when there is a problem.
    problems
        One sentence each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: ClassVar[str]
    verdict: Verdict
    problems: tuple[str, ...]

    def require_passed(self) -> Self:
        """Stop when the part has failed.

        Raises
        ------
        CheckFailed
            Names every problem.
        """
        if self.verdict is Verdict.FAILED:
            raise CheckFailed(
                f"the {self.part} failed",
                expected="no problem",
                received="; ".join(self.problems),
                where=self.part,
                remedy="Publish nothing with this deployment; docs/day-zero.md says what each verdict means.",
            )
        return self


def verdict_on(problems: Sequence[str]) -> Verdict:
    """Passed when there is no problem."""
    return Verdict.FAILED if problems else Verdict.PASSED
