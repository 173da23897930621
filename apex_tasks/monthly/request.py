"""What one monthly run is asked to do: dates, inputs and settings, resolved before any step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import TseCalendar, tokyo_date
from apex_tasks.parameters import (
    RANKING_PARAMETERS,
    checked,
    given_parameters,
    parse_day,
    required_input,
    with_parameters,
)
from apex_tasks.settings import ApexSettings

RUN_PARAMETERS = (
    "as_of",
    "bundle",
    "dataset",
    *RANKING_PARAMETERS,
    "policy",
    "dry_run",
    "approval",
    "republish_reason",
    "cold_start",
)


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
    dry_run
        Do everything but publish.
    approval
        A person must approve before anything is published.
    republish_reason
        Why a month that is published already may be published again with a different result.
    cold_start
        Start from cash when last month has no published book.
    settings
        Settings with the run's parameters applied.
    """

    rebalance_date: dt.date
    as_of: dt.date
    bundle: str
    dataset: str
    dry_run: bool = False
    approval: bool = False
    republish_reason: str | None = None
    cold_start: bool = False
    settings: ApexSettings


def resolve_request(
    parameters: Mapping[str, Any],
    *,
    moment: dt.datetime,
    settings: ApexSettings,
    calendar: TseCalendar,
) -> RunRequest:
    """Resolve a run's dates and settings.

    Parameters
    ----------
    parameters
        Any of `RUN_PARAMETERS`; `as_of` is an ISO date. None, empty and absent mean the setting.
    moment
        When the run is due; without `as_of` the run belongs to the latest rebalance day that is not after it.

    Raises
    ------
    Refusal
        A parameter is unknown or out of range, `as_of` is no session, or an input is not named.
    """
    given = given_parameters(parameters, RUN_PARAMETERS)
    if "as_of" in given:
        as_of = parse_day("as_of", given["as_of"], "a TSE session as YYYY-MM-DD")
        calendar.require_session(as_of)
        rebalance_date = calendar.next_session(as_of)
    else:
        rebalance_date = calendar.latest_rebalance_session(tokyo_date(moment), settings.schedule.nth_session)
        as_of = calendar.as_of(rebalance_date)
    return checked(
        RunRequest,
        {
            "rebalance_date": rebalance_date,
            "as_of": as_of,
            "bundle": required_input("bundle", given.get("bundle", settings.bundle)),
            "dataset": required_input("dataset", given.get("dataset", settings.dataset)),
            "dry_run": given.get("dry_run", False),
            "approval": given.get("approval", settings.approval),
            "republish_reason": given.get("republish_reason"),
            "cold_start": given.get("cold_start", False),
            "settings": with_parameters(settings, given),
        },
    )
