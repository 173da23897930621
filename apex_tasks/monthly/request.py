"""What one monthly run is asked to do: dates, inputs and settings, resolved before any step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import TseCalendar, tokyo_date
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings

RANKING_PARAMETERS = ("top_k", "horizon", "normalization", "features_mode")
SETTING_OF_PARAMETER = {
    **{name: ("ranking", name) for name in RANKING_PARAMETERS},
    "policy": ("portfolio", "policy"),
    "capital": ("portfolio", "initial_capital_jpy"),
    "hysteresis": ("enhanced", "hysteresis"),
    "priority": ("enhanced", "priority"),
    "neutralisation": ("enhanced", "neutralisation"),
}
"""Section and name of the setting behind each parameter."""
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
        Where they lie.
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
    given = {name: value for name, value in parameters.items() if value is not None and value != ""}
    if unknown := sorted(given.keys() - set(RUN_PARAMETERS)):
        raise Refusal(
            f"run parameter {unknown[0]} is unknown",
            expected=f"any of {', '.join(RUN_PARAMETERS)}",
            received=", ".join(unknown),
            where="run parameters",
            remedy="Trigger the run again with the right name.",
        )
    if "as_of" in given:
        as_of = _parse_day(given["as_of"])
        calendar.require_session(as_of)
        rebalance_date = calendar.next_session(as_of)
    else:
        rebalance_date = calendar.latest_rebalance_session(tokyo_date(moment), settings.schedule.nth_session)
        as_of = calendar.as_of(rebalance_date)
    try:
        return RunRequest(
            rebalance_date=rebalance_date,
            as_of=as_of,
            bundle=required_input("bundle", given.get("bundle", settings.bundle)),
            dataset=required_input("dataset", given.get("dataset", settings.dataset)),
            dry_run=given.get("dry_run", False),
            approval=given.get("approval", settings.approval),
            republish_reason=given.get("republish_reason"),
            cold_start=given.get("cold_start", False),
            settings=with_parameters(settings, given),
        )
    except ValidationError as error:
        raise _invalid(error) from None


def with_parameters(settings: ApexSettings, given: Mapping[str, Any]) -> ApexSettings:
    """Apply parameters of a run or a backtest, any of `SETTING_OF_PARAMETER`, to the settings.

    Raises
    ------
    Refusal
        A value is out of range.
    """
    changes: dict[str, dict[str, Any]] = {}
    for parameter, (section, name) in SETTING_OF_PARAMETER.items():
        if parameter in given:
            changes.setdefault(section, {})[name] = given[parameter]
    try:
        return settings.model_copy(
            update={
                section: _changed(getattr(settings, section), values) for section, values in changes.items()
            }
        )
    except ValidationError as error:
        raise _invalid(error) from None


def _changed(section: BaseModel, values: Mapping[str, Any]) -> BaseModel:
    return type(section).model_validate({**section.model_dump(), **values})


def required_input(name: str, value: str | None) -> str:
    """Path of the bundle or dataset.

    Raises
    ------
    Refusal
        Neither the run nor the settings name one.
    """
    if not value:
        raise Refusal(
            f"no {name} is named",
            expected=f"a path in the run's `{name}` or in the setting",
            received="nothing",
            where=f"APEX_{name.upper()}",
            remedy=f"Set APEX_{name.upper()} for all components, or pass `{name}` to this run.",
        )
    return value


def _invalid(error: ValidationError) -> Refusal:
    first = error.errors(include_url=False)[0]
    return Refusal(
        f"run parameter {first['loc'][0]} is invalid",
        expected=first["msg"],
        received=repr(first["input"]),
        where="run parameters",
        remedy="Trigger the run again with a correct value.",
    )


def _parse_day(value: object) -> dt.date:
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        raise Refusal(
            "run parameter as_of is no date",
            expected="a TSE session as YYYY-MM-DD",
            received=repr(value),
            where="run parameters",
            remedy="Trigger the run again with a correct value.",
        ) from None
