"""Third check: has the market itself been another one since the book is live?"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.prices.market_returns import MAX_GAP_SESSIONS, MarketReturns
from apex_tasks.performance.checks.check import Check, CheckName, CheckVerdict
from apex_tasks.settings import PerformanceSettings
from apex_tasks.statistics.performance import SESSIONS_PER_YEAR
from apex_tasks.statistics.return_comparison import (
    mean_difference_p_value,
    predicted_drawdowns,
    volatility_change_p_value,
)

MIN_LIVE_SESSIONS = 20
MIN_SESSIONS_BEFORE = 60
SEED = 20240101
TESTS = 3
"""Volatility, mean return and drawdown: each has a third of the rate of false alarms (Bonferroni)."""


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


def check_market(market: MarketReturns, live_from: dt.date | None, settings: PerformanceSettings) -> Check:
    """Compare the equal-weight market after the first fill with all of the dataset before it.

    It is another market where its volatility differs by more than chance and by more than `max_volatility_ratio`, its
    mean return by more than chance, or where its drawdown is deeper than the earlier returns would make one over as
    many sessions. A market that goes on as before is called another one in `check_false_alarm_rate` of the cases.

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
    finding = f"live {Regime.of(now)}; before {Regime.of(before)}"
    if market.left_out:
        finding += f"; {market.left_out} single returns beyond {market.bound} were left out"
    if market.left_out_after_gap:
        finding += f"; {market.left_out_after_gap} over more than {MAX_GAP_SESSIONS} sessions as well"
    if not market.adjusted:
        finding += "; closes are not adjusted for dividends"
    if np.ptp(now) == 0 or np.ptp(before) == 0:
        return Check(
            name=CheckName.REGIME,
            verdict=CheckVerdict.ATTENTION,
            finding=f"the market does not move: {finding}",
            remedy="Look at the closes in the dataset: every session has the same mean return.",
        )
    found = market_changes(now, before, settings)
    if not found:
        return Check(name=CheckName.REGIME, verdict=CheckVerdict.OK, finding=finding)
    return Check(
        name=CheckName.REGIME,
        verdict=CheckVerdict.ATTENTION,
        finding=f"{'; '.join(found)}: {finding}",
        remedy="Compare the book with the market of the same days before blaming the model.",
    )


def market_changes(
    now: npt.NDArray[np.float64], before: npt.NDArray[np.float64], settings: PerformanceSettings
) -> list[str]:
    """In what a stretch of daily returns differs from the one before it by more than chance; each varies."""
    rate = settings.check_false_alarm_rate / TESTS
    found = []
    ratio = float(now.std() / before.std())
    large = not 1 / settings.max_volatility_ratio <= ratio <= settings.max_volatility_ratio
    if large and volatility_change_p_value(now, before) < rate:
        found.append(f"volatility is {ratio:.2f} times what it was")
    if mean_difference_p_value(now, before) < rate:
        difference = (now.mean() - before.mean()) * 100
        found.append(f"the mean return is {difference:+.2f} % a session away")
    drawdown = Regime.of(now).drawdown
    usual = float(np.quantile(predicted_drawdowns(before, len(now), seed=SEED), 1 - rate))
    if drawdown > usual:
        found.append(
            f"the drawdown is deeper than {usual:.1%}, which {len(now)} earlier sessions hardly exceed"
        )
    return found
