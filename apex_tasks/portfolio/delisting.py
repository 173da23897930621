"""The delisting rule: a held stock without a row for `DELISTED_AFTER_SESSIONS` sessions is taken for delisted.

A row without a price is a row: a listed stock that does not trade is not delisted.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import CODE, DATE
from apex_tasks.frozen_model import StoredDocument
from apex_tasks.portfolio.book import Book, Position

if TYPE_CHECKING:
    from apex_tasks.portfolio.ledger import LedgerDay

DELISTED_AFTER_SESSIONS = 20
"""A held stock without a row for this many sessions is taken for delisted."""


class Listings:
    """For how many sessions stocks have had no row.

    Parameters
    ----------
    history
        Rows of the stocks that may be held.
    sessions
        Sessions of the whole dataset, ascending.
    """

    def __init__(self, history: PriceHistory, sessions: Sequence[dt.date]) -> None:
        self._sessions = sessions
        self._rows: dict[str, list[dt.date]] = {}
        for code, day in zip(history.frame[CODE], history.frame[DATE], strict=True):
            self._rows.setdefault(code, []).append(day)

    def delisted(self, book: Book, session: dt.date) -> tuple[str, ...]:
        """Held stocks that are taken for delisted on a session, by Code."""
        return tuple(code for code in book.positions if self.is_delisted(code, session))

    def is_delisted(self, code: str, session: dt.date) -> bool:
        """Whether a stock is taken for delisted on a session."""
        return self._absent(code, session) >= DELISTED_AFTER_SESSIONS

    def _absent(self, code: str, session: dt.date) -> int:
        rows = self._rows.get(code, [])
        seen = bisect_right(rows, session)
        since = bisect_right(self._sessions, rows[seen - 1]) if seen else 0
        return bisect_right(self._sessions, session) - since


class DelistedName(StoredDocument):
    """A held name that is taken for delisted, with the price that it is kept at.

    Attributes
    ----------
    counted_as_cash_on
        First session on which it was taken for delisted; in `same_close` timing it stays a position, as in v0.1.0.
    last_price_jpy, last_price_date, value_jpy
        Its last price, the session of it, and what the book held at that price.
    """

    code: str
    counted_as_cash_on: dt.date
    last_price_jpy: float
    last_price_date: dt.date
    value_jpy: float

    @classmethod
    def of(cls, code: str, session: dt.date, held: Position) -> Self:
        """A position that is taken for delisted from a session on."""
        return cls(
            code=code,
            counted_as_cash_on=session,
            last_price_jpy=held.last_price_jpy,
            last_price_date=held.price_date,
            value_jpy=held.value_jpy,
        )


def delisted_names(days: Iterable[LedgerDay]) -> tuple[DelistedName, ...]:
    """Held names that a ledger takes for delisted, by the session on which it first does, then by Code."""
    found: dict[str, DelistedName] = {}
    for day in days:
        for code in day.delisted:
            if code not in found:
                found[code] = DelistedName.of(code, day.session, day.book.positions[code])
    return tuple(found.values())


def unnoticed_delisted_names(
    days: Sequence[LedgerDay], history: PriceHistory, sessions: Sequence[dt.date]
) -> tuple[DelistedName, ...]:
    """The same of a ledger that keeps every name as a position: what v0.1.0's accounting did not look at.

    Parameters
    ----------
    history, sessions
        See `Listings`; rows of other stocks do no harm.
    """
    stale = {code for day in days for code in day.book.stale_codes}
    listings = Listings(history.of(stale), sessions)
    found: dict[str, DelistedName] = {}
    for day in days:
        for code in day.book.stale_codes:
            if code not in found and listings.is_delisted(code, day.session):
                found[code] = DelistedName.of(code, day.session, day.book.positions[code])
    return tuple(found.values())
