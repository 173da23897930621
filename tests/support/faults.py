"""Faults at every point where a writer touches the disk: an error there, or a real kill of the process."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

MOST_POINTS = 500


class Interrupted:
    """Counts the points that a writer passes, and strikes at one of them."""

    def __init__(self, point: int, strike: Callable[[], None]) -> None:
        self.point, self.strike, self.passed = point, strike, 0

    def pass_point(self) -> None:
        self.passed += 1
        if self.passed == self.point:
            self.strike()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Strike before a scratch file is made or synced, amid a write, before and after a rename."""

        def torn_write(path: Path, data: bytes) -> int:
            with path.open("wb") as file:
                file.write(data[: len(data) // 2])
                file.flush()
                self.pass_point()
                return file.write(data[len(data) // 2 :])

        with (
            patch.object(Path, "write_bytes", torn_write),
            patch.object(Path, "replace", self._around(Path.replace)),
            patch.object(os, "fsync", self._before(os.fsync)),
            patch.object(tempfile, "mkstemp", self._before(tempfile.mkstemp)),
        ):
            yield

    def _before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.pass_point()
            return function(*args, **kwargs)

        return wrapped

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        before = self._before(function)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = before(*args, **kwargs)
            self.pass_point()
            return result

        return wrapped


class DiskFullError(OSError):
    """The injected fault; a real error of the system must not pass for it."""


def _disk_full() -> None:
    raise DiskFullError(errno.ENOSPC, "no space left")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def failures(job: Callable[[], object]) -> Iterator[int]:
    """Run the job once per point with a full disk there; yields after each until a run gets through."""
    for point in count(1):
        assert point < MOST_POINTS
        interrupted = Interrupted(point, _disk_full)
        try:
            with interrupted.installed():
                job()
        except DiskFullError:
            yield point
        else:
            assert interrupted.passed == point - 1
            return


def kills(job: Callable[[], object]) -> Iterator[int]:
    """The same with SIGKILL, each in a process of its own."""

    def child(point: int) -> None:
        with Interrupted(point, _kill).installed():
            job()

    for point in count(1):
        assert point < MOST_POINTS
        process = multiprocessing.get_context("fork").Process(target=child, args=(point,))
        process.start()
        process.join()
        if process.exitcode == 0:
            return
        assert process.exitcode == -signal.SIGKILL
        yield point
