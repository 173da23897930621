"""One check for the parameters of all requests."""

from __future__ import annotations

import datetime as dt

import pytest

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.parameters import checked, given_parameters, parse_day, with_parameters
from apex_tasks.refusal import Refusal
from apex_tasks.settings import load_settings


class Request(FrozenModel):
    count: int


def test_what_says_nothing_is_not_given() -> None:
    given = given_parameters({"a": None, "b": "", "c": 0, "d": False}, ("a", "b", "c", "d"))
    assert given == {"c": 0, "d": False}


def test_an_unknown_name_is_refused_by_that_name() -> None:
    with pytest.raises(Refusal) as refused:
        given_parameters({"to_k": 3, "other": None}, ("top_k", "horizon"))
    assert (refused.value.received, refused.value.expected) == ("to_k", "any of top_k, horizon")


@pytest.mark.parametrize("value", ["2025-13-01", "today", 5, "2025-1-1", "31.10.2025"])
def test_what_is_no_date_is_refused_as_it_was_given(value: object) -> None:
    with pytest.raises(Refusal) as refused:
        parse_day("until", value, "a date as YYYY-MM-DD")
    assert refused.value.what == "run parameter until is no date"
    assert refused.value.received == repr(value)


def test_a_date_is_read() -> None:
    assert parse_day("until", dt.date(2025, 10, 31), "") == parse_day("until", "2025-10-31", "")


def test_a_value_of_the_wrong_kind_is_refused_by_its_name() -> None:
    assert checked(Request, {"count": 3}).count == 3
    with pytest.raises(Refusal, match="run parameter count is invalid") as refused:
        checked(Request, {"count": "many"})
    assert refused.value.received == "'many'"


def test_parameters_change_their_settings_and_no_other() -> None:
    settings = load_settings()
    changed = with_parameters(settings, {"top_k": 10, "capital": 5e6, "until": "ignored"})
    assert (changed.ranking.top_k, changed.portfolio.initial_capital_jpy) == (10, 5e6)
    assert changed.model_dump(exclude={"ranking", "portfolio"}) == settings.model_dump(
        exclude={"ranking", "portfolio"}
    )
    with pytest.raises(Refusal, match="run parameter top_k is invalid"):
        with_parameters(settings, {"top_k": 0})
