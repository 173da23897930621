"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found], seconds: float, wanted: Callable[[Found], object] = bool) -> Any:
    """What `look` finds, as soon as it is as wanted: by default, as soon as it is something."""
    deadline = time.monotonic() + seconds
    while not wanted(found := look()):
        assert time.monotonic() < deadline, f"after {seconds:g} s: {found!r}"
        time.sleep(0.2)
    return found
