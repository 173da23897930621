"""Step mark-ledger: every published month filled and marked, session by session, in the store."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import pandas as pd

from apex_tasks.dataset.schema import DatasetFile, open_dataset
from apex_tasks.dataset.session_days import last_session
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.performance.request import PerformanceRequest
from apex_tasks.performance.stored_ledgers import (
    DAILY_FILE,
    FILLS_FILE,
    LEDGER_FILE,
    LEDGERS,
    MONTHS_FILE,
    LedgerDocument,
    LedgerHashes,
    LedgerMonthRow,
)
from apex_tasks.portfolio.daily_rows import daily_rows
from apex_tasks.portfolio.delisting import DELISTED_AFTER_SESSIONS, DelistedName, delisted_names
from apex_tasks.portfolio.orders import Order
from apex_tasks.published.ledger import (
    LedgerMonth,
    PublishedLedger,
    published_chain,
    read_published_ledger,
)
from apex_tasks.store import Artifact, Store, canonical_json, content_key
from apex_tasks.tables import csv_bytes

FORMAT = 2
"""Counts up when the files change their form or meaning, so that a ledger in an older one is made again."""


class LedgerReference(FrozenModel):
    """A ledger in the store.

    Attributes
    ----------
    name
        Folder below `ledger/`: the last session and the key.
    content_hash
        Hash of all that it holds.
    dataset_sha256
        Hash of the dataset that it was marked with.
    last_session
        Last session of the dataset that it knows.
    sessions
        Sessions on which the book was marked; 0 until the first month is filled.
    months
        Published months in it.
    cached
        It was in the store already.
    """

    name: str
    content_hash: str
    dataset_sha256: str
    last_session: dt.date
    sessions: int
    months: int
    cached: bool


def mark_ledger(request: PerformanceRequest, store: Store) -> LedgerReference:
    """Fill and mark every published month up to the dataset's last session, or find that in the store.

    The key covers the dataset's content, its last session up to `until`, and the published versions: the same inputs
    leave the same bytes, and a day without a new session finds what is there.

    Raises
    ------
    Refusal
        Nothing is published up to `until`, or the dataset cannot be read.
    """
    dataset = open_dataset(request.dataset)
    chain, _ = published_chain(store, request.until)
    first = chain[0].as_of
    last = max(last_session(dataset, request.until) or first, first)
    key = content_key(
        format=FORMAT,
        dataset=dataset.sha256,
        last_session=last,
        chain=[(portfolio.name, portfolio.content_hash) for portfolio in chain],
    )
    name = f"{last}-{key}"
    stored = store.find(LEDGERS, name)
    artifact = stored or _mark(request, store, name, dataset, last)
    return LedgerReference(
        name=name,
        content_hash=artifact.content_hash,
        dataset_sha256=dataset.sha256,
        last_session=last,
        cached=stored is not None,
        **artifact.details,
    )


def _mark(
    request: PerformanceRequest, store: Store, name: str, dataset: DatasetFile, last: dt.date
) -> Artifact:
    ledger = read_published_ledger(store, dataset, request.until)
    document = _document(ledger, dataset.sha256, last, dataset.synthetic)
    return store.write(
        LEDGERS,
        name,
        files={
            DAILY_FILE: csv_bytes(_daily_table(ledger)),
            FILLS_FILE: csv_bytes(_fills_table(ledger)),
            MONTHS_FILE: csv_bytes(pd.DataFrame([_month_row(month).model_dump() for month in ledger.months])),
            LEDGER_FILE: canonical_json(document.model_dump(mode="json")),
        },
        details={"sessions": len(ledger.days), "months": len(ledger.months)},
    )


def _daily_table(ledger: PublishedLedger) -> pd.DataFrame:
    """One row per session; `portfolio` is the month whose book it is."""
    names = {month.portfolio.rebalance_date: month.portfolio.name for month in ledger.months}
    rows = [
        {
            **row.model_dump(mode="json"),
            "portfolio": names.get(day.book.rebalance_date) if day.book.rebalance_date else None,
            "split_codes": " ".join(day.split_codes),
            "delisted": " ".join(day.delisted),
        }
        for row, day in zip(daily_rows(ledger.days) if ledger.days else (), ledger.days, strict=True)
    ]
    columns = ["date", "portfolio_value", "cash", "daily_return", "cost_jpy", "dividends_jpy", "positions"]
    return pd.DataFrame(rows, columns=[*columns, "portfolio", "split_codes", "delisted"])


def _fills_table(ledger: PublishedLedger) -> pd.DataFrame:
    """One row per trade, buys before sells, by Code."""
    rows = [
        {"date": month.fills.as_of, "portfolio": month.portfolio.name, **row.model_dump(mode="json")}
        for month in ledger.months
        if month.fills is not None
        for row in month.fills.rows
    ]
    return pd.DataFrame(rows, columns=["date", "portfolio", *Order.model_fields])


def _month_row(month: LedgerMonth) -> LedgerMonthRow:
    ordered, traded, fills = month.portfolio.orders(), month.traded, month.fills
    return LedgerMonthRow(
        portfolio=month.portfolio.name,
        as_of=ordered.as_of,
        filled_on=None if fills is None else fills.as_of,
        value_before_jpy=None if traded is None else traded.portfolio_value_jpy,
        positions=len((traded or ordered).book.positions),
        trades=None if traded is None else len(traded.rows),
        turnover=None if traded is None else traded.turnover,
        cost_jpy=None if traded is None else traded.total_cost_jpy,
        estimated_turnover=ordered.turnover,
        estimated_cost_jpy=ordered.total_cost_jpy,
        unfilled_buys="" if fills is None else " ".join(fills.unpriced_buys),
        stale_sells="" if fills is None else " ".join(fills.stale_sells),
    )


def _document(ledger: PublishedLedger, dataset_sha256: str, last: dt.date, synthetic: bool) -> LedgerDocument:
    days, delisted = ledger.days, delisted_names(ledger.days)
    return LedgerDocument(
        synthetic=synthetic,
        last_session=last,
        first_marked=days[0].session if days else None,
        last_marked=days[-1].session if days else None,
        sessions=len(days),
        capital_jpy=ledger.capital_jpy,
        performance=ledger.performance() if days else None,
        dividends_jpy=math.fsum(day.dividends_jpy for day in days),
        delisted=delisted,
        warnings=(*ledger.warnings, *_fill_warnings(ledger), *_delisting_warnings(delisted)),
        hashes=LedgerHashes(
            dataset=dataset_sha256,
            portfolios={month.portfolio.name: month.portfolio.content_hash for month in ledger.months},
        ),
    )


def _fill_warnings(ledger: PublishedLedger) -> list[str]:
    warnings = []
    for month in ledger.months:
        if month.traded is None:
            warnings.append(f"{month.portfolio.name}: no closes of its day yet, its orders are not filled")
        elif month.fills is None:
            warnings.append(f"{month.portfolio.name}: no closes of its day, its orders count as estimated")
        elif month.fills.unpriced_buys:
            warnings.append(
                f"{month.portfolio.name}: not filled, no close that day: {', '.join(month.fills.unpriced_buys)}"
            )
    return warnings


def _delisting_warnings(delisted: Sequence[DelistedName]) -> list[str]:
    return [
        f"{name.code} had no row for {DELISTED_AFTER_SESSIONS} sessions and counts as cash at its last price of "
        f"{name.last_price_date}, {name.last_price_jpy:g} JPY"
        for name in delisted
    ]
