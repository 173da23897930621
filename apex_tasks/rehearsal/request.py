"""What a rehearsal is asked to do."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from apex_tasks.backtesting.backtest import BacktestRequest
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import FIRST_DAY, LAST_DAY
from apex_tasks.parameters import checked, given_parameters, required_input
from apex_tasks.settings import ApexSettings

REHEARSAL_PARAMETERS = ("bundle", "dataset", "sessions", "months")
SESSIONS, MONTHS = 5, 3
MAX_SESSIONS, MAX_MONTHS = 60, 120


class RehearsalRequest(FrozenModel):
    """A rehearsal, complete: the same request on the same inputs and store gives the same report.

    Attributes
    ----------
    bundle, dataset
        Paths or URLs of the inputs.
    sessions
        Newest sessions of the dataset that the smoke test scores twice.
    months
        Newest rebalances that are rehearsed.
    today
        Day in Tokyo that the checklist is for.
    settings
        Settings that the monthly run would use.
    """

    bundle: str
    dataset: str
    sessions: Annotated[int, Field(ge=1, le=MAX_SESSIONS)] = SESSIONS
    months: Annotated[int, Field(ge=1, le=MAX_MONTHS)] = MONTHS
    today: dt.date
    settings: ApexSettings

    @property
    def whole_dataset(self) -> BacktestRequest:
        """A backtest of every day that the dataset has, to be narrowed once its dates are known."""
        return BacktestRequest(
            bundle=self.bundle, dataset=self.dataset, start=FIRST_DAY, end=LAST_DAY, settings=self.settings
        )


def resolve_rehearsal(
    parameters: Mapping[str, Any], *, today: dt.date, settings: ApexSettings
) -> RehearsalRequest:
    """Resolve a rehearsal's inputs and sizes.

    Parameters
    ----------
    parameters
        Any of `REHEARSAL_PARAMETERS`; None, empty and absent mean the setting or default.

    Raises
    ------
    Refusal
        A parameter is unknown or out of range, or an input is not named.
    """
    given = given_parameters(parameters, REHEARSAL_PARAMETERS)
    inputs = {
        name: required_input(name, given.pop(name, getattr(settings, name))) for name in ("bundle", "dataset")
    }
    return checked(RehearsalRequest, {**given, **inputs, "today": today, "settings": settings})
