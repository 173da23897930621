"""Months that Airflow publishes are compared byte by byte with those of the plain steps: both draw their charts."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def charts() -> None:
    """Charts as they are published."""
