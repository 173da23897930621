"""A refusal is one whole message, wherever it travels."""

from __future__ import annotations

import pickle

import pytest

from apex_tasks.refusal import CheckFailed, DatasetLate, Refusal, Rejected, ThresholdBroken, Unanswered

KINDS = {Refusal: 3, DatasetLate: 3, ThresholdBroken: 4, CheckFailed: 4, Rejected: 3, Unanswered: 3}


def refusal(kind: type[Refusal] = Refusal) -> Refusal:
    return kind("the hash differs", expected="aa", received=12, where="a/b", remedy="Fetch it again.")


def test_it_says_what_expected_received_where_and_what_to_do() -> None:
    assert str(refusal()) == (
        "the hash differs: expected=aa, received=12, where=a/b. What to do: Fetch it again."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_the_way_between_processes(kind: type[Refusal]) -> None:
    # Process pools pickle what a worker raises; nothing of this product is stored that way.
    again = pickle.loads(pickle.dumps(refusal(kind)))
    assert type(again) is kind
    assert str(again) == str(refusal(kind))
    assert vars(again) == vars(refusal(kind))


@pytest.mark.parametrize(("kind", "code"), KINDS.items())
def test_its_exit_code(kind: type[Refusal], code: int) -> None:
    assert refusal(kind).exit_code == code
