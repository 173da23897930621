"""Third check: has the market itself been another one since the book is live?"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.prices.market_returns import MAX_GAP_SESSIONS, MarketReturns
from apex_tasks.performance.checks.check import Check, CheckName, CheckVerdict
from apex_tasks.statistics.performance import SESSIONS_PER_YEAR

MIN_LIVE_SESSIONS = 20
MIN_SESSIONS_BEFORE = 60
STANDARD_ERRORS = 2.0
"""How far the live mean return may be from the earlier one, in standard errors of a mean of so many sessions."""


@dataclass(frozen=True)
class Regime:
    """A stretch of market returns.

    Attributes
    ----------
    sessions
        Its length.
    yearly_return
        At its yearly pace, as a fraction.
    volatility
        Standard deviation (ddof 0) of the daily returns times ``sqrt(252)``, as a fraction.
    drawdown
        Largest fall of the compounded returns from their highest value, as a fraction.
    """

    sessions: int
    yearly_return: float
    volatility: float
    drawdown: float

    @classmethod
    def of(cls, returns: npt.NDArray[np.float64]) -> Regime:
        """Measure daily returns, at least one."""
        value = np.concatenate([[1.0], np.cumprod(1 + returns)])
        return cls(
            len(returns),
            float(value[-1]) ** (SESSIONS_PER_YEAR / len(returns)) - 1,
            float(returns.std()) * math.sqrt(SESSIONS_PER_YEAR),
            float(np.max(1 - value / np.maximum.accumulate(value))),
        )

    def __str__(self) -> str:
        return (
            f"{self.yearly_return:+.1%} a year, volatility {self.volatility:.1%}, drawdown {self.drawdown:.1%} over "
            f"{self.sessions} sessions"
        )


def check_market(market: MarketReturns, live_from: dt.date | None, max_volatility_ratio: float) -> Check:
    """Compare the equal-weight market after the first fill with all of the dataset before it.

    It is another market where its volatility is more than `max_volatility_ratio` times what it was, or less than that
    part of it; where its drawdown is deeper than any before; or where its mean return is more than
    `STANDARD_ERRORS` from the mean before, computed with the volatility before.

    Parameters
    ----------
    live_from
        Session of the first fill; None before it.
    """
    days = np.array(market.days, dtype="datetime64[D]")
    split = 0 if live_from is None else int(days.searchsorted(np.datetime64(live_from, "D"), side="right"))
    before, now = market.returns[:split], market.returns[split:]
    if live_from is None or len(now) < MIN_LIVE_SESSIONS or len(before) < MIN_SESSIONS_BEFORE:
        live = 0 if live_from is None else len(now)
        return Check(
            name=CheckName.REGIME,
            verdict=CheckVerdict.UNKNOWN,
            finding=f"{live} live sessions and {len(before)} before them; {MIN_LIVE_SESSIONS} and "
            f"{MIN_SESSIONS_BEFORE} are needed",
            remedy="Wait for more sessions, or deliver a dataset that reaches further back.",
        )
    live_market, earlier = Regime.of(now), Regime.of(before)
    found = _changes(now, before, live_market, earlier, max_volatility_ratio)
    finding = f"live {live_market}; before {earlier}"
    if market.left_out:
        finding += f"; {market.left_out} single returns beyond {market.bound} were left out"
    if market.left_out_after_gap:
        finding += f"; {market.left_out_after_gap} over more than {MAX_GAP_SESSIONS} sessions as well"
    if not market.adjusted:
        finding += "; closes are not adjusted for dividends"
    if not found:
        return Check(name=CheckName.REGIME, verdict=CheckVerdict.OK, finding=finding)
    return Check(
        name=CheckName.REGIME,
        verdict=CheckVerdict.ATTENTION,
        finding=f"{'; '.join(found)}: {finding}",
        remedy="Compare the book with the market of the same days before blaming the model.",
    )


def _changes(
    now: npt.NDArray[np.float64],
    before: npt.NDArray[np.float64],
    live_market: Regime,
    earlier: Regime,
    max_volatility_ratio: float,
) -> list[str]:
    found = []
    if earlier.volatility > 0:
        ratio = live_market.volatility / earlier.volatility
        if not 1 / max_volatility_ratio <= ratio <= max_volatility_ratio:
            found.append(f"volatility is {ratio:.2f} times what it was")
        errors = (now.mean() - before.mean()) / (before.std() / math.sqrt(len(now)))
        if abs(errors) > STANDARD_ERRORS:
            found.append(f"the mean return is {errors:+.1f} standard errors away")
    if live_market.drawdown > earlier.drawdown:
        found.append("the drawdown is deeper than any before")
    return found
