"""What keeps the embedded Airflow on its feet: components that die, and SQLite's savepoints."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from local_airflow.processes import CLI_SETTINGS, MOST_RESTARTS, AirflowFailedError, EmbeddedAirflow

from tests.support.paths import ROOT


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedAirflow]:
    """An Airflow whose scheduler ends with 3 as soon as it is started."""

    def die(self: EmbeddedAirflow, name: str) -> None:
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-c", "raise SystemExit(3)"], start_new_session=True
        )
        self._processes[name].wait()

    monkeypatch.setattr(EmbeddedAirflow, "_spawn", die)
    airflow = EmbeddedAirflow(tmp_path, ROOT / "dags", ROOT / "plugins")
    airflow.acquire()
    airflow._spawn("scheduler")
    yield airflow
    airflow.stop()


def test_a_component_that_dies_is_started_again_a_few_times(mortal: EmbeddedAirflow) -> None:
    for _ in range(MOST_RESTARTS):
        assert mortal.supervise() == {"scheduler": 3}
    with pytest.raises(AirflowFailedError, match="scheduler ended with 3"):
        mortal.supervise()


def test_nothing_is_done_while_all_live(mortal: EmbeddedAirflow) -> None:
    mortal._processes.clear()
    assert mortal.supervise() == {}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    """A database in the mode of Airflow's, with one table; a writer gives up at once."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'airflow.db'}", connect_args={"timeout": 0})
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql("CREATE TABLE run (name TEXT)")
    yield engine
    engine.dispose()


@pytest.fixture
def whole_savepoints() -> Iterator[None]:
    """The settings of the embedded Airflow's command line, for the time of one test."""
    spec = importlib.util.spec_from_file_location("cli_settings", CLI_SETTINGS / "airflow_local_settings.py")
    assert spec is not None
    assert spec.loader is not None
    settings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(settings)
    yield
    sa.event.remove(sa.Engine, "savepoint", settings.begin_to_write)


def names(database: sa.Engine) -> list[str]:
    with database.connect() as reader:
        return list(reader.exec_driver_sql("SELECT name FROM run ORDER BY name").scalars())


def test_a_plain_savepoint_loses_against_a_writer_in_between(database: sa.Engine) -> None:
    """The trouble itself: without it the settings would be of no use."""
    with closing(database.connect()) as ours, ours.begin_nested():
        ours.exec_driver_sql("SELECT * FROM run").all()
        with database.begin() as other:
            other.exec_driver_sql("INSERT INTO run VALUES ('other')")
        with pytest.raises(sa.exc.OperationalError, match="database is locked"):
            ours.exec_driver_sql("INSERT INTO run VALUES ('ours')")


@pytest.mark.usefixtures("whole_savepoints")
def test_a_whole_savepoint_keeps_writers_out_and_commits_with_its_transaction(database: sa.Engine) -> None:
    with closing(database.connect()) as ours:
        for name in ("first", "second"):
            with ours.begin_nested():
                ours.exec_driver_sql("SELECT * FROM run").all()
                with (
                    pytest.raises(sa.exc.OperationalError, match="database is locked"),
                    database.begin() as other,
                ):
                    other.exec_driver_sql("INSERT INTO run VALUES ('other')")
                ours.exec_driver_sql("INSERT INTO run VALUES (?)", (name,))
            assert names(database) == []
        ours.commit()
    assert names(database) == ["first", "second"]
