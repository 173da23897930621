"""The wheel holds all that the package reads at run time, and tells Airflow of itself."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from apex_airflow.provider_info import get_provider_info

from tests.support.paths import ROOT

LISTING = """
import json
from airflow.providers_manager import ProvidersManager
from airflow.plugins_manager import _get_plugins
manager = ProvidersManager()
for name in dir(ProvidersManager):
    if name.startswith("initialize_"):
        getattr(manager, name)()
plugins, errors = _get_plugins()
print(json.dumps({
    "provider": manager.providers["apex-batch"].data,
    "plugins": [plugin.name for plugin in plugins],
    "errors": errors,
}))
"""
"""Asks Airflow for everything it knows of providers and plugins."""


@pytest.fixture(scope="module")
def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _read(wheel: Path, suffix: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(suffix))
        return archive.read(name).decode()


@pytest.mark.slow
@pytest.mark.parametrize("package", ["apex_tasks", "plugins/apex_airflow"])
def test_every_file_of_both_packages_is_in_the_wheel(members: set[str], package: str) -> None:
    folder = ROOT / package
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(folder.parent)) for path in paths} <= members
    # Without it a type checker takes the package for one without types.
    assert f"{folder.name}/py.typed" in members


@pytest.mark.slow
def test_the_wheel_has_what_lies_outside_the_packages(members: set[str]) -> None:
    configs = {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*") if path.is_file()}
    assert {f"apex_tasks/{path}" for path in configs} <= members
    assert "apex_tasks/constraints.txt" in members
    assert "apex_batch-1.0.0.dist-info/licenses/LICENSE" in members


@pytest.mark.slow
def test_the_wheel_has_nothing_else(members: set[str]) -> None:
    tops = {name.split("/")[0] for name in members}
    # The entry file of the plugins folder would put a second module of the plugin on the path.
    assert tops == {"apex_tasks", "apex_airflow", "apex_batch-1.0.0.dist-info"}
    assert not [name for name in members if "test" in Path(name).parts or "__pycache__" in name]


@pytest.mark.slow
def test_the_wheel_announces_command_plugin_and_provider(wheel: Path) -> None:
    parser = configparser.ConfigParser(delimiters="=")
    parser.read_string(_read(wheel, ".dist-info/entry_points.txt"))
    assert {name: dict(parser[name]) for name in parser.sections()} == {
        "console_scripts": {"apex": "apex_tasks.cli:main"},
        "airflow.plugins": {"apex": "apex_airflow.plugin:ApexPlugin"},
        "apache_airflow_provider": {"provider_info": "apex_airflow.provider_info:get_provider_info"},
    }


@pytest.mark.slow
def test_the_command_line_answers_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
    done = subprocess.run(
        [sys.executable, "-m", "apex_tasks.cli", "calendar", "--from", "2025-11-01", "--to", "2025-11-30"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "unpacked"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2025-11-04" in done.stdout


def test_the_description_is_as_airflow_wants_it() -> None:
    schema = json.loads((files("airflow") / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)
    assert set(get_provider_info()) <= set(schema["properties"])


@pytest.mark.parametrize("lazy", ["True", "False"])
def test_airflow_knows_provider_and_plugin_once_and_complains_of_nothing(lazy: str, tmp_path: Path) -> None:
    """Not lazy, Airflow looks for plugins in the descriptions of providers, too."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        cwd=tmp_path,
        env=environment
        | {
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__LAZY_DISCOVER_PROVIDERS": lazy,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    assert [line for line in said if "[warning" in line or "[error" in line] == []
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["provider"]["name"] == "APEX Batch"
    assert found["plugins"].count("apex") == 1
    assert found["errors"] == {}
