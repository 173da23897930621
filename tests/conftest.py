"""What all tests share: a scratch Airflow, no settings of the developer's, and one small market."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# In a new checkout the first text that is drawn builds tables of all characters, which takes a second or two.
settings.register_profile(
    "apex", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("apex")

# Before anything imports Airflow, which writes its configuration into its home. Processes that test side by side
# inherit the environment of the one that started them, so each makes its own.
if "AIRFLOW_HOME" not in os.environ or "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="apex-airflow-")
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
for name in [name for name in os.environ if name.startswith("APEX_")]:
    del os.environ[name]

if TYPE_CHECKING:
    from tests.support.baseline_world import World
    from tests.support.small_market import SmallMarket


@pytest.fixture(scope="module", autouse=True)
def charts() -> Iterator[None]:
    """Reports with outlines for charts; a folder or a module whose tests look at charts overrides this."""
    from tests.support.outlined_charts import outlined_charts

    with outlined_charts():
        yield


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> SmallMarket:
    """Small dataset and bundle; never to be changed."""
    from tests.support.small_market import make_market

    return make_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of the local Airflow with a migrated database, to be copied: migrating takes as long as starting."""
    from local_airflow.processes import EmbeddedAirflow

    from tests.support.paths import ROOT

    home = tmp_path_factory.mktemp("migrated")
    EmbeddedAirflow(home, ROOT / "dags", ROOT / "plugins").migrate()
    return home


@pytest.fixture(scope="session")
def chain(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with four consecutive months published, their charts outlined; never to be changed."""
    from tests.support.outlined_charts import outlined_charts
    from tests.support.small_market import run_chain

    home = tmp_path_factory.mktemp("chain")
    with outlined_charts():  # it outlives the module that asks first
        run_chain(market, home)
    return home


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Random market with everything that real ones have, and its bundle; never to be changed."""
    from tests.support.baseline_world import make_world

    return make_world(tmp_path_factory.mktemp("world"))
