"""The ways in which a run is stopped on purpose, each with one complete message and an exit code."""

from __future__ import annotations


class Refusal(Exception):
    """An input that this product will not work with; the command line exits with 3.

    Parameters
    ----------
    what
        What is wrong, in one clause.
    expected, received
        The two values that disagree, shown as they are.
    where
        The file, column, date or setting at fault.
    remedy
        What the operator should do first.

    Examples
    --------
    >>> print(Refusal("checkpoint hash differs", expected="639c", received="ab12",
    ...               where="models/m.pt", remedy="Fetch the bundle again."))
    checkpoint hash differs: expected=639c, received=ab12, where=models/m.pt. What to do: Fetch the bundle again.
    """

    exit_code = 3

    def __init__(self, what: str, *, expected: object, received: object, where: object, remedy: str) -> None:
        self.what = what
        self.expected = str(expected)
        self.received = str(received)
        self.where = str(where)
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        return (
            f"{self.what}: expected={self.expected}, received={self.received}, "
            f"where={self.where}. What to do: {self.remedy}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling that process pools use.
        return (_rebuild, (type(self), self.what, self.expected, self.received, self.where, self.remedy))


class ThresholdBroken(Refusal):
    """A critical alert threshold is broken, so nothing is published; the command line exits with 4."""

    exit_code = 4


class CheckFailed(Refusal):
    """A check of the rehearsal gives another result than it must; the command line exits with 4."""

    exit_code = 4


class DatasetLate(Refusal):
    """The dataset was waited for and has not become complete in time."""


class DatasetReplaced(Refusal):
    """Another dataset is under the name than the one whose reading began."""


class DatasetUnsound(Refusal):
    """The dataset reads well, and differs from a sound delivery in what a month would be decided on."""


class Rejected(Refusal):
    """A person has said no, so nothing is published."""


class Unanswered(Refusal):
    """Nobody has said yes or no in time, so nothing is published."""


def _rebuild(
    kind: type[Refusal], what: str, expected: str, received: str, where: str, remedy: str
) -> Refusal:
    return kind(what, expected=expected, received=received, where=where, remedy=remedy)
