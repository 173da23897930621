"""The request of a rehearsal: what is given wins over settings and defaults, and wrong parameters are refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from apex_tasks.market.calendar import FIRST_DAY, LAST_DAY
from apex_tasks.refusal import Refusal
from apex_tasks.rehearsal.request import MONTHS, SESSIONS, RehearsalRequest, resolve_rehearsal
from tests.support.small_market import small_settings

TODAY = dt.date(2025, 10, 10)


def resolve(named: dict[str, Any] | None = None, **given: Any) -> RehearsalRequest:
    settings = small_settings("h").model_copy(update=named or {})
    return resolve_rehearsal(given, today=TODAY, settings=settings)


def test_defaults_and_settings_fill_what_is_not_given() -> None:
    request = resolve({"bundle": "b", "dataset": "d"}, sessions=None, months="")
    assert (request.bundle, request.dataset, request.today) == ("b", "d", TODAY)
    assert (request.sessions, request.months) == (SESSIONS, MONTHS)


def test_what_is_given_wins() -> None:
    request = resolve(
        {"bundle": "b", "dataset": "d"}, bundle="other", dataset="more", sessions="2", months=12
    )
    assert (request.bundle, request.dataset) == ("other", "more")
    assert (request.sessions, request.months) == (2, 12)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bundle": None}, "no bundle is named"),
        ({"dataset": ""}, "no dataset is named"),
        ({"sessions": 0}, "run parameter sessions is invalid"),
        ({"sessions": 61}, "run parameter sessions is invalid"),
        ({"months": 121}, "run parameter months is invalid"),
        ({"months": "three"}, "run parameter months is invalid"),
        ({"until": "2025-10-10"}, "run parameter until is unknown"),
    ],
)
def test_wrong_parameters_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        resolve({"bundle": None, "dataset": None}, **{"bundle": "b", "dataset": "d", **given})


def test_the_backtest_behind_it_covers_every_day() -> None:
    request = resolve(bundle="b", dataset="d")
    whole = request.whole_dataset
    assert (whole.bundle, whole.dataset, whole.start, whole.end) == ("b", "d", FIRST_DAY, LAST_DAY)
    assert whole.settings == request.settings
