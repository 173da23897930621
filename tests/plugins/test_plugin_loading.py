"""Airflow loads one plugin, by the plugins folder or by the package's entry point, and no bare module names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PROGRAM = """
import importlib.metadata, json, sys
if {alone!r}:
    # As in an environment where the package is not installed: no distribution offers the entry point.
    found = importlib.metadata.entry_points
    def without_ours(**chosen):
        kept = [point for point in found(**chosen) if not point.value.startswith("apex_airflow")]
        return importlib.metadata.EntryPoints(kept)
    importlib.metadata.entry_points = without_ours
    import importlib_metadata
    for module in (importlib.metadata, importlib_metadata):
        def others(found=module.distributions, **chosen):
            return [one for one in found(**chosen) if one.metadata["Name"] != "apex-batch"]
        module.distributions = others
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
ours = [plugin for plugin in plugins if type(plugin).__module__.startswith("apex")]
bare = [name for name, module in sys.modules.items() if "." not in name
        and (getattr(module, "__file__", None) or "").startswith({folder!r})]
print(json.dumps([[type(plugin).__module__, plugin.name, str(plugin.source)] for plugin in ours]))
print(json.dumps([errors, sorted(bare)]))
"""


@pytest.mark.parametrize("alone", [True, False], ids=["plugins folder", "installed as well"])
def test_one_plugin_and_no_global_names(alone: bool, tmp_path: Path) -> None:
    folder = str(ROOT / "plugins")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(alone=alone, folder=folder)],
        env={
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__PLUGINS_FOLDER": folder,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    plugins, (errors, bare) = map(json.loads, done.stdout.splitlines()[-2:])
    ((module, name, source),) = plugins
    assert (module, name) == ("apex_airflow.plugin", "apex")
    assert ("apex_plugins.py" in source) is alone
    assert errors == {}
    assert bare == ["apex_airflow", "apex_plugins"]
