"""One judgement of a dataset for one as-of session; sensor, months, command line, service and rehearsal share it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from apex_tasks.dataset.features.feature_plan import FeaturePlan
from apex_tasks.dataset.judgement.completeness import (
    judge_calendar,
    judge_completeness,
    judge_gaps,
    judge_repetition,
)
from apex_tasks.dataset.judgement.faults import DatasetJudgement, FoundFault, shown
from apex_tasks.dataset.judgement.feature_supply import FeatureSupply, judge_features
from apex_tasks.dataset.judgement.market_rows import MarketRows, read_market_rows
from apex_tasks.dataset.judgement.price_moves import judge_adjustments, judge_moves, judge_turnover
from apex_tasks.dataset.schema import DatasetFile, day_from_epoch, days_since_epoch
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.settings import (
    ApexSettings,
    Fault,
    FeaturesMode,
    FreshnessSettings,
    JudgementSettings,
    MarketRules,
)

PRICE_LOOKBACK = 180
"""Sessions that are judged where no bundle says how many its model reads."""
_TSE_CODE = re.compile(r"[0-9A-Z]{4,5}")


@dataclass(frozen=True)
class JudgedFeatures:
    """The features that a bundle asks for, what there is of them, and what happens to those that are missing."""

    plan: FeaturePlan
    supply: FeatureSupply
    mode: FeaturesMode


def judge_dataset(
    dataset: DatasetFile,
    as_of: dt.date,
    lookback: int,
    freshness: FreshnessSettings,
    rules: JudgementSettings,
    calendar: TseCalendar,
    features: JudgedFeatures | None = None,
) -> DatasetJudgement:
    """Judge what a month on `as_of` rests on: the as-of session and the `lookback` sessions up to it.

    Parameters
    ----------
    features
        What the panel's builder counted; None judges prices, volumes and dates alone.

    Raises
    ------
    Refusal
        The file cannot be read, or is another one by now.
    """
    first = _first_day(as_of, lookback, rules.market, calendar)
    rows = read_market_rows(dataset, first, as_of)
    sessions = _sessions(rows, first, as_of, rules.market, calendar)[-lookback:]
    today = rows.days == days_since_epoch(as_of)
    faults = [_with_severity(fault, rules) for fault in _faults(rows, sessions, freshness, rules, features)]
    order = list(Fault)
    return DatasetJudgement(
        as_of=as_of,
        sessions=len(sessions),
        rows=int(today.sum()),
        priced=int(np.isfinite(rows.close[today]).sum()),
        traded=int(np.isfinite(rows.volume[today]).sum()),
        faults=tuple(sorted(faults, key=lambda found: order.index(found.fault))),
    )


def judge_prices(
    dataset: DatasetFile,
    as_of: dt.date,
    settings: ApexSettings,
    calendar: TseCalendar,
    lookback: int = PRICE_LOOKBACK,
) -> DatasetJudgement:
    """Judge prices, volumes and dates by the settings in force; see `judge_dataset`."""
    return judge_dataset(dataset, as_of, lookback, settings.freshness, settings.judgement, calendar)


def _faults(
    rows: MarketRows,
    sessions: Sequence[dt.date],
    freshness: FreshnessSettings,
    rules: JudgementSettings,
    features: JudgedFeatures | None,
) -> Iterator[FoundFault]:
    position = rows.positions(sessions)
    yield from judge_completeness(rows, position, sessions, freshness, rules)
    if rules.market is MarketRules.TSE:
        yield from judge_calendar(rows, position, sessions)
        yield from _judge_codes(rows)
    yield from judge_gaps(rows, position, sessions, rules)
    yield from judge_repetition(rows, position, sessions, rules)
    yield from judge_moves(rows, position, rules)
    yield from judge_adjustments(rows)
    yield from judge_turnover(rows, sessions[-1], rules)
    if features is not None:
        yield from judge_features(features.supply, features.plan, sessions, features.mode, rules)


def _judge_codes(rows: MarketRows) -> Iterator[FoundFault]:
    used = np.zeros(len(rows.codes), dtype=bool)  # a dictionary may list codes of other rows, or of none
    used[rows.stock] = True
    unknown = sorted(code for code in rows.codes[used].tolist() if _TSE_CODE.fullmatch(code) is None)
    if unknown:
        yield FoundFault(
            fault=Fault.CODES_UNKNOWN,
            count=len(unknown),
            stops=True,
            told=f"{len(unknown)} codes are not 4 or 5 characters of 0-9 and A-Z: {shown(unknown)}",
        )


def _with_severity(fault: FoundFault, rules: JudgementSettings) -> FoundFault:
    """The fault as it is, or one that stops no month, whatever names it has."""
    return fault.model_copy(update={"stops": False, "codes": ()}) if fault.fault in rules.warn_only else fault


def _first_day(as_of: dt.date, lookback: int, market: MarketRules, calendar: TseCalendar) -> dt.date:
    """The earliest day that can be one of `lookback` sessions up to `as_of`."""
    if market is not MarketRules.TSE:
        return as_of - dt.timedelta(days=2 * lookback)
    day = as_of
    for _ in range(lookback - 1):
        day = calendar.previous_session(day)
    return day


def _sessions(
    rows: MarketRows, first: dt.date, as_of: dt.date, market: MarketRules, calendar: TseCalendar
) -> list[dt.date]:
    """Sessions from `first` to `as_of`: by the calendar or, on another market, the days of the data and `as_of`."""
    if market is MarketRules.TSE:
        return calendar.sessions(first, as_of)
    return [day_from_epoch(day) for day in np.union1d(rows.days, days_since_epoch(as_of))]
