"""The benchmarks that a bundle's manifest claims, read from numbers or words, their units decided and not guessed."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.refusal import Refusal

PERIOD, REBALANCES = "backtest_period", "rebalances"

_NUMBER = re.compile(
    r"([+-]?)\s*(\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)\s*(%|pct|percent|per cent)?"
)
_SHOWN = 20
_DAY = re.compile(r"\d{4}[-/]\d{2}[-/]\d{2}")


class Metric(StrEnum):
    """Figures that a manifest may have a benchmark of, under its own keys."""

    SHARPE = "sharpe_ratio"
    RETURN = "total_return"
    DRAWDOWN = "max_drawdown"
    WIN_RATE = "win_rate"
    COSTS = "transaction_costs_pct"


class _Unit(StrEnum):
    PER_CENT = "per cent"
    FRACTION = "a fraction"


class NotReadable(Exception):
    """Why a benchmark cannot be compared with; the message is shown as it is."""


@dataclass(frozen=True)
class Benchmarks:
    """What a manifest claims.

    Attributes
    ----------
    values
        Metric -> Sharpe ratio as it is; returns, drawdown, win rate and costs in percent, the drawdown as a
        magnitude.
    unreadable
        Metric -> why there is no value.
    sessions
        TSE sessions of the period; None where it is not readable, with the reason in `period_problem`.
    period
        The period as the manifest writes it.
    ignored
        Keys that mean nothing here.
    in_sample_problem
        Why the period is not known to be after the training; empty where it is.
    training, validation
        The training period and the validation as the manifest writes them; empty where it does not.
    """

    values: Mapping[Metric, float]
    unreadable: Mapping[Metric, str]
    sessions: int | None
    period: str
    period_problem: str
    ignored: tuple[str, ...]
    in_sample_problem: str = ""
    training: str = ""
    validation: str = ""


def read_benchmarks(
    block: Mapping[str, JsonValue],
    calendar: TseCalendar,
    training_period: JsonValue = None,
    validation: JsonValue = None,
) -> Benchmarks:
    """Read a manifest's `performance_benchmarks`.

    A value may be a number or a text such as ``"+44.85 %"``. A text with a percent sign says its unit. For plain
    values the unit follows from what is possible: a drawdown or a win rate above 1 is in percent, one up to 1 is a
    fraction. The total return has the unit of the drawdown, since one program prints both; without a plain drawdown
    that of the win rate, if that is in percent. (v0.1.0 prints win rates as fractions beside returns in percent, so
    the other way round says nothing.) Costs are in percent by their name.

    Parameters
    ----------
    block
        As the manifest has it; nothing in it is taken on trust.
    calendar
        Counts the sessions of the period.
    training_period
        The manifest's, in any form that names two days, such as ``["2014-01-06", "2023-11-30"]``.
    validation
        The manifest's; shown, and nothing follows from it: a fold that was held out chose the model all the same.
    """
    values: dict[Metric, float] = {}
    unreadable: dict[Metric, str] = {}
    for metric in Metric:
        try:
            values[metric] = _value(metric, block)
        except NotReadable as reason:
            unreadable[metric] = str(reason)
    period = block.get(PERIOD)
    sessions, problem = None, ""
    try:
        sessions = _sessions(period, calendar)
    except NotReadable as reason:
        problem = str(reason)
    known = {*Metric, PERIOD, REBALANCES}
    return Benchmarks(
        values,
        unreadable,
        sessions,
        "" if period is None else str(period),
        problem,
        tuple(sorted(block.keys() - known)),
        _in_sample_problem(period, training_period),
        _shown(training_period),
        _shown(validation),
    )


def _in_sample_problem(period: JsonValue, training_period: JsonValue) -> str:
    """Why the benchmarks' period is not known to begin after the last day that training saw; empty where it is."""
    if training_period is None:
        return "the manifest has no training_period"
    trained, tested = _days(training_period), _days(period)
    if trained is None:
        return f"training_period names no two days: {_shown(training_period)!r}"
    if tested is None:
        return "the manifest has no backtest_period of two days"
    if min(tested) <= max(trained):
        return f"training ends on {max(trained)}, and the benchmark's period begins on {min(tested)}"
    return ""


