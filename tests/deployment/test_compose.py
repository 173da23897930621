"""docker-compose.yaml and Dockerfile: valid, complete, and no secret may be empty."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

COMPOSE_FILE = ROOT / "docker-compose.yaml"
AIRFLOW_SERVICES = ("api-server", "scheduler", "dag-processor", "triggerer", "worker", "init")
LONG_RUNNING = (*AIRFLOW_SERVICES[:-1], "postgres", "redis")
SECRETS = (
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "AIRFLOW__CELERY__RESULT_BACKEND",
    "AIRFLOW__CELERY__BROKER_URL",
)
REQUIRED_VARIABLE = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")
PERMISSIVE_VARIABLE = re.compile(r"\$\{[A-Z_]*(PASSWORD|SECRET|KEY)[A-Z_]*(\}|:?-|:?\+|\?)")

FIND_PLUGIN = """
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
(point,) = entry_points(group="airflow.plugins")
print(point.value)
package, _, module = point.module.partition(".")
print(Path(find_spec(package).origin).with_name(f"{module}.py"))
"""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE_FILE.read_text())


def test_matches_the_compose_specification() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    finished = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", COMPOSE_FILE], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_has_every_service_of_airflow_3(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {*AIRFLOW_SERVICES, "postgres", "redis"}


@pytest.mark.parametrize(
    ("service", "probe"),
    [
        ("postgres", "pg_isready"),
        ("redis", "redis-cli ping"),
        ("api-server", "http://localhost:8080/api/v2/version"),
        ("scheduler", "http://localhost:8974/health"),
        ("dag-processor", "--job-type DagProcessorJob"),
        ("triggerer", "--job-type TriggererJob"),
        ("worker", "inspect ping"),
    ],
)
def test_health_is_checked(compose: dict[str, Any], service: str, probe: str) -> None:
    assert probe in " ".join(compose["services"][service]["healthcheck"]["test"])


def test_scheduler_serves_the_health_that_is_asked_of_it(compose: dict[str, Any]) -> None:
    assert (
        compose["services"]["scheduler"]["environment"]["AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"] == "True"
    )


@pytest.mark.parametrize("name", SECRETS)
def test_one_required_secret_is_shared_by_all(compose: dict[str, Any], name: str) -> None:
    values = {compose["services"][service]["environment"][name] for service in AIRFLOW_SERVICES}
    assert len(values) == 1
    assert REQUIRED_VARIABLE.search(values.pop())


def test_no_secret_may_be_empty_or_has_a_default() -> None:
    assert PERMISSIVE_VARIABLE.findall(COMPOSE_FILE.read_text()) == []


def test_servers_of_passwords_use_the_same_required_variables(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert REQUIRED_VARIABLE.fullmatch(services["postgres"]["environment"]["POSTGRES_PASSWORD"])
    assert REQUIRED_VARIABLE.fullmatch(services["redis"]["environment"]["REDISCLI_AUTH"])
    assert "requirepass" in " ".join(services["redis"]["command"])


def test_only_the_api_server_is_published_and_only_to_this_machine(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert list(published) == ["api-server"]
    assert all(port.startswith("127.0.0.1:") for port in published["api-server"])


@pytest.mark.parametrize("service", AIRFLOW_SERVICES)
def test_airflow_runs_unprivileged_on_one_image_and_the_same_files(
    compose: dict[str, Any], service: str
) -> None:
    found = compose["services"][service]
    assert found["user"] == "50000:0"
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["image"] == compose["services"]["api-server"]["image"]
    mounts = dict(volume.removesuffix(":ro").rsplit(":", 1)[::-1] for volume in found["volumes"])
    environment = found["environment"]
    assert mounts[environment["AIRFLOW__CORE__DAGS_FOLDER"]] == "./dags"
    assert mounts[environment["AIRFLOW__CORE__PLUGINS_FOLDER"]] == "./plugins"
    assert mounts[str(Path(environment["APEX_SETTINGS"]).parent)] == "./configs"
    assert mounts[environment["APEX_HOME"]] == "apex_home"
    writable = {volume.rsplit(":", 1)[1] for volume in found["volumes"] if not volume.endswith(":ro")}
    assert writable == {environment["APEX_HOME"], "/opt/airflow/logs"}


def test_tasks_find_the_api_server_by_its_name(compose: dict[str, Any]) -> None:
    url = compose["services"]["worker"]["environment"]["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
    assert url == "http://api-server:8080/execution/"


@pytest.mark.parametrize("service", [name for name in AIRFLOW_SERVICES if name != "init"])
def test_waits_for_the_migrated_database(compose: dict[str, Any], service: str) -> None:
    after = compose["services"][service]["depends_on"]
    assert after["init"]["condition"] == "service_completed_successfully"
    assert after["postgres"]["condition"] == after["redis"]["condition"] == "service_healthy"
    assert compose["services"]["init"]["environment"]["_AIRFLOW_DB_MIGRATE"] == "true"


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_long_running_services_come_back(compose: dict[str, Any], service: str) -> None:
    assert compose["services"][service]["restart"] == "unless-stopped"


def test_named_volumes_are_declared(compose: dict[str, Any]) -> None:
    sources = {
        volume.split(":", 1)[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
    }
    assert {source for source in sources if source.isidentifier()} == set(compose["volumes"])


def test_airflow_has_one_version(compose: dict[str, Any]) -> None:
    pinned = re.search(r"^apache-airflow==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    in_image = re.search(r"^ARG AIRFLOW_VERSION=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert pinned
    assert in_image
    in_compose = compose["services"]["api-server"]["build"]["args"]["AIRFLOW_VERSION"]
    assert pinned[1] == in_image[1] == in_compose


def test_image_never_runs_as_root_and_is_pinned_by_the_constraints() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER airflow"
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all("--constraint constraints.txt" in line for line in installs)


@pytest.mark.slow
def test_what_the_image_installs_brings_the_plugin(tmp_path: Path) -> None:
    """It is installed from what was copied by then, and finds in the mounted folders what comes later."""
    environment, context = tmp_path / "venv", tmp_path / "apex"
    context.mkdir()
    before, _, after = (ROOT / "Dockerfile").read_text().partition("RUN pip install")
    _copy(before, context)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--editable", context], check=True, timeout=300)
    _copy(after, context)
    done = subprocess.run([python, "-c", FIND_PLUGIN], cwd=tmp_path, env={}, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "apex_airflow.plugin:ApexPlugin",
        str(context / "plugins" / "apex_airflow" / "plugin.py"),
    ], done.stderr


def _copy(dockerfile: str, context: Path) -> None:
    for line in dockerfile.splitlines():
        if line.startswith("COPY "):
            for name in line.split()[2:-1]:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, context)


def test_what_the_image_copies_is_in_its_context() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            copied |= set(line.split()[2:-1])
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
