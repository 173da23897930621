"""Reports with their charts drawn, as in production."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_market import SmallMarket, run_chain


@pytest.fixture(scope="module", autouse=True)
def charts() -> None:
    """Drawn."""


@pytest.fixture(scope="session")
def chain(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with four consecutive months published, their charts drawn; never to be changed."""
    home = tmp_path_factory.mktemp("drawn_chain")
    run_chain(market, home)
    return home
