"""Which file stands under a name, so that what is hashed and every part that is read are one and the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from apex_tasks.refusal import DatasetReplaced


@dataclass(frozen=True)
class FileIdentity:
    """What a file has that another one in its place, or the same one rewritten, has not."""

    device: int
    inode: int
    bytes: int
    content_changed_ns: int
    status_changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Identity of the file under a name; raises OSError when there is none."""
        status = path.stat()
        # The time of status cannot be set back, as that of content can.
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def require_same_file(path: Path, identity: FileIdentity) -> None:
    """Refuse a file that was replaced, rewritten or removed since its identity was taken.

    Raises
    ------
    DatasetReplaced
        Another file stands under the name now.
    """
    try:
        now = FileIdentity.of(path)
    except OSError:
        now = None
    if now != identity:
        raise DatasetReplaced(
            "dataset was replaced while it was read",
            expected="one file from the first look to the last",
            received="no file any more" if now is None else f"another of {now.bytes} bytes",
            where=path,
            remedy="Run again; deliver a new version under another name, or rename it into place between runs.",
        )
