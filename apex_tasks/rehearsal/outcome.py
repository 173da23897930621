"""How a part of the rehearsal ended."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Self

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.refusal import CheckFailed


class StageVerdict(StrEnum):
    """Whether a part did what it must."""

    PASSED = "passed"
    FAILED = "failed"


class StageOutcome(FrozenModel):
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

    part: ClassVar[str]
    verdict: StageVerdict
    problems: tuple[str, ...]

    def require_passed(self) -> Self:
        """Stop when the part has failed.

        Raises
        ------
        CheckFailed
            Names every problem.
        """
        if self.verdict is StageVerdict.FAILED:
            raise CheckFailed(
                f"the {self.part} failed",
                expected="no problem",
                received="; ".join(self.problems),
                where=self.part,
                remedy="Publish nothing with this deployment; docs/day-zero.md says what each verdict means.",
            )
        return self


def verdict_on(problems: Sequence[str]) -> StageVerdict:
    """Passed when there is no problem."""
    return StageVerdict.FAILED if problems else StageVerdict.PASSED
