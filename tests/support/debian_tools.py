"""Real programs that tests run, from Debian's packages: Prometheus, Alertmanager, Chromium, systemd, git."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "chromium": "chromium",
    "systemd-analyze": "systemd",
    "git": "git",
}


def installed(tool: str) -> str:
    """Path of a tool; without it the test is skipped, except in continuous integration, where it fails."""
    path = shutil.which(tool)
    if path is None:
        message = f"{tool} is not installed: apt-get install {PACKAGES[tool]}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
