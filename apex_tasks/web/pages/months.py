"""The published months as a table: one look at run.json each."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from apex_tasks.published.portfolio import (
    ORDERS_FILE,
    PORTFOLIO_FILE,
    PORTFOLIOS,
    REPORT_FILE,
    PublishedPortfolio,
    rebalance_dates,
    version_numbers,
)
from apex_tasks.published.run_document import RUN_FILE
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store
from apex_tasks.web.pages.published_files import PortfolioName
from apex_tasks.web.pages.verdict_badge import DAMAGED, Mark, mark_of

LISTED_FILES = (REPORT_FILE, PORTFOLIO_FILE, ORDERS_FILE, RUN_FILE)


@dataclass(frozen=True)
class MonthRow:
    """The newest version of a published month.

    Attributes
    ----------
    name
        `<rebalance date>/v<version>`.
    earlier
        Names of its complete earlier versions, newest first.
    files
        Names of what can be opened or fetched.
    turnover, cost_bps, value_jpy
        One-way turnover (fraction), expected cost, value before trading; None where run.json is damaged.
    off_cycle
        Why the book belongs to no month; None for a month's.
    problem
        What is wrong with the folder; None if nothing.
    """

    name: str
    rebalance_date: dt.date
    verdict: Mark
    earlier: tuple[str, ...]
    synthetic: bool = False
    positions: int | None = None
    turnover: float | None = None
    cost_bps: float | None = None
    value_jpy: float | None = None
    files: tuple[str, ...] = ()
    off_cycle: str | None = None
    problem: str | None = None


def list_months(store: Store) -> list[MonthRow]:
    """Every published month, newest first; a damaged one is listed as such and hides no other.

    Raises
    ------
    Refusal
        The store cannot be read, or holds a folder that is no month.
    """
    rows = (_row(store, day) for day in reversed(rebalance_dates(store)))
    return [row for row in rows if row is not None]


def _row(store: Store, day: dt.date) -> MonthRow | None:
    versions = [(number, _look(store, day, number)) for number in reversed(version_numbers(store, day))]
    complete = [(number, found) for number, found in versions if found is not None]
    if not complete:
        return None
    (number, newest), *older = complete
    earlier = tuple(found.name for _, found in older if isinstance(found, PublishedPortfolio))
    try:
        return _described(newest, earlier)
    except Refusal as refusal:
        name = str(PortfolioName(day, number))
        problem = f"{refusal.what}: {refusal.where}. What to do: {refusal.remedy}"
        return MonthRow(name, day, DAMAGED, earlier, problem=problem)


def _look(store: Store, day: dt.date, number: int) -> PublishedPortfolio | Refusal | None:
    try:
        artifact = store.find(PORTFOLIOS, str(day), f"v{number}")
    except Refusal as refusal:
        return refusal
    return None if artifact is None else PublishedPortfolio(day, number, artifact)


def _described(newest: PublishedPortfolio | Refusal, earlier: tuple[str, ...]) -> MonthRow:
    if isinstance(newest, Refusal):
        raise newest
    run = newest.run()
    return MonthRow(
        name=newest.name,
        rebalance_date=newest.rebalance_date,
        verdict=mark_of(run),
        earlier=earlier,
        synthetic=run.synthetic,
        positions=run.metrics.positions,
        turnover=run.metrics.turnover,
        cost_bps=run.metrics.apex_daily_cost_bps,
        value_jpy=run.metrics.portfolio_value_jpy,
        off_cycle=newest.off_cycle,
        files=tuple(name for name in LISTED_FILES if name in newest.artifact.manifest.files),
    )
