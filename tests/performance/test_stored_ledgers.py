"""Ledgers in the store: what is written comes back, what a later version adds is kept, what is damaged is refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from apex_tasks.performance.stored_ledgers import (
    DAILY_FILE,
    LEDGER_FILE,
    LEDGERS,
    MONTHS_FILE,
    LedgerDocument,
    LedgerHashes,
    read_daily_returns,
    read_ledger,
    read_turnovers,
)
from apex_tasks.portfolio.delisting import DelistedName
from apex_tasks.refusal import Refusal
from apex_tasks.store import Artifact, Store, canonical_json
from apex_tasks.tables import csv_bytes

DOCUMENT = LedgerDocument(
    synthetic=True,
    last_session=dt.date(2025, 10, 10),
    first_marked=dt.date(2025, 7, 1),
    last_marked=dt.date(2025, 10, 10),
    sessions=3,
    capital_jpy=1e7,
    performance=None,
    dividends_jpy=12.5,
    delisted=(
        DelistedName(
            code="13010",
            counted_as_cash_on=dt.date(2025, 9, 8),
            last_price_jpy=100.0,
            last_price_date=dt.date(2025, 8, 8),
            value_jpy=1e4,
        ),
    ),
    warnings=("one",),
    hashes=LedgerHashes(dataset="d", portfolios={"2025-07-01/v1": "p"}),
)


def stored(home: Path, content: bytes) -> Artifact:
    daily = pd.DataFrame(
        {"date": ["2025-07-01", "2025-07-02", "2025-07-03"], "daily_return": [0.0, 1.5, -0.5]}
    )
    months = pd.DataFrame({"portfolio": ["2025-07-01/v1", "2025-08-01/v1"], "turnover": [0.5, None]})
    files = {LEDGER_FILE: content, DAILY_FILE: csv_bytes(daily), MONTHS_FILE: csv_bytes(months)}
    return Store(home).write(LEDGERS, "2025-10-10-key", files=files)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    artifact = stored(tmp_path, canonical_json(DOCUMENT.model_dump(mode="json")))
    assert read_ledger(artifact) == DOCUMENT


def test_a_field_of_a_later_version_is_kept(tmp_path: Path) -> None:
    content = canonical_json({**DOCUMENT.model_dump(mode="json"), "mood": "good"})
    assert canonical_json(read_ledger(stored(tmp_path, content)).model_dump(mode="json")) == content


def test_returns_leave_out_the_first_session_and_unfilled_months_have_no_turnover(tmp_path: Path) -> None:
    artifact = stored(tmp_path, b"{}")
    assert read_daily_returns(artifact).tolist() == [1.5, -0.5]
    assert read_turnovers(artifact) == {"2025-07-01/v1": 0.5, "2025-08-01/v1": None}


def test_months_that_are_all_unfilled_can_be_read(tmp_path: Path) -> None:
    months = pd.DataFrame({"portfolio": ["2025-07-01/v1"], "turnover": [None]})
    artifact = Store(tmp_path).write(LEDGERS, "k", files={MONTHS_FILE: csv_bytes(months)})
    assert read_turnovers(artifact) == {"2025-07-01/v1": None}


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"", "Invalid JSON"),
        (b"[]", "Input should be an object"),
        (b"{}", "synthetic: Field required"),
        (b'{"synthetic": "perhaps"}', "synthetic: Input should be a valid boolean"),
    ],
)
def test_a_document_that_is_none_is_refused_in_one_line(
    tmp_path: Path, content: bytes, received: str
) -> None:
    with pytest.raises(Refusal, match=rf"cannot be read.*received={received}.*ledger\.json"):
        read_ledger(stored(tmp_path, content))


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    artifact = stored(tmp_path, canonical_json(DOCUMENT.model_dump(mode="json")))
    with (artifact.folder / DAILY_FILE).open("ab") as file:
        file.write(b"x")
    with pytest.raises(Refusal, match="changed after it was written"):
        read_daily_returns(artifact)
