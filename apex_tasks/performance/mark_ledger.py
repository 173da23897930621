"""Step mark-ledger: every published month filled and marked, session by session, in the store."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pandas as pd

from apex_tasks.dataset.schema import open_dataset
from apex_tasks.dataset.session_days import last_session
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.performance.request import PerformanceRequest
from apex_tasks.portfolio.daily_rows import daily_rows
from apex_tasks.portfolio.delisting import DELISTED_AFTER_SESSIONS, first_delisted
from apex_tasks.portfolio.orders import Order
from apex_tasks.published.ledger import (
    LedgerMonth,
    PublishedLedger,
    published_chain,
    read_published_ledger,
)
from apex_tasks.store import Artifact, Store, canonical_json, content_key, file_sha256
from apex_tasks.tables import csv_bytes

LEDGERS = "ledger"
DAILY_FILE, FILLS_FILE, MONTHS_FILE, LEDGER_FILE = "daily.csv", "fills.csv", "months.csv", "ledger.json"
FORMAT = 1
"""Counts up when the files change their form, so that a ledger in an older one is made anew."""


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
    dataset_sha256 = file_sha256(dataset.path)
    first = chain[0].as_of
    last = max(last_session(dataset, request.until) or first, first)
    key = content_key(
        format=FORMAT,
        dataset=dataset_sha256,
        last_session=last,
        chain=[(portfolio.name, portfolio.content_hash) for portfolio in chain],
    )
    name = f"{last}-{key}"
    stored = store.find(LEDGERS, name)
    artifact = stored or _mark(request, store, name, dataset_sha256, last, dataset.synthetic)
    return LedgerReference(
        name=name,
        content_hash=artifact.content_hash,
        dataset_sha256=dataset_sha256,
        last_session=last,
        cached=stored is not None,
        **artifact.details,
    )


def _mark(
    request: PerformanceRequest, store: Store, name: str, dataset_sha256: str, last: dt.date, synthetic: bool
) -> Artifact:
    ledger = read_published_ledger(store, request.dataset, request.until)
    return store.write(
        LEDGERS,
        name,
        files={
            DAILY_FILE: csv_bytes(_daily_table(ledger)),
            FILLS_FILE: csv_bytes(_fills_table(ledger)),
            MONTHS_FILE: csv_bytes(pd.DataFrame([_month(month) for month in ledger.months])),
            LEDGER_FILE: canonical_json(_document(ledger, dataset_sha256, last, synthetic)),
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


def _month(month: LedgerMonth) -> dict[str, Any]:
    ordered, traded = month.portfolio.orders(), month.traded
    return {
        "portfolio": month.portfolio.name,
        "as_of": ordered.as_of,
        "filled_on": None if month.fills is None else month.fills.as_of,
        "value_before_jpy": None if traded is None else traded.portfolio_value_jpy,
        "positions": len((traded or ordered).book.positions),
        "trades": None if traded is None else len(traded.rows),
        "turnover": None if traded is None else traded.turnover,
        "cost_jpy": None if traded is None else traded.total_cost_jpy,
        "estimated_turnover": ordered.turnover,
        "estimated_cost_jpy": ordered.total_cost_jpy,
        "unfilled_buys": " ".join(month.fills.unpriced_buys) if month.fills is not None else "",
        "stale_sells": " ".join(month.fills.stale_sells) if month.fills is not None else "",
    }


def _document(ledger: PublishedLedger, dataset_sha256: str, last: dt.date, synthetic: bool) -> dict[str, Any]:
    days = ledger.days
    return {
        "synthetic": synthetic,
        "last_session": last,
        "first_marked": days[0].session if days else None,
        "last_marked": days[-1].session if days else None,
        "sessions": len(days),
        "capital_jpy": ledger.capital_jpy,
        "performance": ledger.performance().model_dump(mode="json") if days else None,
        "dividends_jpy": math.fsum(day.dividends_jpy for day in days),
        "delisted": _delisted(ledger),
        "warnings": [*ledger.warnings, *_warnings(ledger)],
        "hashes": {
            "dataset": dataset_sha256,
            "portfolios": {month.portfolio.name: month.portfolio.content_hash for month in ledger.months},
        },
    }


def _delisted(ledger: PublishedLedger) -> list[dict[str, Any]]:
    """Held names that stopped trading, with the price that they count as cash at."""
    books = {day.session: day.book for day in ledger.days}
    return [
        {
            "code": code,
            "counted_as_cash_on": session,
            "last_price_jpy": books[session].positions[code].last_price_jpy,
            "last_price_date": books[session].positions[code].price_date,
            "value_jpy": books[session].positions[code].value_jpy,
        }
        for code, session in first_delisted(ledger.days).items()
    ]


def _warnings(ledger: PublishedLedger) -> list[str]:
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
    warnings += [
        f"{gone['code']} had no row for {DELISTED_AFTER_SESSIONS} sessions and counts as cash at its last price of "
        f"{gone['last_price_date']}, {gone['last_price_jpy']:g} JPY"
        for gone in _delisted(ledger)
    ]
    return warnings
