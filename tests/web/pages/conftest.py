"""The pages on a store of the test's choice."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from apex_tasks.web.pages.run_banner import RunState
from tests.support.pages import Serve, client
from tests.support.small_market import (
    REBALANCES,
    home_after,
)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Mount the pages on a store, with the runs that a test makes up; any exception fails the test."""

    def mounted(home: Path, **runs: RunState) -> TestClient:
        monkeypatch.setenv("APEX_HOME", str(home))
        return client(lambda _dag, run_id, _airflow: runs.get(run_id))

    return mounted


@pytest.fixture
def copied(chain: Path, tmp_path: Path) -> Path:
    """A home of four months that a test may damage."""
    return home_after(chain, tmp_path / "home", *REBALANCES)
