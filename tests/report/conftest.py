"""Charts drawn as in production, and one home of reports with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_market import SmallMarket, run_chain


@pytest.fixture(scope="module", autouse=True)
def charts() -> None:
    """Drawn."""


@pytest.fixture(scope="session")
def drawn_chain(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home `chain` with its charts drawn; never to be changed."""
    home = tmp_path_factory.mktemp("drawn_chain")
    run_chain(market, home)
    return home
