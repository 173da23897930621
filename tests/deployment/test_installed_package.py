"""The installed wheel on the real Airflow processes, without a checkout and without a plugins folder.

The wheel is installed into an empty virtual environment. Shared with the environment that runs the tests are its
dependencies: a folder of links to the site-packages there, which a .pth file adds. Of this project nothing is among
the links, neither its code nor its entry points, and .pth files in such a folder have no effect; the first test holds
that. Home folders are empty, no path of the checkout is in the environment, and the DAG files are copies.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_airflow.client import AirflowClient
from local_airflow.environment import DATABASE, USER
from local_airflow.processes import MIGRATED, EmbeddedAirflow

from apex_tasks.market.calendar import TOKYO, tokyo_date
from apex_tasks.published import audit
from apex_tasks.store import Store
from tests.support.debian_tools import installed
from tests.support.paths import ROOT
from tests.support.small_market import AS_OF, CALENDAR, OCTOBER, SmallMarket, portfolio, run
from tests.support.started_airflow import DAG_ID

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(600)]

RUN_SECONDS = 240.0
BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
WHERE = """
import json, sys
from importlib.metadata import distributions, entry_points
import airflow, apex_airflow, apex_tasks
print(json.dumps({
    "path": sys.path,
    "files": [apex_airflow.__file__, apex_tasks.__file__],
    "distributions": [str(each.locate_file("")) for each in distributions(name="apex-batch")],
    "plugins": [each.value for each in entry_points(group="airflow.plugins") if each.name == "apex"],
}))
"""
PLUGINS = """
import json, sys
from airflow.plugins_manager import _get_plugins
plugins, errors = _get_plugins()
ours = [plugin for plugin in plugins if plugin.name == "apex"]
print(json.dumps([[sys.modules[type(plugin).__module__].__file__, str(plugin.source)] for plugin in ours]))
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel, and borrows its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, wheel], check=True)
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for name in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(name).iterdir():
            if not path.name.startswith(("apex_", "_apex")) and path.suffix != ".pth":
                (borrowed / path.name).symlink_to(path)
    (_site_packages(python) / "borrowed.pth").write_text(f"{borrowed}\n")
    return python


