"""The service file, judged by systemd itself, and against the command line that it starts."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from apex_tasks.settings import configs_folder
from tests.support.debian_tools import installed

UNIT = configs_folder() / "systemd" / "apex-ranker.service"
INSTALLED = "/opt/apex/.venv/bin/apex"
MOST_EXPOSURE = 15
"""Tenths on systemd's scale from 0 (nothing can happen) to 100."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists on this machine: systemd looks for it."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, "/bin/true"))
    return copy


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_systemd_accepts_every_line(unit: Path) -> None:
    done = subprocess.run(
        [installed("systemd-analyze"), "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_misspelt_line_would_be_told(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHouse="))
    done = subprocess.run(
        [installed("systemd-analyze"), "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "ProtectHouse" in done.stdout + done.stderr


def test_systemd_calls_it_hardened(unit: Path) -> None:
    done = subprocess.run(
        [
            installed("systemd-analyze"),
            "security",
            "--offline=true",
            "--no-pager",
            f"--threshold={MOST_EXPOSURE}",
            unit,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_serves_what_it_validated_and_is_not_root() -> None:
    (before,), (start,) = (
        [shlex.split(value) for value in values(key)] for key in ("ExecStartPre", "ExecStart")
    )
    assert before[:2] == [INSTALLED, "validate-bundle"]
    assert start[:2] == [INSTALLED, "serve"]
    assert before[before.index("--bundle") + 1] == start[start.index("--model") + 1] == "${APEX_BUNDLE}"
    assert before[before.index("--dataset") + 1] == start[start.index("--dataset") + 1] == "${APEX_DATASET}"
    assert values("User") == ["apex"]
    assert values("NoNewPrivileges") == ["yes"]
    assert values("ProtectSystem") == ["strict"]
    assert values("CapabilityBoundingSet") == [""]
