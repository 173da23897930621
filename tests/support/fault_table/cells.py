"""Faults of values: rows and columns stay, cells change."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.support.fault_table.attempt import Attempt, Change
from tests.support.fault_table.places import AS_OF_ROWS, EVERYWHERE, Place, session_day
from tests.support.small_market import FEATURE_COLUMNS

PRICES = ("Open", "Close", "AdjustmentClose")
AMOUNTS = ("Volume", "TurnoverValue")
MARKET = (*PRICES, *AMOUNTS)
FEATURES = FEATURE_COLUMNS
Compute = Callable[[np.ndarray], Any]


def put(attempt: Attempt, name: str, values: Any) -> None:
    """Replace a column, or add it."""
    values = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    at = attempt.table.schema.get_field_index(name)
    table = attempt.table
    attempt.table = table.append_column(name, values) if at < 0 else table.set_column(at, name, values)


def numbers(attempt: Attempt, name: str) -> np.ndarray:
    """A writable copy of a column."""
    return attempt.table[name].to_numpy().copy()


def computed(columns: tuple[str, ...], compute: Compute, where: Place = EVERYWHERE) -> Change:
    """Cells as a function of what they were."""

    def change(attempt: Attempt) -> None:
        mask = where.mask(attempt)
        assert mask.any(), "a fault that is nowhere"
        for name in columns:
            values = numbers(attempt, name)
            values[mask] = compute(values[mask])
            put(attempt, name, values)

    return change


def scaled(columns: tuple[str, ...], factor: float, where: Place = EVERYWHERE) -> Change:
    """Cells times a number."""
    return computed(columns, lambda values: values * factor, where)


def filled(columns: tuple[str, ...], value: float, where: Place = EVERYWHERE) -> Change:
    """The same value in all cells."""
    return computed(columns, lambda values: np.full_like(values, value), where)


def nulled(columns: tuple[str, ...], where: Place = EVERYWHERE) -> Change:
    """Cells without a value."""

    def change(attempt: Attempt) -> None:
        mask = where.mask(attempt)
        assert mask.any(), "a fault that is nowhere"
        for name in columns:
            column = attempt.table[name]
            put(attempt, name, pc.if_else(pa.array(~mask), column, pa.scalar(None, column.type)))

    return change


def of_session_before(columns: tuple[str, ...], where: Place = AS_OF_ROWS, back: int = 1) -> Change:
    """Cells of one session as the same stock has them some sessions before."""

    def change(attempt: Attempt) -> None:
        mask, market = where.mask(attempt), attempt.market
        for name in columns:
            values = numbers(attempt, name)
            keys = zip(market.days.tolist(), market.codes.tolist(), strict=True)
            source = dict(zip(keys, values.tolist(), strict=True))
            for row in np.flatnonzero(mask):
                day = market.sessions[market.sessions.index(market.days[row].item()) - back]
                values[row] = source[day, market.codes[row]]
            put(attempt, name, values)

    return change


def exchanged(one: str, other: str, where: Place = EVERYWHERE) -> Change:
    """Two columns, each with the other's cells."""

    def change(attempt: Attempt) -> None:
        mask = where.mask(attempt)
        first, second = numbers(attempt, one), numbers(attempt, other)
        put(attempt, one, np.where(mask, second, first).astype(first.dtype))
        put(attempt, other, np.where(mask, first, second).astype(second.dtype))

    return change


def shuffled(columns: tuple[str, ...], where: Place = AS_OF_ROWS) -> Change:
    """Cells dealt to other rows."""

    def change(attempt: Attempt) -> None:
        rows = np.flatnonzero(where.mask(attempt))
        other = np.random.default_rng(1).permutation(rows)
        for name in columns:
            values = numbers(attempt, name)
            values[rows] = values[other]
            put(attempt, name, values)

    return change


def split(code: Callable[[Attempt], str], back: int, factor: float | None, adjusted: bool) -> Change:
    """A split by two, some sessions before the as-of session.

    Parameters
    ----------
    code
        Whose.
    factor
        What AdjustmentFactor says on the day; None: nothing.
    adjusted
        Whether AdjustmentClose of the days before is rewritten.
    """

    def change(attempt: Attempt) -> None:
        market, day = attempt.market, session_day(attempt, back)
        own = market.codes == code(attempt)
        after = own & (market.days >= np.datetime64(day))
        for name, times in (("Open", 0.5), ("Close", 0.5), ("Volume", 2.0)):
            values = numbers(attempt, name)
            values[after] *= times
            put(attempt, name, values)
        values = numbers(attempt, "AdjustmentClose")
        values[own if adjusted else after] *= 0.5
        put(attempt, "AdjustmentClose", values)
        if factor is not None:
            on_day = own & (market.days == np.datetime64(day))
            put(attempt, "AdjustmentFactor", np.where(on_day, factor, numbers(attempt, "AdjustmentFactor")))

    return change


def unwanted(attempt: Attempt) -> str:
    """A stock that is in no book."""
    return attempt.market.unwanted[0]


def bought(attempt: Attempt) -> str:
    """A stock that October buys from cash."""
    return attempt.market.bought[0]


def held(attempt: Attempt) -> str:
    """A stock that October keeps."""
    return attempt.market.held[0]


def column_as(name: str, kind: pa.DataType) -> Change:
    """The same values in another type."""

    def change(attempt: Attempt) -> None:
        column = attempt.table[name].combine_chunks()
        put(attempt, name, pa.chunked_array([_cast(column, kind)]))

    return change


def columns_as(names: tuple[str, ...], kind: pa.DataType) -> Change:
    """The same values of several columns in another type."""

    def change(attempt: Attempt) -> None:
        for name in names:
            column_as(name, kind)(attempt)

    return change


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(kind):
        column = pc.round(column, kind.scale)
    return column.cast(kind, safe=False)


def text(name: str, value: str | None, where: Place) -> Change:
    """Another text in some rows."""
    return texts(name, lambda _: value, where)


def texts(name: str, rewrite: Callable[[str], str | None], where: Place = EVERYWHERE) -> Change:
    """Texts as a function of what they were."""

    def change(attempt: Attempt) -> None:
        mask = where.mask(attempt)
        rows = zip(attempt.table[name].to_pylist(), mask.tolist(), strict=True)
        put(attempt, name, pa.array([rewrite(old) if hit else old for old, hit in rows], pa.string()))

    return change


def dates(
    rewrite: Callable[[dt.date], Any], kind: pa.DataType | None = None, where: Place = EVERYWHERE
) -> Change:
    """Dates as a function of what they were, perhaps in another type."""

    def change(attempt: Attempt) -> None:
        mask = where.mask(attempt)
        new = {day: rewrite(day) for day in attempt.market.sessions}
        old = attempt.market.days.tolist()
        days = [new[day] if hit else day for day, hit in zip(old, mask.tolist(), strict=True)]
        put(attempt, "Date", pa.array(days, kind or pa.date32()))

    return change


def dates_as(kind: pa.DataType) -> Change:
    """Dates in another type."""
    return lambda attempt: put(attempt, "Date", attempt.table["Date"].cast(pa.timestamp("us")).cast(kind))


def date_number(value: int) -> Change:
    """One date as a number of days since 1970."""

    def change(attempt: Attempt) -> None:
        days = attempt.table["Date"].cast(pa.int32()).to_numpy().copy()
        days[-1] = value
        put(attempt, "Date", pa.array(days).cast(pa.date32()))

    return change


def column(name: str, values: Callable[[Attempt], Any]) -> Change:
    """A column with other values, or one more column."""
    return lambda attempt: put(attempt, name, values(attempt))
