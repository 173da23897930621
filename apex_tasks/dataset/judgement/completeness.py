"""Completeness by what trades: which sessions are there, with rows, closes and volumes of their own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.judgement.faults import FoundFault, shown
from apex_tasks.dataset.judgement.market_rows import MarketRows
from apex_tasks.dataset.schema import day_from_epoch, days_since_epoch
from apex_tasks.market.calendar import SESSIONS_WITHOUT_TRADING
from apex_tasks.settings import Fault, FreshnessSettings, JudgementSettings

Counts = npt.NDArray[np.int64]


def judge_completeness(
    rows: MarketRows,
    sessions: Sequence[dt.date],
    freshness: FreshnessSettings,
    settings: JudgementSettings,
) -> Iterator[FoundFault]:
    """Compare the as-of session, the last of `sessions`, with those before it, and all of them with each other."""
    days = np.array([days_since_epoch(day) for day in sessions], dtype=np.int32)
    there = np.isin(rows.days, days)
    position = np.searchsorted(days, rows.days[there])
    every = _counts(position, np.ones(len(position), bool), len(days))
    closes = _counts(position, np.isfinite(rows.close[there]), len(days))
    volumes = _counts(position, np.isfinite(rows.volume[there]), len(days))
    trailing, as_of = freshness.trailing_sessions, sessions[-1]
    yield from _judge_as_of(
        Fault.PRICES_MISSING, "closes", closes, settings.min_priced_ratio, trailing, as_of
    )
    yield from _judge_as_of(
        Fault.VOLUMES_MISSING, "volumes", volumes, settings.min_traded_ratio, trailing, as_of
    )
    yield from _judge_earlier(every, closes, sessions, settings)


def judge_calendar(rows: MarketRows, sessions: Sequence[dt.date]) -> Iterator[FoundFault]:
    """Find rows on days without trading, which shifted dates have, and sessions without a row."""
    days = np.array([days_since_epoch(day) for day in sessions], dtype=np.int32)
    within = rows.days[(rows.days >= days[0]) & (rows.days <= days[-1])]
    closed = within[~np.isin(within, days)]
    if len(closed):
        yield FoundFault(
            fault=Fault.OFF_SESSION_ROWS,
            count=len(closed),
            stops=True,
            told=f"{len(closed)} rows on days that are no session: {shown(map(day_from_epoch, np.unique(closed)))}; "
            "the dates are probably shifted",
        )
    if not len(within):
        return
    began = within.min()
    # The as-of session itself is `judge_completeness`'s: it may still be delivered.
    earlier = list(zip(sessions, days, strict=True))[:-1]
    absent = [day for day, number in earlier if number >= began and number not in within]
    if absent:
        yield FoundFault(
            fault=Fault.SESSIONS_ABSENT,
            count=len(absent),
            stops=True,
            told=f"{len(absent)} sessions without a row: {shown(absent)}",
        )


def judge_repetition(
    rows: MarketRows, sessions: Sequence[dt.date], settings: JudgementSettings
) -> Iterator[FoundFault]:
    """Find sessions on which stocks repeat close and volume of the session before, which no trading does."""
    days = np.array([days_since_epoch(day) for day in sessions], dtype=np.int32)
    position = np.searchsorted(days, rows.days)
    known = (position < len(days)) & (days[np.minimum(position, len(days) - 1)] == rows.days)
    known &= np.isfinite(rows.close) & np.isfinite(rows.volume)
    pair = (rows.stock[1:] == rows.stock[:-1]) & known[1:] & known[:-1] & (position[1:] == position[:-1] + 1)
    same = pair & (rows.close[1:] == rows.close[:-1]) & (rows.volume[1:] == rows.volume[:-1])
    pairs = _counts(position[1:][pair], np.ones(int(pair.sum()), bool), len(days))
    repeated = _counts(position[1:][same], np.ones(int(same.sum()), bool), len(days))
    share = repeated / np.maximum(pairs, 1)
    for fault, at in (
        (Fault.SESSION_REPEATED, np.array([len(days) - 1])),
        (Fault.EARLIER_SESSIONS_REPEATED, np.arange(len(days) - 1)),
    ):
        found = at[(share[at] > settings.max_repeated_share) & (repeated[at] > 1)]
        if len(found):
            worst = found[np.argmax(share[found])]
            yield FoundFault(
                fault=fault,
                count=len(found),
                stops=fault is Fault.SESSION_REPEATED,
                told=f"{repeated[worst]} of {pairs[worst]} stocks have on {sessions[int(worst)]} the close and "
                f"volume of the session before, at most {settings.max_repeated_share:.0%} may"
                + (f"; so do {len(found) - 1} other sessions" if len(found) > 1 else ""),
            )


def _counts(position: npt.NDArray[np.integer], counted: npt.NDArray[np.bool_], sessions: int) -> Counts:
    return np.bincount(position[counted], minlength=sessions)


def _judge_as_of(
    fault: Fault, what: str, counts: Counts, least: float, trailing: int, as_of: dt.date
) -> Iterator[FoundFault]:
    before = counts[:-1]
    usual = before[before > 0][-trailing:]
    median = float(np.median(usual)) if len(usual) else 0.0
    received = int(counts[-1])
    if received == 0 or received < least * median:
        yield FoundFault(
            fault=fault,
            count=max(1, round(median) - received),
            stops=True,
            told=f"{received} {what} on {as_of}, at least {least:.0%} of the trailing median {median:g} expected",
        )


def _judge_earlier(
    rows: Counts, closes: Counts, sessions: Sequence[dt.date], settings: JudgementSettings
) -> Iterator[FoundFault]:
    traded = np.array([day not in SESSIONS_WITHOUT_TRADING for day in sessions])
    earlier = (rows > 0) & traded
    earlier[-1] = False
    unpriced = np.flatnonzero(earlier & (closes == 0))
    if len(unpriced):
        yield FoundFault(
            fault=Fault.SESSIONS_UNPRICED,
            count=len(unpriced),
            stops=True,
            told=f"{len(unpriced)} sessions have rows and no close: {shown(sessions[int(at)] for at in unpriced)}",
        )
    if not earlier.any():
        return
    median = float(np.median(closes[earlier]))
    thin = np.flatnonzero(earlier & (closes > 0) & (closes < settings.min_session_ratio * median))
    if len(thin):
        yield FoundFault(
            fault=Fault.SESSIONS_THIN,
            count=len(thin),
            stops=False,
            told=f"{len(thin)} sessions have less than {settings.min_session_ratio:.0%} of the usual {median:g} "
            f"closes: {shown(f'{sessions[int(at)]} ({closes[at]})' for at in thin)}",
        )
