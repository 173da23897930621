"""Where the rows of a code begin a new history: an exchange gives the code of a delisted company to another one.

Rows alone do not tell a company that was suspended without rows from another company under its code. A code that
comes back after `NEW_HISTORY_AFTER_SESSIONS` sessions is taken for another one: a window, a return or an average of
both would be of neither. A row without a price is a row, so a suspension that the dataset lists begins nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

NEW_HISTORY_AFTER_SESSIONS = 60
"""A code that comes back after this many sessions without a row, or more, begins a new history."""


_NAMED = 20


def new_history_warning(codes: Sequence[str], after: int, lookback: int) -> str:
    """What a reader of the scores must know of codes that began a new history within the lookback."""
    return (
        f"{len(codes)} codes came back after {after} sessions or more without a row, so they count as other stocks, "
        f"not eligible before {lookback} rows: {', '.join(codes[:_NAMED])}{' …' if len(codes) > _NAMED else ''}"
    )


def history_numbers(
    code_numbers: npt.NDArray[np.integer],
    days: npt.NDArray[Any],
    after: int | None,
    sessions: npt.NDArray[Any] | None = None,
) -> npt.NDArray[np.int64]:
    """Number the histories: ascending by code, then by time.

    Parameters
    ----------
    code_numbers : (n_rows,)
        A number per code, equal in the rows of a code; rows by code, then day.
    days : (n_rows,)
        Day of each row, a number or a datetime64.
    after
        Sessions without a row from which on a code begins a new history; None: a code has one history.
    sessions : (n_sessions,)
        Days of the whole dataset, ascending; by default the distinct days of these rows.

    Returns
    -------
    (n_rows,) int64
        From 0; the number of the code's rank where no code begins a new history.
    """
    begins = np.zeros(len(code_numbers), dtype=np.bool_)
    begins[1:] = code_numbers[1:] != code_numbers[:-1]
    if after is not None:
        session = np.searchsorted(np.unique(days) if sessions is None else sessions, days)
        begins[1:] |= np.diff(session) > after
    return np.cumsum(begins)
