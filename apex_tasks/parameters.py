"""Parameters of a run, a look, a rehearsal or a backtest: one check for all of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings

RANKING_PARAMETERS = ("top_k", "horizon", "normalization", "normalization_reason", "features_mode")
SETTING_OF_PARAMETER = {
    **{name: ("ranking", name) for name in RANKING_PARAMETERS},
    "policy": ("portfolio", "policy"),
    "capital": ("portfolio", "initial_capital_jpy"),
    "hysteresis": ("enhanced", "hysteresis"),
    "priority": ("enhanced", "priority"),
    "neutralisation": ("enhanced", "neutralisation"),
}
"""Section and name of the setting behind each parameter."""
WHERE = "run parameters"

_Request = TypeVar("_Request", bound=BaseModel)


class Override(FrozenModel):
    """A parameter with which a run went another way than the settings.

    Attributes
    ----------
    parameter
        Its name.
    value, setting
        What the run used, and what the settings say; None: nothing.
    """

    parameter: str
    value: JsonValue
    setting: JsonValue

    def __str__(self) -> str:
        return f"{self.parameter} {_shown(self.value)} instead of {_shown(self.setting)}"


def given_parameters(parameters: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Parameters that say something: None, empty and absent mean the setting or default.

    Raises
    ------
    Refusal
        One has a name that is not among the known ones.
    """
    given = {name: value for name, value in parameters.items() if value is not None and value != ""}
    known = tuple(known)
    if unknown := sorted(given.keys() - set(known)):
        raise Refusal(
            f"run parameter {unknown[0]} is unknown",
            expected=f"any of {', '.join(known)}",
            received=", ".join(unknown),
            where=WHERE,
            remedy="Trigger the run again with the right name.",
        )
    return given


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


def parse_day(name: str, value: object, expected: str) -> dt.date:
    """Day that a parameter gives as an ISO date.

    Raises
    ------
    Refusal
        It is none; `expected` says what it should be.
    """
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        raise Refusal(
            f"run parameter {name} is no date",
            expected=expected,
            received=repr(value),
            where=WHERE,
            remedy="Trigger the run again with a correct value.",
        ) from None


def with_parameters(settings: ApexSettings, given: Mapping[str, Any]) -> ApexSettings:
    """Apply parameters, any of `SETTING_OF_PARAMETER`, to the settings.

    Raises
    ------
    Refusal
        A value is out of range.
    """
    changes: dict[str, dict[str, Any]] = {}
    for parameter, (section, name) in SETTING_OF_PARAMETER.items():
        if parameter in given:
            changes.setdefault(section, {})[name] = given[parameter]
    return settings.model_copy(
        update={
            section: checked(type(current), {**current.model_dump(), **values})
            for section, values in changes.items()
            for current in (getattr(settings, section),)
        }
    )


def setting_behind(settings: ApexSettings, parameter: str) -> Any:
    """What the settings say where a run does not give a parameter of `SETTING_OF_PARAMETER`."""
    section, name = SETTING_OF_PARAMETER[parameter]
    return getattr(getattr(settings, section), name)


def require_unlocked(
    locked: Collection[str], used: Mapping[str, JsonValue], otherwise: Mapping[str, JsonValue]
) -> None:
    """Refuse a run that changes what runs may not change.

    Parameters
    ----------
    locked
        Names of the parameters, see the setting `locked`.
    used, otherwise
        By parameter: what the run would use, and what it would use if it were not given.

    Raises
    ------
    Refusal
        A locked parameter makes a difference; all that do are named.
    """
    changed = sorted(name for name in locked if used[name] != otherwise[name])
    if changed:
        names = ", ".join(changed)
        raise Refusal(
            f"locked for runs: {names}",
            expected=_pairs(changed, otherwise),
            received=_pairs(changed, used),
            where="setting locked",
            remedy=f"Trigger the run again without {names}; only those who may change the settings can unlock them.",
        )


def _pairs(names: Iterable[str], values: Mapping[str, JsonValue]) -> str:
    return ", ".join(f"{name} {_shown(values[name])}" for name in names)


def _shown(value: JsonValue) -> str:
    return "nothing" if value is None else str(value)


def checked(request: type[_Request], fields: Mapping[str, Any]) -> _Request:
    """Build a request, or a section of the settings, of parameters.

    Raises
    ------
    Refusal
        A value is out of range.
    """
    try:
        return request.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Refusal(
            f"run parameter {first['loc'][0]} is invalid",
            expected=first["msg"],
            received=repr(first["input"]),
            where=WHERE,
            remedy="Trigger the run again with a correct value.",
        ) from None
