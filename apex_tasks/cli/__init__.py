"""The command line `apex`."""

from apex_tasks.cli.commands import app, main

__all__ = ["app", "main"]
