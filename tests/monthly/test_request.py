"""A run's request: dates and settings are settled before any step, or refused."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monthly.request import RunRequest, resolve_request
from apex_tasks.parameters import required_input, with_parameters
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, FeaturesMode, Normalization, ScheduleSettings, load_settings

CALENDAR = TseCalendar.load()
SETTINGS = load_settings().model_copy(update={"bundle": "b", "dataset": "d"})
TOKYO = ZoneInfo("Asia/Tokyo")
TODAY = dt.datetime(2025, 12, 10, 12, tzinfo=TOKYO)
OPENING = dt.datetime(2025, 7, 1, 9, tzinfo=TOKYO)


def resolve(
    moment: dt.datetime = OPENING,
    settings: ApexSettings = SETTINGS,
    now: dt.datetime | None = None,
    **given_: Any,
) -> RunRequest:
    return resolve_request(
        given_, moment=moment, now=now or max(moment, TODAY), settings=settings, calendar=CALENDAR
    )


@pytest.mark.parametrize(
    ("moment", "rebalance", "as_of"),
    [
        (OPENING, "2025-07-01", "2025-06-30"),
        (dt.datetime(2025, 7, 1, 0, tzinfo=dt.UTC), "2025-07-01", "2025-06-30"),
        # Still 30 June in New York, 1 July in Tokyo.
        (dt.datetime(2025, 6, 30, 20, tzinfo=ZoneInfo("America/New_York")), "2025-07-01", "2025-06-30"),
        (dt.datetime(2025, 6, 30, 14, 59, tzinfo=dt.UTC), "2025-06-02", "2025-05-30"),
        (dt.datetime(2025, 7, 31, 12, tzinfo=TOKYO), "2025-07-01", "2025-06-30"),
        (dt.datetime(2025, 1, 3, 9, tzinfo=TOKYO), "2024-12-02", "2024-11-29"),
        (dt.datetime(2025, 1, 6, 9, tzinfo=TOKYO), "2025-01-06", "2024-12-30"),
    ],
)
def test_the_moment_decides_the_month(moment: dt.datetime, rebalance: str, as_of: str) -> None:
    request = resolve(moment)
    assert (str(request.rebalance_date), str(request.as_of)) == (rebalance, as_of)


@given(st.datetimes(dt.datetime(2015, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(dt.UTC)))
def test_the_as_of_session_is_the_one_before_the_rebalance(moment: dt.datetime) -> None:
    request = resolve(moment)
    day = moment.astimezone(TOKYO).date()
    assert CALENDAR.is_session(request.rebalance_date)
    assert CALENDAR.sessions(request.as_of, request.rebalance_date) == [request.as_of, request.rebalance_date]
    assert request.rebalance_date <= day
    # The next month's first session is still to come.
    following = CALENDAR.next_rebalance_session(request.rebalance_date)
    assert day < following


def test_a_given_as_of_wins_over_the_moment() -> None:
    request = resolve(as_of="2025-08-29")
    assert str(request.rebalance_date) == "2025-09-01"
    assert resolve(as_of=dt.date(2025, 8, 29)) == request


@pytest.mark.parametrize("as_of", ["2025-08-30", "2025-01-01", "2025-12-31"])
def test_an_as_of_that_is_no_session_is_refused(as_of: str) -> None:
    with pytest.raises(Refusal, match="not a session of the Tokyo Stock Exchange"):
        resolve(as_of=as_of)


@pytest.mark.parametrize("as_of", ["yesterday", "2025-13-01", "29.08.2025", 7])
def test_an_as_of_that_is_no_date_is_refused(as_of: object) -> None:
    with pytest.raises(Refusal, match="run parameter as_of is no date"):
        resolve(as_of=as_of)


def test_the_nth_session_moves_the_rebalance() -> None:
    third = SETTINGS.model_copy(update={"schedule": ScheduleSettings(nth_session=3)})
    assert str(resolve(settings=third).rebalance_date) == "2025-06-04"
    assert str(resolve(dt.datetime(2025, 7, 3, 9, tzinfo=TOKYO), third).rebalance_date) == "2025-07-03"


def test_parameters_win_over_settings_and_nothing_else_changes() -> None:
    request = resolve(
        top_k=20, horizon=5, normalization="raw", features_mode="strict", bundle="other", dry_run=True
    )
    ranking = request.settings.ranking
    assert (ranking.top_k, ranking.horizon) == (20, 5)
    assert (ranking.normalization, ranking.features_mode) == (Normalization.RAW, FeaturesMode.STRICT)
    assert (request.bundle, request.dataset, request.dry_run) == ("other", "d", True)
    untouched = request.settings.model_dump(exclude={"ranking"})
    assert untouched == SETTINGS.model_dump(exclude={"ranking"})
    assert SETTINGS.ranking.top_k == 35


def test_absent_null_and_empty_parameters_mean_the_setting() -> None:
    names = (
        "as_of",
        "bundle",
        "top_k",
        "horizon",
        "policy",
        "republish_reason",
        "cold_start",
        "dry_run",
        "approval",
    )
    assert resolve() == resolve(**dict.fromkeys(names)) == resolve(**dict.fromkeys(names, ""))
    assert resolve().republish_reason is None
    assert resolve().cold_start is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", 0),
        ("top_k", 501),
        ("top_k", "many"),
        ("top_k", 3.5),
        ("horizon", 7),
        ("normalization", "none"),
        ("features_mode", "guess"),
        ("policy", "boldest"),
        ("dry_run", "perhaps"),
        ("approval", "perhaps"),
        ("cold_start", 2),
        ("republish_reason", 7),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(Refusal) as refused:
        resolve(**{name: value})
    assert refused.value.what == f"run parameter {name} is invalid"
    assert refused.value.received == repr(value)


def test_an_unknown_parameter_is_refused_not_ignored() -> None:
    with pytest.raises(Refusal) as refused:
        resolve(topk=20, as_off="2025-06-30", none=None)
    assert refused.value.what == "run parameter as_off is unknown"
    assert refused.value.received == "as_off, topk"


@pytest.mark.parametrize(("word", "meant"), [("false", False), ("true", True), (False, False), (True, True)])
def test_a_switch_written_as_text_means_what_it_says(word: object, meant: bool) -> None:
    request = resolve(dry_run=word, cold_start=word)
    assert request.dry_run is request.cold_start is meant


@pytest.mark.parametrize("name", ["bundle", "dataset"])
@pytest.mark.parametrize("value", [None, ""])
def test_an_input_that_nobody_names_is_refused(name: str, value: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        resolve(settings=SETTINGS.model_copy(update={name: value}))
    assert refused.value.what == f"no {name} is named"
    assert refused.value.where == f"APEX_{name.upper()}"
    assert required_input(name, "here") == "here"


def test_settings_without_parameters_stay_equal() -> None:
    assert with_parameters(SETTINGS, {}) == SETTINGS
    assert with_parameters(SETTINGS, {"bundle": "x", "dry_run": True}) == SETTINGS


def test_a_request_survives_json_and_is_frozen() -> None:
    request = resolve(top_k=20, republish_reason="why not")
    document = request.model_dump(mode="json")
    assert document["settings"]["ranking"]["top_k"] == 20
    with pytest.raises(ValidationError):
        request.dry_run = True
    with pytest.raises(ValidationError):
        RunRequest.model_validate({**document, "speed": "high"})
    assert RunRequest.model_validate(document) == request
