"""The book: cash and positions, what they are worth, and which prices are old."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Annotated, Self, TypeGuard

from pydantic import Field, FiniteFloat, field_validator, model_validator

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.refusal import Refusal

PositiveFinite = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Position(FrozenModel):
    """A holding of one stock.

    Parameters
    ----------
    shares
        Number of shares; the baseline policy trades fractions.
    last_price_jpy
        Latest known close in JPY per share.
    price_date
        Session of that close.
    """

    shares: PositiveFinite
    last_price_jpy: PositiveFinite
    price_date: dt.date

    @property
    def value_jpy(self) -> float:
        """Shares at the latest known close."""
        return self.shares * self.last_price_jpy


class Book(FrozenModel):
    """Cash and positions at a session's close; build one with `Book.cold` or `Book.of`.

    Parameters
    ----------
    rebalance_date
        Day of the rebalance that made the book; None before the first.
    as_of
        Session at whose close the book is valued.
    cash_jpy
        Cash in JPY; costs can take the baseline's slightly below 0.
    positions
        Code -> position, by Code.
    portfolio_value_jpy
        Cash plus positions in JPY; a book that does not add up cannot be built or read.
    """

    rebalance_date: dt.date | None
    as_of: dt.date
    cash_jpy: FiniteFloat
    positions: Mapping[str, Position]
    portfolio_value_jpy: FiniteFloat

    @field_validator("positions")
    @classmethod
    def _by_code(cls, positions: Mapping[str, Position]) -> Mapping[str, Position]:
        return dict(sorted(positions.items()))

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        expected = _value(self.cash_jpy, self.positions)
        if not math.isclose(self.portfolio_value_jpy, expected, rel_tol=1e-9, abs_tol=1e-6):
            raise ValueError(
                f"portfolio_value_jpy: expected={expected} (cash and positions), "
                f"received={self.portfolio_value_jpy}"
            )
        return self

    @classmethod
    def of(
        cls,
        *,
        rebalance_date: dt.date | None,
        as_of: dt.date,
        cash_jpy: float,
        positions: Mapping[str, Position],
    ) -> Book:
        """Book of this cash and these positions, valued at their last prices."""
        return cls(
            rebalance_date=rebalance_date,
            as_of=as_of,
            cash_jpy=cash_jpy,
            positions=positions,
            portfolio_value_jpy=_value(cash_jpy, positions),
        )

    @classmethod
    def cold(cls, capital_jpy: float, as_of: dt.date) -> Book:
        """Book of nothing but cash."""
        return cls.of(rebalance_date=None, as_of=as_of, cash_jpy=capital_jpy, positions={})

    @property
    def stale_codes(self) -> tuple[str, ...]:
        """Codes whose last price is older than `as_of`."""
        return tuple(code for code, held in self.positions.items() if held.price_date < self.as_of)

    @property
    def oldest_price_date(self) -> dt.date:
        """Session of the oldest of the last prices; `as_of` where nothing is held."""
        return min((held.price_date for held in self.positions.values()), default=self.as_of)

    def priced_before(self, day: dt.date) -> tuple[str, ...]:
        """Codes whose last price is older than a day."""
        return tuple(code for code, held in self.positions.items() if held.price_date < day)

    def weights(self) -> dict[str, float]:
        """Code -> position value as a fraction of cash and positions.

        Raises
        ------
        Refusal
            The book is worth nothing.
        """
        if self.portfolio_value_jpy <= 0:
            raise Refusal(
                "the portfolio is worth nothing",
                expected="a value above 0 JPY",
                received=self.portfolio_value_jpy,
                where=f"book of {self.as_of}",
                remedy="Check cash and prices of the last published book, or start cold.",
            )
        return {
            code: position.value_jpy / self.portfolio_value_jpy for code, position in self.positions.items()
        }

    def mark(self, close_jpy: Mapping[str, float], as_of: dt.date) -> Book:
        """Value the book at a session's closes.

        Parameters
        ----------
        close_jpy
            Code -> close in JPY per share; a position without one keeps its last price (see `stale_codes`).
        as_of
            Session of the closes, not before the book's own.

        Raises
        ------
        Refusal
            The session is earlier than the book's.
        """
        if as_of < self.as_of:
            raise Refusal(
                "a book cannot be valued in its past",
                expected=f"a session from {self.as_of}",
                received=as_of,
                where="book",
                remedy="Start from the book that was published before that session.",
            )
        return Book.of(
            rebalance_date=self.rebalance_date,
            as_of=as_of,
            cash_jpy=self.cash_jpy,
            positions={
                code: Position(shares=held.shares, last_price_jpy=close_jpy[code], price_date=as_of)
                if is_price(close_jpy.get(code))
                else held
                for code, held in self.positions.items()
            },
        )

    def roll(self, share_factor: Mapping[str, float]) -> Book:
        """Book after splits and consolidations: same value, other numbers of shares.

        Parameters
        ----------
        share_factor
            Code -> new shares per old share, such as 2.0 for a split in two; missing means 1.

        Raises
        ------
        Refusal
            The factor of a position is not a positive number.
        """
        for code in self.positions:
            if not 0 < share_factor.get(code, 1.0) < math.inf:
                raise Refusal(
                    "a split factor is not a positive number",
                    expected="new shares per old share",
                    received=share_factor[code],
                    where=f"Code {code}",
                    remedy="Check AdjustmentClose and Close of that stock in the dataset.",
                )
        return Book.of(
            rebalance_date=self.rebalance_date,
            as_of=self.as_of,
            cash_jpy=self.cash_jpy,
            positions={
                code: Position(
                    shares=held.shares * share_factor.get(code, 1.0),
                    last_price_jpy=held.last_price_jpy / share_factor.get(code, 1.0),
                    price_date=held.price_date,
                )
                for code, held in self.positions.items()
            },
        )


def is_price(price_jpy: float | None) -> TypeGuard[float]:
    """Whether something can be traded or valued at this price."""
    return price_jpy is not None and 0 < price_jpy < math.inf


def _value(cash_jpy: float, positions: Mapping[str, Position]) -> float:
    return math.fsum((cash_jpy, *(position.value_jpy for position in positions.values())))
