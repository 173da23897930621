"""What the report reads: a month's tables, and the ranks of the month before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import pandas as pd

from apex_tasks.dataset.schema import CODE
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.orders import Orders
from apex_tasks.portfolio.selection import RANK
from apex_tasks.published.history import History
from apex_tasks.published.portfolio import BOOK_FILE, HISTORY_FILE, PORTFOLIO_FILE, SCORES_FILE, BookDocument
from apex_tasks.published.run_document import RunDocument
from apex_tasks.store import Artifact
from apex_tasks.tables import read_csv, read_table


@dataclass(frozen=True, eq=False)
class ReportedMonth:
    """A month as its files have it.

    Attributes
    ----------
    run
        Content of run.json.
    scores
        `Code`, `Score`, `Rank` of all eligible stocks, best first.
    positions
        portfolio.csv.
    before, orders
        The book before the trades, and the trades, which are those of orders.csv.
    history
        The chain up to this month.
    ranks
        Code -> rank of this month.
    parent_ranks
        Code -> rank of the month before; empty without a parent.
    """

    run: RunDocument
    scores: pd.DataFrame
    positions: pd.DataFrame
    before: Book
    orders: Orders
    history: History
    ranks: Mapping[str, int]
    parent_ranks: Mapping[str, int]

    @classmethod
    def read(cls, run: RunDocument, plan: Artifact, parent: Artifact | None) -> Self:
        """Read the files, each checked against its manifest."""
        scores = read_table(plan, SCORES_FILE)
        book = plan.read_document(BOOK_FILE, BookDocument)
        return cls(
            run=run,
            scores=scores,
            positions=read_csv(plan, PORTFOLIO_FILE),
            before=book.before,
            orders=book.orders,
            history=plan.read_document(HISTORY_FILE, History),
            ranks=_ranks(scores),
            parent_ranks={} if parent is None else _ranks(read_table(parent, SCORES_FILE)),
        )

    @property
    def held(self) -> Mapping[str, object]:
        """The names in the book after the trades."""
        return self.orders.book.positions


def _ranks(scores: pd.DataFrame) -> dict[str, int]:
    return dict(zip(scores[CODE], scores[RANK].tolist(), strict=True))
