"""Plausible prices: closes within the daily limit, adjustments that agree with each other, turnover that fits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.judgement.faults import FoundFault, shown
from apex_tasks.dataset.judgement.market_rows import Floats, MarketRows
from apex_tasks.dataset.schema import TURNOVER_VALUE, VOLUME, day_from_epoch, days_since_epoch
from apex_tasks.market.price_limits import BROADENED, TIGHTEST_LIMIT, daily_limit_jpy
from apex_tasks.settings import Fault, JudgementSettings, MarketRules

ROUNDING_JPY = 0.05
"""Half of the last digit of an adjusted close: with few yen left after many splits it is a large share."""
LIMIT_ROOM = 1.1
"""Multiple of the limit up to which a move passes: the base may have been a special quote near the close before."""
MIN_STEP = 0.02
"""A change of AdjustmentClose / Close below this is a dividend or rounding, no split."""
LARGE_STEP = 0.1
"""Logarithm of a change of AdjustmentClose / Close above which it is a split, and no dividend."""
SPLIT_TERMS, SPLIT_ROUNDING = range(1, 11), 0.005
"""Shares on either side of a split, and how far the logarithm of its ratio may be off."""
LONGEST_GAP = 10
"""Sessions without a close after which a stock may be anywhere; each one before lets its limit compound."""
MIN_MARKET_STOCKS = 5
"""With fewer stocks beyond their limits on a session, these are in question and not the whole market."""
GENERIC_MOVE = 3.0
"""Where no limits exist, a close beyond this multiple of the one before, or below its inverse, is in question."""
MIN_STOCKS_FOR_UNITS = 20


def judge_moves(
    rows: MarketRows, position: npt.NDArray[np.int16], settings: JudgementSettings
) -> Iterator[FoundFault]:
    """Compare every close with the one before it, on the basis that the file itself gives.

    The base price is the close before, times AdjustmentFactor or the step of AdjustmentClose / Close, where that is a
    dividend's or a split's; either may explain a move. A close is in question when it is further from each base than
    the daily limit (docs/dataset.md; four times that after a move by the whole limit), plus what rounding of adjusted
    closes hides. Where the two contradict each other and AdjustmentClose moves wrongly, the stock is named too.
    """
    priced = np.flatnonzero(np.isfinite(rows.close))
    now, before = priced[1:], priced[:-1]
    same = rows.stock[now] == rows.stock[before]
    now, before = now[same], before[same]
    moves = _Moves(rows, now, before, position)
    beyond, harmless = moves.unexplained(settings.market)
    accepted = np.isin(moves.labels(), sorted(settings.accepted_moves)) if settings.accepted_moves else False
    in_question = beyond & ~np.asarray(accepted)
    contradicted = moves.contradicted()
    yield from _market_moved(rows, now[beyond | (contradicted & ~harmless)], now, position, settings)
    if in_question.any():
        hit = now[in_question]
        yield FoundFault(
            fault=Fault.CLOSES_MOVED,
            count=len(hit),
            stops=False,
            told=f"{len(hit)} closes of {len(rows.names(hit))} stocks are beyond the daily limit, unexplained by the "
            f"file: {shown(_described(rows, move, moves.base[at]) for at, move in _first(in_question, now))}",
            codes=rows.names(hit),
        )
    contradicted &= ~np.asarray(accepted)
    if contradicted.any():
        hit = now[contradicted]
        yield FoundFault(
            fault=Fault.ADJUSTMENTS_CONTRADICTED,
            count=len(hit),
            stops=False,
            told=f"AdjustmentClose of {len(rows.names(hit))} stocks contradicts AdjustmentFactor, or steps for one "
            f"session: {shown(f'{rows.codes[rows.stock[at]]} {day_from_epoch(rows.days[at])}' for at in hit[:6])}",
            codes=rows.names(now[contradicted & ~harmless]),
        )


def judge_adjustments(rows: MarketRows) -> Iterator[FoundFault]:
    """Count the rows with a close whose AdjustmentClose is missing: a split in between is not seen."""
    if rows.adjusted_close is None or not np.isfinite(rows.adjusted_close).any():
        return
    missing = np.flatnonzero(np.isfinite(rows.close) & ~np.isfinite(rows.adjusted_close))
    if len(missing):
        names = rows.names(missing)
        yield FoundFault(
            fault=Fault.ADJUSTMENTS_MISSING,
            count=len(missing),
            stops=False,
            told=f"{len(missing)} rows of {len(names)} stocks have a close and no AdjustmentClose: {shown(names)}",
        )


def judge_turnover(rows: MarketRows, as_of: dt.date, settings: JudgementSettings) -> Iterator[FoundFault]:
    """Compare TurnoverValue with Volume times Close on the as-of session: units, and columns exchanged."""
    today = np.flatnonzero(rows.days == days_since_epoch(as_of))
    ratio = rows.turnover[today] / (rows.volume[today] * rows.close[today])
    today, ratio = today[np.isfinite(ratio)], ratio[np.isfinite(ratio)]
    if len(ratio) < MIN_STOCKS_FOR_UNITS:
        return
    low, high = 1 / settings.max_turnover_ratio, settings.max_turnover_ratio
    median = float(np.median(ratio))
    ranks = [
        name
        for name, values in ((TURNOVER_VALUE, rows.turnover[today]), (VOLUME, rows.volume[today]))
        if values.max() <= 1.0
    ]
    if not low <= median <= high:
        yield FoundFault(
            fault=Fault.TURNOVER_MISMATCHED,
            count=len(ratio),
            stops=True,
            told=f"TurnoverValue is {median:.3g} times Volume x Close (median of {len(ratio)} stocks on {as_of}), "
            f"expected {low:.2f} to {high:.2f}: "
            + (f"{ranks[0]} holds ranks" if ranks else "a unit is wrong, or columns are exchanged"),
        )
        return
    odd = np.flatnonzero((ratio < low) | (ratio > high))
    if len(odd):
        names = rows.names(today[odd])
        yield FoundFault(
            fault=Fault.STOCK_TURNOVER_MISMATCHED,
            count=len(names),
            stops=False,
            told=f"TurnoverValue of {len(names)} stocks is not {low:.2f} to {high:.2f} times Volume x Close on "
            f"{as_of}: {shown(names)}",
        )


class _Moves:
    """Pairs of neighboring closes of one stock."""

    def __init__(
        self,
        rows: MarketRows,
        now: npt.NDArray[np.int64],
        before: npt.NDArray[np.int64],
        position: npt.NDArray[np.int16],
    ) -> None:
        self.rows, self.now, self.before = rows, now, before
        self.gap = position[now] - position[before]
        ones = np.ones(len(now))
        self.by_factor, self.has_factor = ones, np.zeros(len(now), dtype=bool)
        if rows.factor is not None:
            self.by_factor = self._product_of_factors(rows.factor)
            unknown = np.cumsum(~np.isfinite(rows.factor))
            self.has_factor = unknown[now] == unknown[before]
        self.by_adjusted, self.rounding = ones, np.zeros(len(now))
        if rows.adjusted_close is not None:
            adjusted = rows.adjusted_close
            step = (adjusted[before] / rows.close[before]) / (adjusted[now] / rows.close[now])
            self.by_adjusted = np.where(np.isfinite(step), step, 1.0)
            rounding = ROUNDING_JPY / adjusted[before] + ROUNDING_JPY / adjusted[now]
            self.rounding = np.where(np.isfinite(rounding), rounding, 0.0)
        self.log_step = np.zeros(len(now))
        stepped = np.flatnonzero(self.by_adjusted != 1.0)
        self.log_step[stepped] = np.log(self.by_adjusted[stepped])
        # AdjustmentFactor is the exchange's own word; where it is missing the file has the step alone.
        self.base = rows.close[before] * np.where(self.has_factor, self.by_factor, self.by_adjusted)

    def labels(self) -> npt.NDArray[np.str_]:
        """`<Code>@<date>` of every pair."""
        days = self.rows.days[self.now].astype("datetime64[D]").astype(str)
        return np.char.add(np.char.add(self.rows.codes[self.rows.stock[self.now]], "@"), days)

    def unexplained(self, market: MarketRules) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Closes that no basis explains, and those that AdjustmentClose explains where AdjustmentFactor does not."""
        before = self.rows.close[self.before]
        by_factor = ~self.has_factor
        if self.has_factor.any():
            by_factor |= self._beyond(before * self.by_factor, market)
        odd = np.flatnonzero(np.abs(self.log_step) > LARGE_STEP)
        odd = odd[_distance_to_split(self.log_step[odd]) >= SPLIT_ROUNDING + self.rounding[odd]]
        by_adjusted = self._beyond(before * self.by_adjusted, market)
        by_adjusted[odd] = True
        return by_factor & by_adjusted, self.has_factor & by_factor & ~by_adjusted

    def _beyond(self, base: Floats, market: MarketRules) -> npt.NDArray[np.bool_]:
        """Closes beyond the daily limit around a base price."""
        close = self.rows.close[self.now]
        tolerance = base * self.rounding + 1.0
        if market is not MarketRules.TSE:
            return (close > base * GENERIC_MOVE + tolerance) | (close < base / GENERIC_MOVE - tolerance)
        beyond = np.zeros(len(close), dtype=bool)
        # No limit is tighter than this, so that the table is looked up for few moves.
        large = np.flatnonzero(np.abs(close - base) >= 0.99 * TIGHTEST_LIMIT * base)
        close, base, gap = close[large], base[large], self.gap[large]
        limit = daily_limit_jpy(base)
        hit = np.zeros(len(beyond) + 1, dtype=bool)  # its last place is what comes before the first pair
        hit[large] = np.abs(close - base) >= 0.99 * limit
        after_hit = hit[large - 1] & (self.now[large - 1] == self.before[large])
        room = np.where(after_hit, BROADENED, 1) * LIMIT_ROOM * limit
        upper, lower = base + room, base - room
        for gone in range(1, LONGEST_GAP):  # without a trade the base itself moves by up to a limit a session
            more = gap > gone
            if not more.any():
                break
            upper[more] += daily_limit_jpy(upper[more])
            lowered = np.maximum(lower[more], 1.0)
            lower[more] = lowered - daily_limit_jpy(lowered)
        outside = (close > upper + tolerance[large]) | (close < lower - tolerance[large])
        beyond[large] = outside & (gap <= LONGEST_GAP)
        return beyond

    def contradicted(self) -> npt.NDArray[np.bool_]:
        """Steps of AdjustmentClose that AdjustmentFactor does not have, or that the next session takes back."""
        if self.rows.adjusted_close is None:
            return np.zeros(len(self.now), dtype=bool)
        step, room = self.log_step, MIN_STEP + 2 * self.rounding
        known = np.isfinite(self.rows.adjusted_close[self.now]) & np.isfinite(
            self.rows.adjusted_close[self.before]
        )
        # Dividends lower AdjustmentClose where it counts them, and no split is as small.
        wrong = (
            known & self.has_factor & (np.abs(step - np.log(self.by_factor)) > np.maximum(room, LARGE_STEP))
        )
        follows = self.now[:-1] == self.before[1:]
        reverts = follows & (np.abs(step[1:] + step[:-1]) < room[1:] / 2) & (np.abs(step[:-1]) > room[:-1])
        wrong[:-1] |= reverts
        return wrong

    def _product_of_factors(self, factor: Floats) -> Floats:
        """Product of the factors of the rows after `before`, up to `now`."""
        log = np.log(np.where(np.isfinite(factor), factor, 1.0))
        total = np.cumsum(log)
        product = np.exp(total[self.now] - total[self.before])
        return np.where(np.abs(product - 1) < 1e-6, 1.0, product)


