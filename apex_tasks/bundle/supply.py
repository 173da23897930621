"""Whether a session has stocks enough for the bundle."""

from __future__ import annotations

import datetime as dt

from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization


def require_supply(
    eligible: int,
    as_of: dt.date,
    where: object,
    *,
    lookback: int,
    min_stocks_per_day: int,
    normalization: Normalization,
) -> None:
    """Refuse a session with fewer eligible stocks than the bundle's `min_stocks_per_day`.

    Raises
    ------
    Refusal
        Names both numbers, and what makes a stock eligible.
    """
    if eligible < min_stocks_per_day:
        window = f"a row on the day and {lookback} rows up to it"
        remedy = "Deliver a dataset that reaches far enough back and is complete on the as-of session."
        if normalization is Normalization.RAW:
            window += ", none with a missing value (raw)"
            remedy = "Raw mode takes no missing value: use csz (production), or a dataset without gaps."
        raise Refusal(
            f"too few eligible stocks on {as_of}",
            expected=f"at least {min_stocks_per_day}, each with {window}",
            received=eligible,
            where=where,
            remedy=remedy,
        )
