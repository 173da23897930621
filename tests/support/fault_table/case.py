"""One row of the table of faults."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support.fault_table.attempt import Change
from tests.support.fault_table.verdicts import Verdict


@dataclass(frozen=True)
class Case:
    """A fault and what must come of it.

    Attributes
    ----------
    name
        What is wrong, in words.
    change
        Puts the fault into a sound month.
    verdict
        What must come of the month.
    held
        Whether the month starts from September's book, not from cash.
    quick
        Whether the row belongs to the fast tests.
    """

    name: str
    change: Change
    verdict: Verdict
    held: bool = False
    quick: bool = False

    def parameter(self) -> object:
        """The row as a pytest parameter."""
        marks = [] if self.quick else [pytest.mark.slow]
        return pytest.param(self, id=self.name, marks=marks)
