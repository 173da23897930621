"""What one monthly run is asked to do: dates, inputs and settings, resolved before any step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import JsonValue, StringConstraints

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import TseCalendar, tokyo_date
from apex_tasks.monthly.admission import require_as_of, require_enough_names
from apex_tasks.parameters import (
    SETTING_OF_PARAMETER,
    Override,
    checked,
    given_parameters,
    parse_day,
    require_unlocked,
    required_input,
    setting_behind,
    with_parameters,
)
from apex_tasks.settings import ApexSettings, RunParameter

RUN_PARAMETERS = tuple(str(name) for name in RunParameter)
WITH_SETTING = tuple(
    name for name in RUN_PARAMETERS if name in SETTING_OF_PARAMETER or name in ApexSettings.model_fields
)
"""Those that stand for a setting; a run that gives one another value overrides it."""

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RunRequest(FrozenModel):
    """A month's run, complete: the same request on the same inputs gives the same bytes.

    Attributes
    ----------
    rebalance_date
        Session on which the orders are traded.
    as_of
        Session before it: the newest whose close is known at 09:00 of the rebalance day.
    bundle, dataset
        Paths of the inputs.
    off_cycle
        Why a book is made that belongs to no month, so that no month starts from it; None: it is a month's.
    dry_run
        Do everything but publish.
    approval
        A person must approve before anything is published.
    republish_reason
        Why a month that is published already may be published again with a different result.
    cold_start
        Start from cash when last month has no published book.
    overrides
        The parameters that differ from the settings, in the order of `RUN_PARAMETERS`.
    settings
        Settings with the run's parameters applied.
    """

    rebalance_date: dt.date
    as_of: dt.date
    bundle: str
    dataset: str
    off_cycle: Reason | None = None
    dry_run: bool = False
    approval: bool = False
    republish_reason: Reason | None = None
    cold_start: bool = False
    overrides: tuple[Override, ...] = ()
    settings: ApexSettings


def resolve_request(
    parameters: Mapping[str, Any],
    *,
    moment: dt.datetime,
    now: dt.datetime,
    settings: ApexSettings,
    calendar: TseCalendar,
) -> RunRequest:
    """Resolve a run's dates and settings.

    What a run must not ask for is refused here, before anything is waited for or computed; that a later month is
    published is for `require_newest` to say, which needs the store.

    Parameters
    ----------
    parameters
        Any of `RUN_PARAMETERS`; `as_of` is an ISO date. None, empty and absent mean the setting.
    moment
        When the run is due; without `as_of` the run belongs to the latest rebalance day that is not after it.
    now
        The time by which the as-of session must have closed.

    Raises
    ------
    Refusal
        A parameter is unknown, out of range or locked, `as_of` is no session, in the future or of no month, `top_k`
        is below the fewest names, or an input is not named.
    """
    given = given_parameters(parameters, RUN_PARAMETERS)
    due = calendar.latest_rebalance_session(tokyo_date(moment), settings.schedule.nth_session)
    due_as_of = as_of = calendar.as_of(due)
    if "as_of" in given:
        as_of = parse_day("as_of", given["as_of"], "a TSE session as YYYY-MM-DD")
        calendar.require_session(as_of)
    request = checked(
        RunRequest,
        {
            "rebalance_date": calendar.next_session(as_of),
            "as_of": as_of,
            "bundle": required_input("bundle", given.get("bundle", settings.bundle)),
            "dataset": required_input("dataset", given.get("dataset", settings.dataset)),
            "off_cycle": given.get("off_cycle"),
            "dry_run": given.get("dry_run", False),
            "approval": given.get("approval", settings.approval),
            "republish_reason": given.get("republish_reason"),
            "cold_start": given.get("cold_start", False),
            "settings": with_parameters(settings, given),
        },
    )
    used, otherwise = _used_by(request), _without_parameters(settings, due_as_of)
    require_unlocked(settings.locked, used, otherwise)
    require_as_of(as_of, request.off_cycle, now, calendar, settings.schedule.nth_session)
    require_enough_names(request.settings)
    overrides = tuple(
        Override(parameter=name, value=used[name], setting=otherwise[name])
        for name in WITH_SETTING
        if used[name] != otherwise[name]
    )
    return request.model_copy(update={"overrides": overrides})


def _used_by(request: RunRequest) -> dict[str, JsonValue]:
    """What a run uses, by parameter."""
    return {
        name: _plain(
            setting_behind(request.settings, name) if name in SETTING_OF_PARAMETER else getattr(request, name)
        )
        for name in RUN_PARAMETERS
    }


def _without_parameters(settings: ApexSettings, due_as_of: dt.date) -> dict[str, JsonValue]:
    """What a run uses that is given nothing, by parameter."""
    without: dict[str, Any] = {
        "as_of": due_as_of,
        "off_cycle": None,
        "bundle": settings.bundle,
        "dataset": settings.dataset,
        "dry_run": False,
        "approval": settings.approval,
        "republish_reason": None,
        "cold_start": False,
    }
    return {
        name: _plain(setting_behind(settings, name) if name in SETTING_OF_PARAMETER else without[name])
        for name in RUN_PARAMETERS
    }


def _plain(value: Any) -> JsonValue:
    """A value as JSON has it."""
    return value if isinstance(value, bool | int | float) or value is None else str(value)
