"""Tables as bytes: the same for the same content, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from apex_tasks.store import Store
from apex_tasks.tables import csv_bytes, parquet_bytes, read_csv, read_table

TABLE = pd.DataFrame(
    {
        "code": ["13010", "00120"],
        "sector": ["0050", None],
        "weight": [0.1 + 0.2, 1e-17],
        "score": np.array([0.5, -1.5], dtype=np.float32),
    }
)


def test_codes_keep_their_zeros_and_floats_their_digits(tmp_path: Path) -> None:
    written = Store(tmp_path).write("a", files={"t.csv": csv_bytes(TABLE), "t.parquet": parquet_bytes(TABLE)})
    text = read_csv(written, "t.csv")
    assert text["code"].tolist() == ["13010", "00120"]
    assert text["weight"].tolist() == TABLE["weight"].tolist()
    assert text["sector"].isna().tolist() == [False, True]
    table = read_table(written, "t.parquet")
    assert table["score"].dtype == np.float32
    assert table["weight"].tolist() == TABLE["weight"].tolist()


def test_the_same_table_gives_the_same_bytes() -> None:
    assert csv_bytes(TABLE) == csv_bytes(TABLE.copy())
    assert parquet_bytes(TABLE) == parquet_bytes(TABLE.copy())
    assert b"\r" not in csv_bytes(TABLE)
