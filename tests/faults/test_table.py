"""The table itself: long enough, each row once, and no way for a fault to change a book in silence."""

from __future__ import annotations

import json

import pytest

from tests.faults.page import GENERATED, PAGE, rendered
from tests.faults.table import CASES, CHAPTERS
from tests.support.fault_table.verdicts import Verdict, refused, same, told

RUN = {"warnings": [], "alerts": [], "overrides": []}
SOUND = {
    "book.json": b"1",
    "portfolio.csv": b"code",
    "run.json": json.dumps(RUN).encode(),
    "report.html": b"",
}
OTHER = {**SOUND, "book.json": b"2"}
DONE = (0, "{}", "")


def warned(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "run.json": json.dumps({**RUN, "warnings": ["3 rows are odd"]}).encode()}


def test_the_table_is_long_and_names_each_fault_once() -> None:
    names = [case.name for case in CASES]
    assert len(names) >= 110
    assert len(set(names)) == len(names)
    assert all(cases for cases in CHAPTERS.values())
    assert {case.verdict.kind for case in CASES} == {"refused", "told", "same"}


@pytest.mark.parametrize("verdict", [same(), told("odd"), told(), refused("odd")])
def test_no_verdict_accepts_a_book_that_changed_in_silence(verdict: Verdict) -> None:
    with pytest.raises(AssertionError):
        verdict.check(DONE, OTHER, {}, SOUND)


def test_what_is_told_must_stand_in_the_run_and_on_the_output() -> None:
    said = (0, "3 rows are odd", "")
    told("odd").check(said, warned(OTHER), {}, SOUND)
    for outcome, files in ((DONE, warned(OTHER)), (said, OTHER)):
        with pytest.raises(AssertionError):
            told("odd").check(outcome, files, {}, SOUND)
    with pytest.raises(AssertionError):
        same().check(said, warned(OTHER), {}, SOUND)
    same().check(said, {**SOUND, "report.html": b"another time"}, {}, SOUND)
    with pytest.raises(AssertionError):  # a file less
        same().check(said, {name: SOUND[name] for name in ("book.json", "run.json")}, {}, SOUND)


def test_a_refusal_publishes_nothing() -> None:
    message = "REFUSED odd: expected=a, received=b, where=c. What to do: d"
    refused("odd").check((3, "", message), {}, {}, SOUND)
    for outcome, published in (((3, "", message), OTHER), ((0, "", message), {}), ((1, "", message), {})):
        with pytest.raises(AssertionError):
            refused("odd").check(outcome, published, {}, SOUND)


def test_the_page_lists_the_table() -> None:
    text = PAGE.read_text()
    shown = text.partition(GENERATED[0])[2].partition(GENERATED[1])[0]
    assert shown.strip() == rendered(), (
        "Paste the output of `python -m tests.faults.page` between the comments of docs/faults.md."
    )
