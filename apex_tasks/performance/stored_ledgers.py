"""Ledgers in the store: `ledger/<last session>-<key>`, what their files say, and how to read them back."""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import numpy.typing as npt
import pandas as pd

from apex_tasks.frozen_model import StoredDocument
from apex_tasks.portfolio.delisting import DelistedName
from apex_tasks.statistics.performance import Performance
from apex_tasks.store import Artifact

LEDGERS = "ledger"
DAILY_FILE, FILLS_FILE, MONTHS_FILE, LEDGER_FILE = "daily.csv", "fills.csv", "months.csv", "ledger.json"


class LedgerHashes(StoredDocument):
    """SHA-256 of the dataset, and the content of each published month by its name."""

    dataset: str
    portfolios: dict[str, str]


class LedgerDocument(StoredDocument):
    """Content of ledger.json.

    Attributes
    ----------
    synthetic
        The dataset says that it is made up.
    last_session
        Last session of the dataset.
    first_marked, last_marked, sessions
        Sessions on which the book was marked; None and 0 until the first month is filled.
    capital_jpy
        Value of the book that the first month starts from, cash and positions.
    performance
        Figures in the conventions of the benchmark; None without a session.
    dividends_jpy
        All that were paid.
    delisted
        By the session on which they were first counted as cash.
    warnings
        What a reader must know of the ledger.
    hashes
        What the ledger was made of.
    """

    synthetic: bool
    last_session: dt.date
    first_marked: dt.date | None
    last_marked: dt.date | None
    sessions: int
    capital_jpy: float
    performance: Performance | None
    dividends_jpy: float
    delisted: tuple[DelistedName, ...]
    warnings: tuple[str, ...]
    hashes: LedgerHashes


class LedgerMonthRow(StoredDocument):
    """One row of months.csv: a published month, as it was ordered and as it was filled.

    Attributes
    ----------
    portfolio, as_of
        Its name, and the session whose close decided.
    filled_on, value_before_jpy, trades, turnover, cost_jpy
        Of the fills; None until it is filled, and all but the day as estimated where the dataset skips the day.
    positions
        Names held afterwards.
    estimated_turnover, estimated_cost_jpy
        As the orders said at the as-of close.
    unfilled_buys, stale_sells
        Codes without a close on the day, separated by spaces.
    """

    portfolio: str
    as_of: dt.date
    filled_on: dt.date | None
    value_before_jpy: float | None
    positions: int
    trades: int | None
    turnover: float | None
    cost_jpy: float | None
    estimated_turnover: float
    estimated_cost_jpy: float
    unfilled_buys: str
    stale_sells: str


def read_ledger(ledger: Artifact) -> LedgerDocument:
    """Read ledger.json.

    Raises
    ------
    Refusal
        It was changed after it was written, or is none.
    """
    return ledger.read_document(LEDGER_FILE, LedgerDocument)


def read_daily_returns(ledger: Artifact) -> npt.NDArray[np.float64]:
    """Daily returns in percent without the first session's, `(n_returns,)`; see `read_ledger`."""
    return _read_table(ledger, DAILY_FILE)["daily_return"].to_numpy()[1:]


def read_turnovers(ledger: Artifact) -> dict[str, float | None]:
    """One-way turnover of the fills by month, oldest first; None until it is filled. See `read_ledger`."""
    months = _read_table(ledger, MONTHS_FILE)
    turnovers = months["turnover"].astype(float)
    return {
        name: None if np.isnan(turnover) else turnover
        for name, turnover in zip(months["portfolio"], turnovers, strict=True)
    }


def _read_table(ledger: Artifact, name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(ledger.read_bytes(name)))
