"""The ledger: a book brought forward session by session, from its orders to what became of them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from apex_tasks.dataset.prices.daily_prices import ADJUSTMENT, ADV
from apex_tasks.dataset.prices.earlier_prices import earlier_prices_of, new_histories_of
from apex_tasks.dataset.prices.price_history import PriceHistory
from apex_tasks.dataset.schema import CLOSE, CODE, DATE
from apex_tasks.market.costs import CostModel
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.delisting import Listings
from apex_tasks.portfolio.dividends import AdjustedClose, dividends_per_share
from apex_tasks.portfolio.orders import Orders, settle
from apex_tasks.portfolio.splits import share_factors
from apex_tasks.refusal import Refusal

MAX_MOVE = 10.0
"""Most that a held stock's value may change by on the session of a split, as a factor, up or down."""


@dataclass(frozen=True)
class LedgerDay:
    """One session of the ledger.

    Attributes
    ----------
    session
        Its date.
    book
        The book at its close, after the session's fills.
    fills
        What was traded at its close; None when nothing was due.
    dividends_jpy
        Dividends of stocks that were held over night, paid into the cash.
    split_codes
        Held stocks whose number of shares changed.
    delisted
        Held stocks that are taken for delisted, see `portfolio.delisting`. The book keeps them at their last price,
        as the orders of the next rebalance do; the ledger counts them as cash.
    """

    session: dt.date
    book: Book
    fills: Orders | None
    dividends_jpy: float = 0.0
    split_codes: tuple[str, ...] = ()
    delisted: tuple[str, ...] = ()

    @property
    def cash_jpy(self) -> float:
        """Cash, with the names taken for delisted closed at their last price."""
        positions = self.book.positions
        return math.fsum((self.book.cash_jpy, *(positions[code].value_jpy for code in self.delisted)))


@dataclass(frozen=True)
class CarriedBook:
    """A book brought forward to a session.

    Attributes
    ----------
    book
        The book, valued at every position's latest close.
    days
        The sessions from the fill on, oldest first; the first without the fill day's closes is the one after.
    fills
        The orders as they were filled; None when the data have no closes of the fill day, so that they count
        as estimated.
    replaced
        Positions whose codes are another company's by now: they keep their last price.
    """

    book: Book
    days: tuple[LedgerDay, ...]
    fills: Orders | None
    replaced: tuple[str, ...] = ()


def carry_forward(
    before: Book,
    ordered: Orders,
    fill_date: dt.date,
    history: PriceHistory,
    until: dt.date,
    earlier: pd.DataFrame | None = None,
    new_histories: Mapping[str, dt.date] = MappingProxyType({}),
) -> CarriedBook:
    """Fill a rebalance's orders and bring the book forward to the close of `until`.

    The ordered numbers of shares fill at the closes of `fill_date`, see `settle`. From then on, each session: shares
    follow splits, dividends become cash, and every position is valued at its close, or at its last one where the
    stock did not trade.

    Parameters
    ----------
    before
        Book that the orders were made from, valued at `ordered.as_of`.
    ordered
        The orders, and the book that they were expected to lead to.
    fill_date
        Session on which they trade.
    history
        Prices from `ordered.as_of` to `until`; later ones are not looked at.
    earlier
        Last rows before these prices of stocks that were suspended since, see `dataset.prices.earlier_prices`: what a
        split in the meantime is seen by. One older than the price in the book is not looked at.
    new_histories
        Code -> first day of its newest history, see `dataset.code_histories`. A position that was priced before it is
        one of another company: from that day on the code has no row, so that its shares keep their last price.

    Raises
    ------
    Refusal
        A split does not fit the closes around it; see also `settle` and `Book.mark`.
    """
    history = history.between(dt.date.min, until)
    all_sessions = history.sessions()
    sessions = [day for day in all_sessions if day >= fill_date]
    history = history.of(before.positions.keys() | {order.code for order in ordered.rows})
    replaced = _replaced(before, ordered, new_histories)
    history = history.before(replaced)
    adjustments = _Adjustments(history, ordered.as_of, _of_positions(earlier, before))
    listings = Listings(history, all_sessions)
    days: list[LedgerDay] = []
    fills, book = None, ordered.book
    if sessions and sessions[0] == fill_date:
        factors, dividends = adjustments.until(fill_date)
        paid = _paid(before, dividends)
        fills = settle(
            _with_cash(before, paid),
            ordered,
            history.on(fill_date, CLOSE),
            fill_date,
            factors,
            history.on(fill_date, ADV),
            CostModel(),
        )
        book = fills.book
        split = _split_codes(before, factors)
        days.append(LedgerDay(fill_date, book, fills, paid, split, listings.delisted(book, fill_date)))
    for session in sessions[len(days) :]:
        factors, dividends = adjustments.until(session)
        paid, split = _paid(book, dividends), _split_codes(book, factors)
        book = _with_cash(book, paid).roll(factors).mark(history.on(session, CLOSE), session)
        days.append(LedgerDay(session, book, None, paid, split, listings.delisted(book, session)))
    kept = tuple(code for code in book.positions if code in replaced)
    return CarriedBook(book.mark({}, until), tuple(days), fills, kept)


