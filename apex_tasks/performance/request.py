"""What a performance run is asked to do: inputs and days, resolved before any step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import TseCalendar, tokyo_date
from apex_tasks.parameters import given_parameters, parse_day, required_input
from apex_tasks.settings import ApexSettings

PERFORMANCE_PARAMETERS = ("bundle", "dataset", "until")


class PerformanceRequest(FrozenModel):
    """A performance run, complete: nothing later asks what day it is.

    Attributes
    ----------
    bundle
        The bundle that next month will be scored with; None: none is named, so none is checked.
    dataset
        The dataset to mark with.
    until
        Last day to mark, and to count published months.
    due
        Newest session that the dataset should hold.
    settings
        Settings in force.
    """

    bundle: str | None
    dataset: str
    until: dt.date
    due: dt.date
    settings: ApexSettings


def resolve_performance_request(
    parameters: Mapping[str, Any], *, moment: dt.datetime, settings: ApexSettings, calendar: TseCalendar
) -> PerformanceRequest:
    """Resolve a performance run's inputs and days.

    Parameters
    ----------
    parameters
        Any of `PERFORMANCE_PARAMETERS`; `until` is an ISO date. None, empty and absent mean the setting, and for
        `until` the Tokyo date of `moment`.
    moment
        When the run is due. Without `until` the dataset should hold the session before that day, as it should at
        a rebalance; with it, the last session up to it.

    Raises
    ------
    Refusal
        A parameter is unknown, `until` is no date, or no dataset is named.
    """
    given = given_parameters(parameters, PERFORMANCE_PARAMETERS)
    today = tokyo_date(moment)
    until = parse_day("until", given["until"], "a date as YYYY-MM-DD") if "until" in given else today
    due = calendar.previous_session(until + dt.timedelta(days=1) if "until" in given else today)
    return PerformanceRequest(
        bundle=given.get("bundle", settings.bundle) or None,
        dataset=required_input("dataset", given.get("dataset", settings.dataset)),
        until=until,
        due=due,
        settings=settings,
    )
