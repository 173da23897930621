"""One `apex serve` in a process of its own, on a free port of this host, for tests and measurements."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 60.0
STOP_SECONDS = 60.0
_LISTENING = re.compile(r"^Listening on (http://\S+)$", re.MULTILINE)


class ServedApex:
    """A running server; leaving the block stops it by its own process id.

    Parameters
    ----------
    log
        File that its stderr is added to.
    options
        Options of `apex serve`; the port is a free one.
    environment
        Variables beside those of this process, of which those of APEX are left out.
    """

    def __init__(self, log: Path, *options: object, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._options = tuple(map(str, options))
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._from = log.stat().st_size if log.exists() else 0
        self.url = ""

    def __enter__(self) -> Self:
        """Start it, and wait until it listens."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("APEX_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "apex_tasks.cli", "serve", "--port", "0", *self._options],
                env={**inherited, **self._environment},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while (found := _LISTENING.search(self.said())) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise RuntimeError(f"apex serve does not listen:\n{self.said()}")
            time.sleep(0.02)
        self.url = found.group(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it if it runs; returns its exit code."""
        if self._process is None:
            raise RuntimeError("not started")
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(STOP_SECONDS)

    def said(self) -> str:
        """What it has logged since this start."""
        with self.log.open("rb") as log:
            log.seek(self._from)
            return log.read().decode(errors="replace")
