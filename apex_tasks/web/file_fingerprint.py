"""Whether a file or folder is still the one that was read, without reading it again."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Per file: name, inode, size, times of the last change of content and of status."""


def file_fingerprint(path: Path) -> Stamp:
    """Stamp of one file, of every file below a folder, or empty for what cannot be looked at."""
    try:
        return tuple(_entries(path))
    except OSError:
        return ()


def _entries(path: Path) -> list[tuple[str, int, int, int, int]]:
    if not path.is_dir():
        return [_entry(str(path), path.stat())]
    found, waiting = [], [str(path)]
    while waiting:
        with os.scandir(waiting.pop()) as folder:
            for entry in folder:
                # A link is refused where the bundle is read; here it must only not be followed.
                found.append(_entry(entry.path, entry.stat(follow_symlinks=False)))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return sorted(found)


def _entry(name: str, status: os.stat_result) -> tuple[str, int, int, int, int]:
    # The time of status changes with permissions, and cannot be set back like that of content.
    return (name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
