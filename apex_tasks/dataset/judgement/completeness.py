"""Completeness by what trades: which sessions are there, with rows, closes and volumes of their own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.judgement.faults import FoundFault, shown
from apex_tasks.dataset.judgement.market_rows import MarketRows
from apex_tasks.dataset.schema import day_from_epoch
from apex_tasks.market.calendar import SESSIONS_WITHOUT_TRADING
from apex_tasks.settings import Fault, FreshnessSettings, JudgementSettings

Counts = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int16]
"""Number of each row's day among the sessions, see `MarketRows.positions`."""


def judge_completeness(
    rows: MarketRows,
    position: Positions,
    sessions: Sequence[dt.date],
    freshness: FreshnessSettings,
    settings: JudgementSettings,
) -> Iterator[FoundFault]:
    """Compare the as-of session, the last of `sessions`, with those before it, and all of them with each other."""
    there = position >= 0
    every = np.bincount(position[there], minlength=len(sessions))
    closes = np.bincount(position[there & np.isfinite(rows.close)], minlength=len(sessions))
    volumes = np.bincount(position[there & np.isfinite(rows.volume)], minlength=len(sessions))
    trailing, as_of = freshness.trailing_sessions, sessions[-1]
    yield from _judge_as_of(
        Fault.PRICES_MISSING, "closes", closes, settings.min_priced_ratio, trailing, as_of
    )
    yield from _judge_as_of(
        Fault.VOLUMES_MISSING, "volumes", volumes, settings.min_traded_ratio, trailing, as_of
    )
    yield from _judge_earlier(every, closes, sessions, settings)


def judge_calendar(
    rows: MarketRows, position: Positions, sessions: Sequence[dt.date]
) -> Iterator[FoundFault]:
    """Find rows on days without trading, which shifted dates have, and sessions without a row."""
    closed = rows.days[position < 0]
    if len(closed):
        yield FoundFault(
            fault=Fault.OFF_SESSION_ROWS,
            count=len(closed),
            stops=True,
            told=f"{len(closed)} rows on days that are no session: {shown(map(day_from_epoch, np.unique(closed)))}; "
            "the dates are probably shifted",
        )
    number = np.bincount(position[position >= 0], minlength=len(sessions))
    began = int(np.argmax(number > 0))
    # The as-of session itself is `judge_completeness`'s: it may still be delivered.
    absent = [
        day for day, rows_of_day in zip(sessions[began:-1], number[began:-1], strict=True) if not rows_of_day
    ]
    if absent and number.any():
        yield FoundFault(
            fault=Fault.SESSIONS_ABSENT,
            count=len(absent),
            stops=True,
            told=f"{len(absent)} sessions without a row: {shown(absent)}",
        )


def judge_repetition(
    rows: MarketRows, position: Positions, sessions: Sequence[dt.date], settings: JudgementSettings
) -> Iterator[FoundFault]:
    """Find sessions on which stocks repeat close and volume of an earlier one, which no trading does."""
    known = (position >= 0) & np.isfinite(rows.close) & np.isfinite(rows.volume)
    yield from _repeats_an_earlier(rows, position, known, sessions, settings)
    pair = (rows.stock[1:] == rows.stock[:-1]) & known[1:] & known[:-1] & (position[1:] == position[:-1] + 1)
    same = pair & (rows.close[1:] == rows.close[:-1]) & (rows.volume[1:] == rows.volume[:-1])
    pairs = np.bincount(position[1:][pair], minlength=len(sessions))
    repeated = np.bincount(position[1:][same], minlength=len(sessions))
    share = repeated[:-1] / np.maximum(pairs[:-1], 1)
    found = np.flatnonzero((share > settings.max_repeated_share) & (repeated[:-1] > 1))
    if len(found):
        yield FoundFault(
            fault=Fault.EARLIER_SESSIONS_REPEATED,
            count=len(found),
            stops=False,
            told=f"{len(found)} sessions repeat closes and volumes of the session before for more than "
            f"{settings.max_repeated_share:.0%} of the stocks: {shown(sessions[int(at)] for at in found)}",
        )


def judge_gaps(
    rows: MarketRows, position: Positions, sessions: Sequence[dt.date], settings: JudgementSettings
) -> Iterator[FoundFault]:
    """Count the rows that stocks of the as-of session lack since their first: their windows reach further back."""
    there = position >= 0
    stock, at = rows.stock[there], position[there]
    present = np.bincount(at, minlength=len(sessions)) > 0  # absent sessions are told as such
    if not present[-1]:
        return
    sessions_left = np.cumsum(present[::-1])[::-1]  # from each session to the as-of session
    last = np.flatnonzero(at == len(sessions) - 1)
    begins = np.flatnonzero(np.r_[True, stock[1:] != stock[:-1]])
    first = begins[np.searchsorted(begins, last, side="right") - 1]
    possible = sessions_left[at[first]]
    expected, missing = int(possible.sum()), int((possible - (last - first + 1)).sum())
    listed = len(last)
    if expected and missing > settings.max_missing_rows * expected:
        yield FoundFault(
            fault=Fault.ROWS_MISSING,
            count=missing,
            stops=False,
            told=f"{missing} of {expected} rows are missing within the histories of {listed} stocks, "
            f"at most {settings.max_missing_rows:.0%} expected",
        )


def _repeats_an_earlier(
    rows: MarketRows,
    position: Positions,
    known: npt.NDArray[np.bool_],
    sessions: Sequence[dt.date],
    settings: JudgementSettings,
) -> Iterator[FoundFault]:
    today = known & (position == len(sessions) - 1)
    close, volume = np.full((2, len(rows.codes)), np.nan)
    close[rows.stock[today]], volume[rows.stock[today]] = rows.close[today], rows.volume[today]
    same = known & ~today & (rows.close == close[rows.stock]) & (rows.volume == volume[rows.stock])
    repeated = np.bincount(position[same], minlength=len(sessions))
    worst = len(repeated) - 1 - int(np.argmax(repeated[::-1]))  # of equals the newest
    stocks = int(today.sum())
    if repeated[worst] > 1 and repeated[worst] > settings.max_repeated_share * stocks:
        yield FoundFault(
            fault=Fault.SESSION_REPEATED,
            count=int(repeated[worst]),
            stops=True,
            told=f"{repeated[worst]} of {stocks} stocks have on {sessions[-1]} the close and volume of "
            f"{sessions[worst]}, at most {settings.max_repeated_share:.0%} may",
        )


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
