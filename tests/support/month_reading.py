"""Reads what a month left, without the product."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import pandas as pd

from tests.support.small_market import (
    portfolio,
)


def book(home: Path, rebalance: dt.date) -> dict:
    return portfolio(home, rebalance).read_json("book.json")


def run_document(home: Path, rebalance: dt.date) -> dict:
    return portfolio(home, rebalance).read_json("run.json")


def table(home: Path, rebalance: dt.date, name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(portfolio(home, rebalance).read_bytes(name)), dtype={"code": str})


def results(home: Path, rebalance: dt.date) -> dict[str, bytes]:
    """All published bytes of a month that do not say when and where."""
    published = portfolio(home, rebalance)
    return {name: published.read_bytes(name) for name in published.manifest.files if name != "execution.json"}
