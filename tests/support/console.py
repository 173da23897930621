"""What comes of a call of `apex`."""

from __future__ import annotations

from collections.abc import Callable

Outcome = tuple[int, str, str]


Apex = Callable[..., Outcome]


def refusal(outcome: Outcome, code: int = 3) -> str:
    """The one message of a refusal; everything before it on stderr is the log of the steps."""
    assert outcome[0] == code, outcome
    message = outcome[2].splitlines()[-1]
    assert message.startswith("REFUSED ")
    for part in (": expected=", ", received=", ", where=", ". What to do: "):
        assert part in message
    assert outcome[2].count("REFUSED") == 1
    assert "Traceback" not in outcome[2]
    return message
