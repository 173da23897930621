"""Stopping a process with all that it has started: a session is what both share."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeAlias

import psutil

Leader: TypeAlias = "subprocess.Popen[bytes] | psutil.Process"


def stop_sessions(leaders: Mapping[str, Leader], patience_seconds: Mapping[str, float]) -> None:
    """End each process and all it has started: SIGTERM to it, some patience, then SIGKILL to the rest.

    Task processes of Airflow leave the process group of their component, but not its session.

    Parameters
    ----------
    leaders
        The processes, each of which leads a session of its own.
    patience_seconds
        How long each may take, counted from the moment all were asked.
    """
    begin = time.monotonic()
    for leader in leaders.values():
        with suppress(ProcessLookupError):
            os.kill(leader.pid, signal.SIGTERM)
    for name, leader in leaders.items():
        with suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
            leader.wait(timeout=max(0.1, begin + patience_seconds[name] - time.monotonic()))
        kill_session(leader.pid)
        leader.wait()


def kill_session(leader: int) -> None:
    """SIGKILL to every process of the session that this process leads."""
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)
