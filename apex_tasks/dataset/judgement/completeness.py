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
    """Find sessions on which stocks repeat close and volume of an earlier one, which no trading does."""
    days = np.array([days_since_epoch(day) for day in sessions], dtype=np.int32)
    position = np.searchsorted(days, rows.days)
    known = (position < len(days)) & (days[np.minimum(position, len(days) - 1)] == rows.days)
    known &= np.isfinite(rows.close) & np.isfinite(rows.volume)
    yield from _repeats_an_earlier(rows, position, known, sessions, settings)
    pair = (rows.stock[1:] == rows.stock[:-1]) & known[1:] & known[:-1] & (position[1:] == position[:-1] + 1)
    same = pair & (rows.close[1:] == rows.close[:-1]) & (rows.volume[1:] == rows.volume[:-1])
    pairs, repeated = np.bincount(position[1:][pair], minlength=len(days)), np.zeros(len(days), np.int64)
    repeated += np.bincount(position[1:][same], minlength=len(days))
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
    rows: MarketRows, sessions: Sequence[dt.date], settings: JudgementSettings
) -> Iterator[FoundFault]:
    """Count the rows that stocks of the as-of session lack since their first: their windows reach further back."""
    days = np.intersect1d(
        [days_since_epoch(day) for day in sessions], rows.days
    )  # absent ones are told as such
    if days_since_epoch(sessions[-1]) not in days:
        return
    there = np.isin(rows.days, days)
    stock, position = rows.stock[there], np.searchsorted(days, rows.days[there])
    first = np.full(len(rows.codes), len(days))
    np.minimum.at(first, stock, position)
    listed = np.zeros(len(rows.codes), dtype=bool)
    listed[stock[position == len(days) - 1]] = True
    expected = int((len(days) - first[listed]).sum())
    missing = expected - int(listed[stock].sum())
    if expected and missing > settings.max_missing_rows * expected:
        yield FoundFault(
            fault=Fault.ROWS_MISSING,
            count=missing,
            stops=False,
            told=f"{missing} of {expected} rows are missing within the histories of {int(listed.sum())} stocks, "
            f"at most {settings.max_missing_rows:.0%} expected",
        )


def _repeats_an_earlier(
    rows: MarketRows,
    position: npt.NDArray[np.integer],
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
