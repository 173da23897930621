"""Which rows a fault is in."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.support.fault_table.attempt import Attempt
from tests.support.fault_table.market import AS_OF_DAY, LOOKBACK, SPLIT_CODE, SPLIT_DAY

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """Rows of the sound market; `&` and `~` combine them."""

    mask: Callable[[Attempt], Mask]

    def __and__(self, other: Place) -> Place:
        return Place(lambda attempt: self.mask(attempt) & other.mask(attempt))

    def __or__(self, other: Place) -> Place:
        return Place(lambda attempt: self.mask(attempt) | other.mask(attempt))

    def __invert__(self) -> Place:
        return Place(lambda attempt: ~self.mask(attempt))


EVERYWHERE = Place(lambda attempt: np.ones(len(attempt.market.days), dtype=np.bool_))


def on(*days: dt.date) -> Place:
    """Rows of some days."""
    return Place(lambda attempt: np.isin(attempt.market.days, np.array(days, dtype="datetime64[D]")))


def session(back: int) -> Place:
    """Rows of the session that is so many before the as-of session; negative: after it."""
    return Place(lambda attempt: on(session_day(attempt, back)).mask(attempt))


def session_day(attempt: Attempt, back: int) -> dt.date:
    """The session that is so many before the as-of session."""
    sessions = attempt.market.sessions
    return sessions[sessions.index(AS_OF_DAY) - back]


def since(back: int) -> Place:
    """Rows of that session and all after it."""
    return Place(lambda attempt: attempt.market.days >= np.datetime64(session_day(attempt, back)))


def of(*codes: str) -> Place:
    """Rows of some stocks."""
    return Place(lambda attempt: np.isin(attempt.market.codes, codes))


def of_held(count: int = 1) -> Place:
    """Rows of stocks that September's book has and October keeps."""
    return Place(lambda attempt: np.isin(attempt.market.codes, attempt.market.held[:count]))


def of_bought(count: int = 1) -> Place:
    """Rows of stocks that October buys from cash."""
    return Place(lambda attempt: np.isin(attempt.market.codes, attempt.market.bought[:count]))


def of_unwanted(count: int = 1) -> Place:
    """Rows of stocks that are in no book."""
    return Place(lambda attempt: np.isin(attempt.market.codes, attempt.market.unwanted[:count]))


def of_share(share: float) -> Place:
    """Rows of a share of the stocks, the same ones wherever the share is the same."""

    def mask(attempt: Attempt) -> Mask:
        listed = sorted(attempt.market.listed, key=lambda code: zlib.crc32(code.encode()))
        return np.isin(attempt.market.codes, listed[: round(share * len(listed))])

    return Place(mask)


def any_rows(share: float, seed: int = 5) -> Place:
    """A random share of the rows."""
    return Place(lambda attempt: np.random.default_rng(seed).random(len(attempt.market.days)) < share)


AS_OF_ROWS = session(0)
DAY_BEFORE = session(1)
IN_WINDOWS = Place(lambda attempt: since(LOOKBACK - 1).mask(attempt) & ~since(-1).mask(attempt))
BEFORE_WINDOWS = ~since(LOOKBACK - 1)
AFTER_AS_OF = since(-1)
SPLIT = of(SPLIT_CODE)
ON_SPLIT = SPLIT & on(SPLIT_DAY)
BEFORE_SPLIT = SPLIT & Place(lambda attempt: attempt.market.days < np.datetime64(SPLIT_DAY))