def _market_moved(
    rows: MarketRows,
    hit: npt.NDArray[np.int64],
    judged: npt.NDArray[np.int64],
    position: npt.NDArray[np.int16],
    settings: JudgementSettings,
) -> Iterator[FoundFault]:
    number = position + 1  # rows on days that are no session count together
    counts, of = (np.bincount(number[which], minlength=1) for which in (hit, judged))
    counts = np.pad(counts, (0, len(of) - len(counts)))
    many = (counts >= MIN_MARKET_STOCKS) & (counts > settings.max_moved_share * of)
    if many.any():
        worst = int(np.argmax(np.where(many, counts / np.maximum(of, 1), 0)))
        day = day_from_epoch(rows.days[hit[number[hit] == worst][0]])
        yield FoundFault(
            fault=Fault.MARKET_MOVED,
            count=int(many.sum()),
            stops=True,
            told=f"{counts[worst]} of {of[worst]} closes moved beyond the daily limit, or are adjusted wrongly, on "
            f"{day}, at most {settings.max_moved_share:.0%} may: a unit changed, or "
            "an adjustment is missing",
        )


def _distance_to_split(log_step: Floats) -> Floats:
    """How far each step's logarithm is from that of the nearest split, so many shares for so many."""
    ratios = np.unique(np.log([new / old for new in SPLIT_TERMS for old in SPLIT_TERMS]))
    at = np.clip(np.searchsorted(ratios, log_step), 1, len(ratios) - 1)
    return np.minimum(np.abs(log_step - ratios[at - 1]), np.abs(log_step - ratios[at]))


def _first(chosen: npt.NDArray[np.bool_], now: npt.NDArray[np.int64]) -> list[tuple[np.int64, np.int64]]:
    at = np.flatnonzero(chosen)
    return list(zip(at, now[at], strict=True))


def _described(rows: MarketRows, at: np.int64, base: np.float64) -> str:
    day = day_from_epoch(rows.days[at])
    return f"{rows.codes[rows.stock[at]]} {day} {base:,.1f} to {rows.close[at]:,.1f} JPY"
