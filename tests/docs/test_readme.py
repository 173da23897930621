"""The README is true: its table is the settings', its commands parse."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

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