def carry_forward_from(
    start: dt.date, before: Book, ordered: Orders, fill_date: dt.date, history: PriceHistory, until: dt.date
) -> CarriedBook:
    """As `carry_forward`, with prices from `start` on; the longer history tells what was before them."""
    codes = before.positions.keys() | {order.code for order in ordered.rows}
    return carry_forward(
        before,
        ordered,
        fill_date,
        history.between(start, until),
        until,
        earlier_prices_of(history, before.priced_before(start), start, until),
        new_histories_of(history, codes, min(start, before.oldest_price_date), until),
    )


class _Adjustments:
    """Splits and dividends of some stocks since the session that was asked about before."""

    def __init__(self, history: PriceHistory, start: dt.date, earlier: Mapping[str, AdjustedClose]) -> None:
        self._history = history
        self._known = {**earlier, **_adjusted_closes(history.latest_rows(start, ADJUSTMENT))}

    def until(self, session: dt.date) -> tuple[dict[str, float], dict[str, float]]:
        """Share factors and dividends per old share from the session before to this one."""
        today = _adjusted_closes(self._history.between(session, session).latest_rows(session, ADJUSTMENT))
        factors = share_factors(
            {code: row.ratio for code, row in self._known.items()},
            {code: row.ratio for code, row in today.items()},
        )
        for code, factor in factors.items():
            _require_fit(code, session, factor, self._known[code], today[code])
        dividends = dividends_per_share(self._known, today)
        self._known |= today
        return factors, dividends


def _require_fit(
    code: str, session: dt.date, factor: float, before: AdjustedClose, after: AdjustedClose
) -> None:
    """Refuse a split that the raw closes do not show: it would multiply money that is not there."""
    move = factor * after.close_jpy / before.close_jpy
    if not 1 / MAX_MOVE <= move <= MAX_MOVE:
        raise Refusal(
            "a split does not fit the closes around it",
            expected=f"a close of about {before.close_jpy / factor:g} JPY after {factor:g} new shares per old one",
            received=f"{after.close_jpy:g} JPY after {before.close_jpy:g} JPY",
            where=f"Code {code}, {session}, Close and AdjustmentClose",
            remedy="Have AdjustmentClose of that stock corrected: it has changed its unit or its base.",
        )


def _adjusted_closes(rows: pd.DataFrame) -> dict[str, AdjustedClose]:
    closes = rows[CLOSE].tolist()
    return {
        code: AdjustedClose(close, ratio * close)
        for code, close, ratio in zip(rows[CODE], closes, rows[ADJUSTMENT].tolist(), strict=True)
    }


def _replaced(before: Book, ordered: Orders, new_histories: Mapping[str, dt.date]) -> dict[str, dt.date]:
    """The codes whose shares in the book are older than the code's newest history, and the first day of that."""
    priced = {order.code: ordered.as_of for order in ordered.rows}
    priced |= {code: held.price_date for code, held in before.positions.items()}
    return {code: day for code, day in new_histories.items() if code in priced and priced[code] < day}


def _of_positions(earlier: pd.DataFrame | None, book: Book) -> dict[str, AdjustedClose]:
    if earlier is None:
        return {}
    days = dict(zip(earlier[CODE], earlier[DATE], strict=True))
    known = [code for code, held in book.positions.items() if code in days and days[code] >= held.price_date]
    return _adjusted_closes(earlier[earlier[CODE].isin(known)])


def _paid(book: Book, dividends: Mapping[str, float]) -> float:
    return math.fsum(
        held.shares * dividends[code] for code, held in book.positions.items() if code in dividends
    )


def _split_codes(book: Book, factors: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(code for code in book.positions if code in factors)


def _with_cash(book: Book, paid_jpy: float) -> Book:
    if not paid_jpy:
        return book
    return Book.of(
        rebalance_date=book.rebalance_date,
        as_of=book.as_of,
        cash_jpy=book.cash_jpy + paid_jpy,
        positions=book.positions,
    )
