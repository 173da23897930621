"""`apex` in this process, as its console script calls it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from apex_tasks import cli
from tests.support.console import Outcome


def call_apex(arguments: Sequence[str], environment: Mapping[str, str]) -> Outcome:
    """Exit code, stdout and stderr; an exception that is no exit is a bug and comes out as it is."""
    said, told = io.StringIO(), io.StringIO()
    with (
        _surroundings(arguments, environment),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(told),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        else:
            code = 0
    return code, said.getvalue(), told.getvalue()


@contextlib.contextmanager
def _surroundings(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["apex", *arguments])
            for name in [name for name in os.environ if name.startswith("APEX_")]:
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            time.tzset()
            yield
    finally:
        time.tzset()
