"""What a month with a fault must come to, and the check that it does.

A published byte that differs from the sound month's is only accepted where the verdict is `told` and the words are
found: no row of the table can let a fault change a book in silence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from tests.support.console import Outcome, refusal
from tests.support.fault_table.market import Published, without_run


@dataclass(frozen=True)
class Verdict:
    """Refused, told or same, with the words that must be read somewhere (any case)."""

    kind: Literal["refused", "told", "same"]
    words: tuple[str, ...] = ()
    code: int = 0

    def check(self, outcome: Outcome, published: Published, before: Published, sound: Published) -> None:
        """Compare what came of a month with this verdict.

        Parameters
        ----------
        published, before
            Files of the month's newest version, after and before the attempt.
        sound
            Files of the same month without the fault.

        Raises
        ------
        AssertionError
            It is another one.
        """
        if self.kind == "refused":
            _require_words(self.words, refusal(outcome, self.code))
            assert published == before, "refused, but published"
            return
        assert outcome[0] == 0, outcome[2]
        assert published, "nothing is published"
        differing = differing_files(published, sound)
        if self.kind == "same":
            assert differing == [], f"other than the sound month, and nothing has to say so: {differing}"
            return
        assert self.words, "a verdict `told` without words tells nothing"
        _require_words(self.words, notes_of(published))
        _require_words(self.words, outcome[1] + outcome[2])


def refused(*words: str, code: int = 3) -> Verdict:
    """One message and an exit code (4: a critical alert), nothing published."""
    return Verdict("refused", words, code)


def told(*words: str) -> Verdict:
    """Published, with the words in run.json's warnings, alerts or overrides and on the command's output."""
    return Verdict("told", words)


def same() -> Verdict:
    """Published, to the byte as without the fault."""
    return Verdict("same")


def differing_files(published: Published, sound: Published) -> list[str]:
    """Names of the compared files that are not the same in both."""
    ours, theirs = without_run(published), without_run(sound)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def notes_of(published: Published) -> str:
    """Everything that run.json tells a reader to mind."""
    run = json.loads(published["run.json"])
    overrides = [
        f"{row['parameter']} {row['value']} instead of {row['setting']}" for row in run.get("overrides", ())
    ]
    notes = [*run["warnings"], *overrides, run.get("off_cycle") or ""]
    return "\n".join([*notes, *(json.dumps(alert) for alert in run["alerts"])])


def _require_words(words: tuple[str, ...], text: str) -> None:
    missing = [word for word in words if word.lower() not in text.lower()]
    assert not missing, f"{missing} not in: {text}"
