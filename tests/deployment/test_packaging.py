"""The wheel holds all that the package reads at run time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.slow
def test_the_wheel_is_complete(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(tmp_path),
            str(ROOT),
        ],
        check=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("apex_batch-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "unpacked")
    assert {f"apex_tasks/configs/{path.name}" for path in (ROOT / "configs").glob("*.*")} <= names
    templates = {path.name for path in (ROOT / "apex_tasks" / "report" / "templates").iterdir()}
    assert "report.html.j2" in templates
    assert {f"apex_tasks/report/templates/{name}" for name in templates} <= names
    assert "apex_tasks/constraints.txt" in names

    # Away from the checkout, the command line answers from the wheel alone.
    done = subprocess.run(
        [sys.executable, "-m", "apex_tasks.cli", "calendar", "--from", "2025-11-01", "--to", "2025-11-30"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "unpacked"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2025-11-04" in done.stdout
