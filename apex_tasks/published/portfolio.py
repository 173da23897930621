"""Published portfolios in the store: `portfolio/<rebalance date>/v<k>`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from apex_tasks.frozen_model import StoredDocument
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.orders import Orders
from apex_tasks.published.run_document import ExecutionDocument, RunDocument, read_execution, read_run
from apex_tasks.refusal import Refusal
from apex_tasks.store import Artifact, Store

PORTFOLIOS = "portfolio"
SCORES_FILE, PORTFOLIO_FILE, ORDERS_FILE, BOOK_FILE = RESULT_FILES = (
    "scores.parquet",
    "portfolio.csv",
    "orders.csv",
    "book.json",
)
REPORT_FILE = "report.html"
HISTORY_FILE = "history.json"
"""The months and sessions up to this one; months of before it was written lack it."""


class BookDocument(StoredDocument):
    """Content of book.json.

    Attributes
    ----------
    before
        The book that the orders start from, marked at the as-of close.
    orders
        The orders, estimated at the as-of close.
    """

    before: Book
    orders: Orders


class PortfolioDetails(StoredDocument):
    """What the manifest of a published month says of it.

    Attributes
    ----------
    off_cycle
        Why the book belongs to no month; None, and not written, for a month's.
    """

    rebalance_date: dt.date
    as_of: dt.date
    off_cycle: str | None = None


@dataclass(frozen=True)
class PublishedPortfolio:
    """One version of one month's portfolio.

    Attributes
    ----------
    rebalance_date
        Day on which its orders are traded.
    version
        1 for the first publication; a republished month counts up.
    artifact
        Its files.
    """

    rebalance_date: dt.date
    version: int
    artifact: Artifact

    @property
    def name(self) -> str:
        """`<rebalance date>/v<version>`."""
        return f"{self.rebalance_date}/v{self.version}"

    @property
    def as_of(self) -> dt.date:
        """Session whose close decided."""
        return self._details.as_of

    @property
    def off_cycle(self) -> str | None:
        """Why it belongs to no month, so that no month starts from it; None for a month's portfolio."""
        return self._details.off_cycle

    @property
    def content_hash(self) -> str:
        """Identity of the result, without times and run ids."""
        return self.artifact.content_hash

    def run(self) -> RunDocument:
        """Content of run.json."""
        return read_run(self.artifact)

    def execution(self) -> ExecutionDocument:
        """Content of execution.json."""
        return read_execution(self.artifact)

    def book_before(self) -> Book:
        """The book that the orders start from, marked at the as-of close."""
        return self._book().before

    def orders(self) -> Orders:
        """The orders, estimated at the as-of close."""
        return self._book().orders

    @property
    def _details(self) -> PortfolioDetails:
        return PortfolioDetails.model_validate(self.artifact.details)

    def _book(self) -> BookDocument:
        return self.artifact.read_document(BOOK_FILE, BookDocument)


def published_months(store: Store, until: dt.date | None = None) -> list[PublishedPortfolio]:
    """The newest complete version of every month, up to a rebalance date where one is given, oldest first.

    Books beside the months, published off-cycle, are none of them.
    """
    days = [day for day in rebalance_dates(store) if until is None or day <= until]
    return [found for day in days if (found := latest_of_month(store, day)) is not None]


def published_dates(store: Store) -> list[dt.date]:
    """Rebalance dates with at least one complete version, ascending."""
    return [month.rebalance_date for month in published_months(store)]


def latest_version(store: Store, rebalance_date: dt.date) -> PublishedPortfolio | None:
    """The newest complete version of a rebalance day, a month's or off-cycle, or None."""
    return next(_versions(store, rebalance_date), None)


def latest_of_month(store: Store, rebalance_date: dt.date) -> PublishedPortfolio | None:
    """The newest complete version of a month, or None; what was published off-cycle on that day does not count."""
    return next((found for found in _versions(store, rebalance_date) if found.off_cycle is None), None)


def latest_of_kind(store: Store, rebalance_date: dt.date, *, off_cycle: bool) -> PublishedPortfolio | None:
    """The newest complete version of a rebalance day that a run of this kind publishes again, or None."""
    return (latest_version if off_cycle else latest_of_month)(store, rebalance_date)


def _versions(store: Store, rebalance_date: dt.date) -> Iterator[PublishedPortfolio]:
    """The complete versions of a rebalance day, newest first."""
    for number in reversed(version_numbers(store, rebalance_date)):
        artifact = store.find(PORTFOLIOS, str(rebalance_date), f"v{number}")
        if artifact is not None:
            yield PublishedPortfolio(rebalance_date, number, artifact)


def newest_of_month(store: Store, month: str) -> PublishedPortfolio | None:
    """The newest complete version of a month given as `YYYY-MM`, or None."""
    for day in reversed([day for day in rebalance_dates(store) if f"{day:%Y-%m}" == month]):
        if (found := latest_of_month(store, day)) is not None:
            return found
    return None


def last_published_before(store: Store, rebalance_date: dt.date) -> PublishedPortfolio | None:
    """The newest month's portfolio of an earlier rebalance date, or None."""
    for day in reversed([day for day in rebalance_dates(store) if day < rebalance_date]):
        if (found := latest_of_month(store, day)) is not None:
            return found
    return None


def newest_published(store: Store) -> PublishedPortfolio | None:
    """The portfolio of the newest published month, or None."""
    return last_published_before(store, dt.date.max)


def version_numbers(store: Store, rebalance_date: dt.date) -> list[int]:
    """Numbers of a month's version folders, complete or not, ascending."""
    names = store.names(PORTFOLIOS, str(rebalance_date))
    return sorted(int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdigit())


def rebalance_dates(store: Store) -> list[dt.date]:
    """Rebalance dates that have a folder, ascending; a killed publication may have left it without a version.

    Raises
    ------
    Refusal
        A folder has another name than a date.
    """
    names = store.names(PORTFOLIOS)
    try:
        return [dt.date.fromisoformat(name) for name in names]
    except ValueError as error:
        raise Refusal(
            "a folder among the published portfolios is unexpected",
            expected="only rebalance dates, YYYY-MM-DD",
            received=error,
            where=store.root / PORTFOLIOS,
            remedy="Move that folder elsewhere.",
        ) from None
