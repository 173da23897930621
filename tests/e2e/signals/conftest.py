"""One Airflow for all tests of what goes out of it: messages, questions and metrics.

Each module has its own store and its own copies of the monthly DAG; this store is that of the DAG as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_airflow.environment import USER
from local_airflow.processes import EmbeddedAirflow

from apex_tasks.settings import configs_folder
from tests.support.message_servers import MessageServers
from tests.support.paths import ROOT
from tests.support.small_market import SmallMarket
from tests.support.started_airflow import DAG_ID, started_airflow
from tests.support.statsd_exporter_double import StatsdExporterDouble


@pytest.fixture(scope="package")
def servers() -> Iterator[MessageServers]:
    with MessageServers() as listening:
        yield listening


@pytest.fixture(scope="package")
def exporter() -> Iterator[StatsdExporterDouble]:
    with StatsdExporterDouble(configs_folder() / "statsd" / "mapping.yaml") as double:
        yield double


@pytest.fixture(scope="package")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dags")
    shutil.copy(ROOT / "dags" / f"{DAG_ID}.py", folder)
    return folder


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("apex_home")


@pytest.fixture(scope="package")
def airflow(
    market: SmallMarket,
    servers: MessageServers,
    exporter: StatsdExporterDouble,
    dags: Path,
    home: Path,
    migrated: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[EmbeddedAirflow]:
    """Started, but perhaps not healthy yet: a module waits for its DAGs."""
    environment = {
        **servers.environment,
        "APEX_HOME": str(home),
        "APEX_BUNDLE": str(market.bundle),
        "APEX_DATASET": str(market.dataset),
        # Airflow notices the end of a look up to 5 s late, and would take it for the end of the next one.
        "APEX_FRESHNESS__POKE_INTERVAL_SECONDS": "10",
        "APEX_FRESHNESS__TIMEOUT_MINUTES": "0.05",
        # A month of few closes goes on to the threshold that it breaks.
        "APEX_JUDGEMENT__WARN_ONLY": "prices_missing",
        # Unpausing must not start the slot of today's month: the small market ends long before.
        "APEX_SCHEDULE__GRACE_DAYS": "0",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,reader:viewer,colleague:op",
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(exporter.statsd_port),
    }
    with started_airflow(migrated, tmp_path_factory.mktemp("airflow"), dags, environment) as started:
        yield started
