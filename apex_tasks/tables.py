"""Tables as bytes, the same for the same content."""

from __future__ import annotations

import io

import pandas as pd

from apex_tasks.store import Artifact


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Encode a table as parquet."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Encode a table as csv; floats have the digits that read back to the same value."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def read_table(artifact: Artifact, name: str) -> pd.DataFrame:
    """Read a parquet file of an artifact, checked against its manifest."""
    return pd.read_parquet(io.BytesIO(artifact.read_bytes(name)))


def read_csv(artifact: Artifact, name: str) -> pd.DataFrame:
    """Read a csv file of an artifact, checked against its manifest; codes stay strings."""
    return pd.read_csv(io.BytesIO(artifact.read_bytes(name)), dtype={"code": str, "sector": str})