def _dags_folder(folder: Path) -> Path:
    return Path(shutil.copytree(ROOT / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__")))


def _bundle(name: str, **arguments: str) -> dict[str, str]:
    classpath = f"airflow.{name}"
    return {BUNDLES: json.dumps([{"name": "apex", "classpath": classpath, "kwargs": arguments}])}


def _from_dags_folder(folder: Path) -> dict[str, str]:
    return {"AIRFLOW__CORE__DAGS_FOLDER": str(_dags_folder(folder))}


def _from_local_bundle(folder: Path) -> dict[str, str]:
    return _bundle("dag_processing.bundles.local.LocalDagBundle", path=str(_dags_folder(folder)))


def _from_git_bundle(folder: Path) -> dict[str, str]:
    git = installed("git")
    _dags_folder(folder)
    person = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    for command in (["init", "-b", "main"], ["add", "dags"], [*person, "commit", "-m", "DAG files"]):
        subprocess.run([git, *command], cwd=folder, check=True, capture_output=True)
    return _bundle(
        "providers.git.bundles.git.GitDagBundle", repo_url=str(folder), tracking_ref="main", subdir="dags"
    )


@dataclass(frozen=True)
class Deployment:
    """Airflow on the installed package, and its store."""

    airflow: EmbeddedAirflow
    store: Path

    @property
    def client(self) -> AirflowClient:
        return self.airflow.client

    def get(self, page: str, *, logged_in: bool = True) -> httpx.Response:
        """What is answered to the admin, or to somebody unknown."""
        with httpx.Client(base_url=self.airflow.url, timeout=30.0, trust_env=False) as http:
            if logged_in:
                login = {"username": USER, "password": self.airflow.password}
                token = http.post("/auth/token", json=login).json()["access_token"]
                http.headers["Authorization"] = f"Bearer {token}"
            return http.get(page)


@pytest.fixture(scope="module", params=[_from_dags_folder, _from_local_bundle, _from_git_bundle])
def deployment(
    request: pytest.FixtureRequest,
    python: Path,
    market: SmallMarket,
    migrated: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """Started with the DAG files from one place or another, and healthy."""
    source: Callable[[Path], Mapping[str, str]] = request.param
    home, empty, store = (tmp_path_factory.mktemp(name) for name in ("airflow", "empty", "store"))
    environment = {
        **source(tmp_path_factory.mktemp("source")),
        "HOME": str(empty),
        "PATH": os.pathsep.join([str(python.parent), os.defpath]),
        "PYTHONPATH": "",
        "VIRTUAL_ENV": "",
        "APEX_HOME": str(store),
        "APEX_BUNDLE": str(market.bundle),
        "APEX_DATASET": str(market.dataset),
        # The slot before today is skipped: the next run is the next one, and the month here is triggered by hand.
        "APEX_SCHEDULE__GRACE_DAYS": "0",
    }
    for name in (DATABASE, MIGRATED):
        shutil.copy(migrated / name, home)
    # The dags folder is an empty one unless the source names another.
    with EmbeddedAirflow(home, empty, None, environment, python=python) as airflow:
        airflow.wait_healthy(DAG_ID, "apex_performance", "apex_rehearsal", timeout_seconds=240)
        yield Deployment(airflow, store)


@pytest.fixture(scope="module")
def run_id(deployment: Deployment) -> str:
    """A month that was triggered by hand and is over."""
    deployment.client.set_paused(DAG_ID, False)
    triggered = deployment.client.trigger(DAG_ID, {"as_of": str(AS_OF[OCTOBER]), "cold_start": True})
    state = deployment.client.wait_run(DAG_ID, triggered, RUN_SECONDS)
    tasks = deployment.client.tasks(DAG_ID, triggered)
    assert state == "success", {name: task["state"] for name, task in tasks.items()}
    return triggered


def _ask(python: Path, program: str, home: Path, **environment: str) -> list[Any]:
    """What the lines that a program prints in JSON say; it runs away from the checkout."""
    done = subprocess.run(
        [python, "-c", program],
        cwd=home,
        env={"HOME": str(home), "AIRFLOW_HOME": str(home), "PATH": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]


def _site_packages(python: Path) -> Path:
    (folder,) = python.parent.parent.glob("lib/python*/site-packages")
    return folder


def test_nothing_of_the_checkout_is_in_reach(python: Path, tmp_path: Path) -> None:
    (found,) = _ask(python, WHERE, tmp_path)
    installed_here = _site_packages(python)
    assert found["files"] == [
        str(installed_here / name / "__init__.py") for name in ("apex_airflow", "apex_tasks")
    ]
    assert found["distributions"] == [str(installed_here)]
    assert found["plugins"] == ["apex_airflow.plugin:ApexPlugin"]
    reachable = {Path(entry).resolve() for entry in found["path"] if entry}
    assert not reachable & {ROOT, ROOT / "plugins", ROOT / "scripts"}


def test_a_plugins_folder_beside_the_package_changes_nothing(python: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    folder = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(tmp_path / "plugins")}
    plugins, errors = _ask(python, PLUGINS, tmp_path, AIRFLOW__CORE__LOAD_EXAMPLES="False", **folder)
    ((file, source),) = plugins
    assert file == str(_site_packages(python) / "apex_airflow" / "plugin.py")
    assert source.startswith("apex-batch==")
    assert errors == {}


def test_the_dag_files_are_parsed_without_errors(deployment: Deployment) -> None:
    assert deployment.client.import_errors() == {}
    assert not (deployment.airflow.home / "plugins").exists()


def test_the_next_run_is_the_next_first_session_at_nine_in_tokyo(deployment: Deployment) -> None:
    dag = deployment.client.dag(DAG_ID)
    assert dag is not None
    due = dt.datetime.fromisoformat(dag["next_dagrun_run_after"])
    now = dt.datetime.fromisoformat(dag["last_parsed_time"])
    session = CALENDAR.next_rebalance_session(tokyo_date(now - dt.timedelta(hours=9)))
    assert due > now
    assert due.astimezone(TOKYO) == dt.datetime.combine(session, dt.time(9), TOKYO)


def test_the_plugin_is_there_once_with_its_tabs(deployment: Deployment) -> None:
    assert deployment.client.call("GET", "/plugins/importErrors")["import_errors"] == []
    (plugin,) = (
        each for each in deployment.client.call("GET", "/plugins")["plugins"] if each["name"] == "apex"
    )
    assert plugin["source"].startswith("apex-batch==")
    assert {(view["name"], view["destination"]) for view in plugin["external_views"]} == {
        ("Portfolio", "dag_run"),
        ("Portfolios", "nav"),
    }


def test_a_month_publishes_what_the_checkout_computes(
    deployment: Deployment, run_id: str, market: SmallMarket, tmp_path: Path
) -> None:
    published = portfolio(deployment.store, OCTOBER)
    assert published.read_json("execution.json")["run_id"] == run_id
    assert audit.verify(Store(deployment.store)).problems == ()
    run(market, tmp_path, OCTOBER, cold_start=True)
    here = portfolio(tmp_path, OCTOBER)
    for name in ("scores.parquet", "portfolio.csv", "orders.csv"):
        assert published.read_bytes(name) == here.read_bytes(name), name


def test_the_pages_of_the_month_are_served_to_who_is_logged_in(deployment: Deployment, run_id: str) -> None:
    for page in (f"/apex/report/{DAG_ID}/{run_id}", "/apex/months", f"/apex/months/{OCTOBER}/v1"):
        answer = deployment.get(page)
        assert answer.status_code == httpx.codes.OK, page
        assert str(OCTOBER) in answer.text, page
        assert deployment.get(page, logged_in=False).status_code == httpx.codes.UNAUTHORIZED, page
