"""What changed since the month before: names, weights, and the value against the market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apex_tasks.portfolio.orders import MIN_WEIGHT_CHANGE
from apex_tasks.published.history import History
from apex_tasks.report.month import ReportedMonth

SHOWN_CHANGES = 5


@dataclass(frozen=True)
class WeightChange:
    """A name's weight before and after the trades, as fractions."""

    code: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """After less before."""
        return self.after - self.before


@dataclass(frozen=True)
class Changes:
    """The new book against the one before the trades.

    Attributes
    ----------
    entered, left, kept
        Codes, by Code.
    increases, decreases
        The largest changes of weight, largest first.
    value_change, market_change
        Since the as-of session of the month before, as fractions; None for a first month.
    """

    entered: tuple[str, ...]
    left: tuple[str, ...]
    kept: tuple[str, ...]
    increases: tuple[WeightChange, ...]
    decreases: tuple[WeightChange, ...]
    value_change: float | None
    market_change: float | None


def changes_of(month: ReportedMonth) -> Changes:
    """Compare the book after the trades with the one before."""
    held, before = month.held, month.before.positions
    weights_before = month.before.weights()
    weights_after = dict(zip(month.positions["code"], month.positions["weight"].tolist(), strict=True))
    moved = [
        WeightChange(code, weights_before.get(code, 0.0), weights_after.get(code, 0.0))
        for code in sorted(held.keys() | before.keys())
    ]
    moved = [found for found in moved if abs(found.change) >= MIN_WEIGHT_CHANGE]
    value, market = _since_last_month(month.history)
    return Changes(
        entered=tuple(code for code in sorted(held) if code not in before),
        left=tuple(code for code in sorted(before) if code not in held),
        kept=tuple(code for code in sorted(held) if code in before),
        increases=_largest([found for found in moved if found.change > 0]),
        decreases=_largest([found for found in moved if found.change < 0]),
        value_change=value,
        market_change=market,
    )


def market_index(history: History) -> npt.NDArray[np.float64]:
    """The market's returns compounded from 1; a session without one leaves the index as it is."""
    returns = np.array([change or 0.0 for change in history.market_returns])
    return np.cumprod(1 + returns)


def _largest(changes: Sequence[WeightChange]) -> tuple[WeightChange, ...]:
    return tuple(sorted(changes, key=lambda found: (-abs(found.change), found.code))[:SHOWN_CHANGES])


def _since_last_month(history: History) -> tuple[float | None, float | None]:
    if len(history.months) < 2:
        return None, None
    start = history.sessions.index(history.months[-2].as_of)
    market = market_index(history)
    value = history.portfolio_value_jpy[-1] / history.portfolio_value_jpy[start] - 1
    return value, float(market[-1] / market[start] - 1)
