"""The delisting rule: a held stock without a row for `DELISTED_AFTER_SESSIONS` sessions is taken for delisted.

A row without a price is a row: a listed stock that does not trade is not delisted.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import CODE, DATE
from apex_tasks.portfolio.book import Book

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
        return tuple(
            code for code in book.positions if self._absent(code, session) >= DELISTED_AFTER_SESSIONS
        )

    def _absent(self, code: str, session: dt.date) -> int:
        rows = self._rows.get(code, [])
        seen = bisect_right(rows, session)
        since = bisect_right(self._sessions, rows[seen - 1]) if seen else 0
        return bisect_right(self._sessions, session) - since


def first_delisted(days: Iterable[LedgerDay]) -> dict[str, dt.date]:
    """Code -> session on which a held name first counted as delisted, in that order."""
    found: dict[str, dt.date] = {}
    for day in days:
        for code in day.delisted:
            found.setdefault(code, day.session)
    return found
