"""Reading a bundle, a folder or a .tar.gz, into memory: bounded, and never outside the bundle's own root.

The bytes read here are the bytes that are hashed, parsed and kept: nothing is read a second time, so nothing
can change between the check and the use.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO

from apex_tasks.refusal import Refusal
from apex_tasks.settings import BundleLimits

MANIFEST_LOCK = "MANIFEST.lock"
_CHUNK = 1 << 20
_DESKTOP_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
_TAR_OVERHEAD = 4096  # header, padding and long-name records of one member, and the end of the archive
_FETCH_AGAIN = "Fetch the bundle again from its source; do not repack it by hand."


@dataclass(frozen=True)
class BundleFiles:
    """Every file of a bundle.

    Attributes
    ----------
    source
        Folder or archive that was read.
    contents
        Bytes by path relative to the bundle's root, in path order.
    left_out
        Files that macOS or Windows left beside them, see `left_by_desktop`: never read, no part of the bundle.
    """

    source: str
    contents: Mapping[str, bytes]
    left_out: tuple[str, ...] = ()

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file, in hex."""
        return {path: hashlib.sha256(data).hexdigest() for path, data in self.contents.items()}

    @cached_property
    def sha256(self) -> str:
        """Identity of the bundle: SHA-256 over the lines `path NUL sha256 LF` of all files, in path order."""
        lines = "".join(f"{path}\0{digest}\n" for path, digest in sorted(self.hashes.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def named(self, name: str) -> tuple[str, ...]:
        """Paths that a name in the bundle's documents can mean.

        Documents name files by their path in the bundle or by that where the bundle was made, so that a
        path which is not in the bundle stands for the files of the same last name.
        """
        path = PurePosixPath(name)
        if path.as_posix() not in self.contents:
            path = PurePosixPath(name.replace("\\", "/"))  # written on Windows
        if path.as_posix() in self.contents:
            return (path.as_posix(),)
        return tuple(known for known in self.contents if PurePosixPath(known).name == path.name)


def read_bundle(source: str | Path, limits: BundleLimits) -> BundleFiles:
    """Read all files of a bundle.

    The root is the folder that holds MANIFEST.lock: the top, or the only folder at the top.

    Parameters
    ----------
    source
        Local folder or .tar.gz.
    limits
        Bounds on the files' number and total size, counted on the bytes read, not on what headers declare.

    Raises
    ------
    Refusal
        The source is missing or damaged, exceeds a limit, has no MANIFEST.lock, or holds a path that leaves
        its root, a link, a device, or two entries of one name.
    """
    path = Path(source)
    intake = _Intake(path, limits)
    try:
        if path.is_dir():
            _read_folder(path, intake)
        elif path.is_file():
            _read_archive(path, intake)
        else:
            raise Refusal(
                "bundle is missing",
                expected="a local folder or .tar.gz",
                received="no such file or folder",
                where=source,
                remedy="Deliver the bundle, or point APEX_BUNDLE (or the run's parameter) at it.",
            )
    except OSError as error:
        raise intake.refusal("bundle cannot be read", "readable files", error.strerror or error) from None
    return BundleFiles(str(source), _at_root(intake), tuple(sorted(intake.left_out)))


def check_member_path(name: str) -> str | None:
    """The path in normal form, or None if it is unfit: absolute, leaving its root, or not printable."""
    path = PurePosixPath(name)
    fit = (
        path.parts
        and not path.is_absolute()
        and ".." not in path.parts
        and "\\" not in name
        and name.isprintable()
        and all(len(part.encode()) <= 255 for part in path.parts)
    )
    return path.as_posix() if fit else None


def left_by_desktop(name: str) -> bool:
    """Whether a file is what macOS or Windows puts beside files that people look at or pack.

    AppleDouble files (`._name`: a file's macOS attributes), `__MACOSX/`, `.DS_Store`, `Thumbs.db`, `desktop.ini`.
    """
    path = PurePosixPath(name)
    return path.name.startswith("._") or path.name in _DESKTOP_FILES or "__MACOSX" in path.parts


class _Intake:
    """Takes files in, keeping to the limits."""

    def __init__(self, source: Path, limits: BundleLimits) -> None:
        self.source = source
        self.limits = limits
        self.max_bytes = limits.max_unpacked_mib << 20
        self.contents: dict[str, bytes] = {}
        self.left_out: list[str] = []
        self._bytes = 0
        self._n_folders = 0

    def folder(self, name: str) -> None:
        self._checked(name)
        self._n_folders += 1
        self._bound("folders", self._n_folders)

    def file(self, name: str, file: IO[bytes]) -> None:
        path = self._checked(name)
        if left_by_desktop(path):
            self.left_out.append(path)
            self._bound("files", len(self.left_out))
            return
        if path in self.contents:
            raise self.refusal("bundle holds a path twice", "each path once", path)
        data = file.read(self.max_bytes - self._bytes + 1)
        self._bytes += len(data)
        if self._bytes > self.max_bytes:
            raise self.too_large()
        self.contents[path] = data
        self._bound("files", len(self.contents))

    def other(self, name: str) -> Refusal:
        return self.refusal("bundle holds a link or device", "plain files and folders", repr(name))

    def _checked(self, name: str) -> str:
        path = check_member_path(name)
        if path is None:
            raise self.refusal("bundle holds an unsafe path", "paths below the bundle's root", repr(name))
        return path

    def _bound(self, kind: str, count: int) -> None:
        if count > self.limits.max_files:
            raise self.refusal(f"bundle holds too many {kind}", f"at most {self.limits.max_files}", "more")

    def too_large(self) -> Refusal:
        return self.refusal(
            "bundle unpacks to too much", f"at most {self.limits.max_unpacked_mib} MiB", "more than that"
        )

    def refusal(self, what: str, expected: str, received: object) -> Refusal:
        return Refusal(what, expected=expected, received=received, where=self.source, remedy=_FETCH_AGAIN)


def _read_folder(root: Path, intake: _Intake) -> None:
    waiting = [root]
    while waiting:
        for entry in sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name):
            path = Path(entry.path)
            name = path.relative_to(root).as_posix()
            if entry.is_dir(follow_symlinks=False):
                intake.folder(name)
                waiting.append(path)
            elif entry.is_file(follow_symlinks=False):
                with path.open("rb") as file:
                    intake.file(name, file)
            else:
                raise intake.other(name)


def _read_archive(path: Path, intake: _Intake) -> None:
    try:
        with tarfile.open(fileobj=_unzip(path, intake), mode="r:") as archive:
            for member in archive:
                if member.size < 0:
                    raise tarfile.ReadError(f"{member.name!r} has a negative size")
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    intake.file(member.name, file)
                elif not member.isdir():
                    raise intake.other(member.name)
                elif member.name != ".":
                    intake.folder(member.name)
    except Refusal:
        raise
    except Exception as error:  # parsers of foreign bytes: whatever they raise, the file is refused
        raise intake.refusal("bundle archive is damaged", "a whole .tar.gz", error) from None


def _unzip(path: Path, intake: _Intake) -> io.BytesIO:
    bound = intake.max_bytes + 2 * intake.limits.max_files * _TAR_OVERHEAD  # files and folders
    unzipped = io.BytesIO()
    with gzip.open(path) as file:
        while chunk := file.read(_CHUNK):
            unzipped.write(chunk)
            if unzipped.tell() > bound:
                raise intake.too_large()
    unzipped.seek(0)
    return unzipped


def _at_root(intake: _Intake) -> dict[str, bytes]:
    contents = dict(sorted(intake.contents.items()))
    for path in contents:
        blocked = [str(parent) for parent in PurePosixPath(path).parents if str(parent) in contents]
        if blocked:
            raise intake.refusal("bundle holds a file and a folder of one name", "distinct names", blocked[0])
    if MANIFEST_LOCK in contents:
        return contents
    tops = sorted({path.split("/", 1)[0] for path in contents})
    if len(tops) == 1 and f"{tops[0]}/{MANIFEST_LOCK}" in contents:
        return {path.removeprefix(f"{tops[0]}/"): data for path, data in contents.items()}
    raise intake.refusal(
        f"bundle has no {MANIFEST_LOCK}",
        f"{MANIFEST_LOCK} at the top or in the only folder there",
        ", ".join(tops[:5]),
    )