def _shown(value: JsonValue) -> str:
    """A value of the manifest in one line."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _value(metric: Metric, block: Mapping[str, JsonValue]) -> float:
    number, has_sign = _parse(metric, block.get(metric))
    if metric is Metric.SHARPE:
        if has_sign:
            raise NotReadable(f"a Sharpe ratio is no percentage: {block[metric]!r}")
        return number
    if has_sign or metric is Metric.COSTS:
        unit = _Unit.PER_CENT
    elif metric is Metric.RETURN:
        unit = _unit_of_block(block)
    else:
        unit = _unit(number)
    per_cent = number * 100 if unit is _Unit.FRACTION else number
    if metric is Metric.DRAWDOWN:
        per_cent = abs(per_cent)
    if metric in (Metric.DRAWDOWN, Metric.WIN_RATE) and not 0 <= per_cent <= 100:
        raise NotReadable(f"not between 0 and 100 %: {block[metric]!r}")
    if metric is Metric.RETURN and per_cent <= -100:
        raise NotReadable(f"a loss of all or more: {block[metric]!r}")
    if metric is Metric.COSTS and per_cent < 0:
        raise NotReadable(f"costs below 0: {block[metric]!r}")
    return per_cent


def _unit(number: float) -> _Unit:
    return _Unit.PER_CENT if abs(number) > 1 else _Unit.FRACTION


def _unit_of_block(block: Mapping[str, JsonValue]) -> _Unit:
    """Unit of a plain total return, by the plain values beside it."""
    for metric, decisive in ((Metric.DRAWDOWN, tuple(_Unit)), (Metric.WIN_RATE, (_Unit.PER_CENT,))):
        try:
            number, has_sign = _parse(metric, block.get(metric))
        except NotReadable:
            continue
        if not has_sign and number and (unit := _unit(number)) in decisive:
            return unit
    raise NotReadable(
        "per cent or a fraction: neither max_drawdown nor win_rate says which; write it with a per cent sign"
    )


def _parse(metric: Metric, value: JsonValue) -> tuple[float, bool]:
    """Number, and whether a per cent sign follows it."""
    if value is None:
        raise NotReadable("the manifest has none")
    if isinstance(value, int | float) and not isinstance(value, bool):
        number, has_sign = _float(value), False
    else:
        text = (
            str(value)
            .strip()
            .lower()
            .replace("\N{MINUS SIGN}", "-")
            .replace("\N{FULLWIDTH PERCENT SIGN}", "%")
        )
        found = _NUMBER.fullmatch(text) if isinstance(value, str) else None
        if found is None:
            raise NotReadable(f"neither a number nor a percentage: {value!r}")
        number, has_sign = float(found[1] + found[2].replace(",", "")), found[3] is not None
    if not math.isfinite(number):
        raise NotReadable(f"not a finite number: {str(value)[:_SHOWN]}")
    return number, has_sign


def _float(value: float) -> float:
    """A JSON number as float64, infinite where it is too large: JSON bounds no integer."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _sessions(period: JsonValue, calendar: TseCalendar) -> int:
    """TSE sessions between the two days that a period names, both inclusive."""
    if period is None:
        raise NotReadable("the manifest has no backtest_period, so no yearly pace follows")
    days = _days(period)
    if days is None:
        raise NotReadable(f"backtest_period names no two days: {period!r}")
    try:
        sessions = len(calendar.sessions(*days))
    except Refusal as refusal:
        raise NotReadable(f"backtest_period {period!r}: {refusal.what}") from None
    if not sessions:
        raise NotReadable(f"backtest_period has no session: {period!r}")
    return sessions


def _days(value: JsonValue) -> tuple[dt.date, dt.date] | None:
    """The two days that a value names, in its order; None where it names no two."""
    days = [_day(text) for text in _DAY.findall(str(value))]
    match days:
        case [dt.date() as first, dt.date() as last]:
            return first, last
        case _:
            return None


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
