"""The README is true: its table is the settings', its commands and links exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from apex_tasks.cli.settings_table import markdown_table
from apex_tasks.settings import load_settings
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def test_the_settings_table_is_current() -> None:
    shown = README.partition("settings_table -->\n")[2].partition("<!-- /settings -->")[0]
    assert shown.strip() == markdown_table(load_settings()), (
        "Paste the output of `python -m apex_tasks.cli.settings_table` between the two comments of the README."
    )


@pytest.mark.parametrize(
    "document", sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]), ids=lambda p: p.name
)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_every_make_target_exists() -> None:
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", "\n".join([*COMMANDS, README]), re.MULTILINE))
    named = {either or other for either, other in named}
    assert {"demo", "test", "setup", "up"} <= named
    makefile = (ROOT / "Makefile").read_text()
    assert named - set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == set()


def test_every_apex_command_parses() -> None:
    """Each command line with its options replaced by --help prints the options it uses."""
    commands = [shlex.split(command) for command in COMMANDS if "bin/apex" in command]
    assert commands
    for _, name, *arguments in commands:
        done = subprocess.run(
            [sys.executable, "-m", "apex_tasks.cli", name, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={"COLUMNS": "200", "NO_COLOR": "1", "PATH": ""},
        )
        for option in arguments:
            assert not option.startswith("--") or option in done.stdout
