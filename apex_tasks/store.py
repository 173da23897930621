"""The store: content-addressed artifacts and published portfolios under one folder or URL.

Data is written first, under its final name; `manifest.json` with every file's size and SHA-256 comes last.
What has no manifest does not exist, so a killed writer leaves nothing that anyone reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError
from upath import UPath

from apex_tasks.frozen_model import FrozenModel, StoredDocument, first_fault
from apex_tasks.refusal import Refusal

MANIFEST = "manifest.json"
LOCK_TIMEOUT_SECONDS = 120.0

FileWriter = Callable[[Path], None]

Document = TypeVar("Document", bound=BaseModel)


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no NaN: equal values give equal bytes."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    return (text + "\n").encode()


def content_key(**parts: object) -> str:
    """Key of an artifact: SHA-256 of all that determines its content."""
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def content_hash(sha256_by_name: Mapping[str, str]) -> str:
    """Identity of a set of files: SHA-256 over their names and hashes."""
    lines = [f"{name} {sha256}" for name, sha256 in sorted(sha256_by_name.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a local file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FileEntry(StoredDocument):
    """One file of an artifact, as its manifest vouches for it."""

    sha256: str
    bytes: int


class Manifest(StoredDocument):
    """Content of an artifact's `manifest.json`.

    Attributes
    ----------
    files
        Entry by name.
    identity
        Names of the files that make the artifact's content hash, ascending.
    details
        What the writer said of the artifact.
    """

    files: dict[str, FileEntry]
    identity: tuple[str, ...]
    details: dict[str, Any]


@dataclass(frozen=True)
class Artifact:
    """A complete folder of the store, and its manifest."""

    folder: UPath
    manifest: Manifest

    @property
    def details(self) -> Mapping[str, Any]:
        """What the writer said of the artifact."""
        return self.manifest.details

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest file as it is stored."""
        return hashlib.sha256((self.folder / MANIFEST).read_bytes()).hexdigest()

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the names and hashes of the files that make the artifact's identity."""
        return content_hash({name: self.sha256(name) for name in self.manifest.identity})

    def sha256(self, name: str) -> str:
        """Hash of one file, as the manifest has it."""
        return self.manifest.files[name].sha256

    def read_bytes(self, name: str) -> bytes:
        """Read a file and check it against the manifest.

        Raises
        ------
        Refusal
            The file is not what was written.
        """
        data = (self.folder / name).read_bytes()
        self._check(name, hashlib.sha256(data).hexdigest())
        return data

    def read_json(self, name: str) -> Any:
        """Read a JSON file, checked like `read_bytes`."""
        return json.loads(self.read_bytes(name))

    def read_document(self, name: str, model: type[Document]) -> Document:
        """Read a JSON file in its typed form, checked like `read_bytes`.

        Raises
        ------
        Refusal
            It was changed after it was written, or is no such document.
        """
        try:
            return model.model_validate_json(self.read_bytes(name))
        except (OSError, LookupError, ValidationError) as error:
            raise damaged(self, name, error) from None

    @contextmanager
    def local_file(self, name: str) -> Iterator[Path]:
        """Give a checked local path of a file; a remote one is downloaded and removed afterwards."""
        if (local := local_path(self.folder / name)) is not None:
            self._check(name, file_sha256(local))
            yield local
            return
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / name
            with (self.folder / name).open("rb") as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
            self._check(name, file_sha256(copy))
            yield copy

    def _check(self, name: str, received: str) -> None:
        if received != self.sha256(name):
            raise _changed(self.folder / name, f"sha256 {self.sha256(name)}", f"sha256 {received}")


class ArtifactReference(FrozenModel):
    """An artifact as one step hands it to the next.

    Attributes
    ----------
    key, content_hash
        Where it is stored, and the hash of all that it holds.
    """

    key: str
    content_hash: str


class Store:
    """Artifacts under one root.

    Parameters
    ----------
    home
        Local folder or any URL that fsspec knows, such as `s3://bucket/apex`.

    Raises
    ------
    Refusal
        The local folder is a file.
    """

    def __init__(self, home: str | os.PathLike[str]) -> None:
        self.root = UPath(home)
        if (root := local_path(self.root)) is not None and root.is_file():
            raise Refusal(
                "the store is not a folder",
                expected="a folder, made when absent, or a URL",
                received="a file",
                where=root,
                remedy="Point APEX_HOME at a folder that all components share.",
            )

    def find(self, *parts: str) -> Artifact | None:
        """The complete artifact at this place, or None.

        Raises
        ------
        Refusal
            Its manifest is damaged.
        """
        folder = self.root.joinpath(*parts)
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise _changed(folder / MANIFEST, "files, identity and details", first_fault(error)) from None
        return Artifact(folder, manifest)

    def get(self, *parts: str) -> Artifact:
        """The complete artifact at this place.

        Raises
        ------
        Refusal
            There is none.
        """
        artifact = self.find(*parts)
        if artifact is None:
            raise Refusal(
                "an artifact of an earlier step is not in the store",
                expected=f"{'/'.join(parts)}/{MANIFEST}",
                received="nothing complete",
                where=self.root,
                remedy="Clear the earlier steps of this run as well; check that all workers share APEX_HOME.",
            )
        return artifact

    def write(
        self,
        *parts: str,
        files: Mapping[str, bytes | FileWriter],
        details: Mapping[str, object] | None = None,
        identity: Sequence[str] | None = None,
        durable: bool = False,
    ) -> Artifact:
        """Write an artifact: its files in the given order, then the manifest.

        Parameters
        ----------
        files
            Content, or a function that writes a local file (for large arrays).
        identity
            Names of the files that `content_hash` covers; None means all.
        durable
            Force every file to disk before the manifest: for what must survive a power cut.
        """
        folder = self.root.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        entries = {name: write_file(folder / name, content, durable) for name, content in files.items()}
        manifest = {
            "files": {name: entry.model_dump() for name, entry in entries.items()},
            "identity": sorted(identity or entries),
            "details": dict(details or {}),
        }
        data = canonical_json(manifest)
        write_file(folder / MANIFEST, data, durable)
        # Read back what a later reader gets, so that both see the same types.
        return Artifact(folder, Manifest.model_validate_json(data))

    def names(self, *parts: str) -> list[str]:
        """Names of the folders at a place, ascending; empty when the place does not exist."""
        folder = self.root.joinpath(*parts)
        return sorted(child.name for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Let one writer at a time pass, on this store's local file system.

        An object store has no lock: there the DAG's `max_active_tis_per_dag=1` on publish keeps writers apart.
        A person's answer that is recorded at the very moment another month is published can then cost one of the two
        records: publish refuses without the one, and `apex audit verify` misses the other.

        Raises
        ------
        Refusal
            Another writer holds the lock for longer than `LOCK_TIMEOUT_SECONDS`.
        """
        root = local_path(self.root)
        if root is None:
            yield
            return
        root.mkdir(parents=True, exist_ok=True)
        path = root / f".{name}.lock"
        try:
            held = FileLock(path, timeout=LOCK_TIMEOUT_SECONDS).acquire()
        except Timeout:
            raise Refusal(
                "another process holds the store's lock",
                expected=f"the lock within {LOCK_TIMEOUT_SECONDS:g} s",
                received="still held",
                where=path,
                remedy="Let the other run finish, or end it; the lock goes with its process. Then run again.",
            ) from None
        with held:
            yield


def local_path(path: UPath) -> Path | None:
    """The path as a local one, or None when it is remote."""
    return Path(path.path) if path.protocol in ("", "file", "local") else None


def write_file(path: UPath, content: bytes | FileWriter, durable: bool = False) -> FileEntry:
    """Write one file so that a reader sees all of it or none; return its size and SHA-256."""
    local = local_path(path)
    folder = None if local is None else local.parent
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
    os.close(handle)
    scratch = Path(name)
    try:
        if isinstance(content, bytes):
            scratch.write_bytes(content)
        else:
            content(scratch)
        entry = FileEntry(sha256=file_sha256(scratch), bytes=scratch.stat().st_size)
        if local is None:
            with scratch.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        else:
            scratch.chmod(0o644)
            if durable:
                _sync(scratch)
            scratch.replace(local)
            if durable:
                _sync(local.parent)
    finally:
        scratch.unlink(missing_ok=True)
    return entry


def damaged(artifact: Artifact, name: str, error: Exception) -> Refusal:
    """The refusal for a file that is there and says nothing."""
    return Refusal(
        "a file in the store cannot be read",
        expected="the file as its manifest describes it",
        received=first_fault(error)
        if isinstance(error, ValidationError)
        else f"{type(error).__name__}: {error}",
        where=artifact.folder / name,
        remedy="Run `apex audit verify`; bring the folder back from a backup.",
    )


def _changed(path: UPath, expected: str, received: object) -> Refusal:
    return Refusal(
        "a stored file was changed after it was written",
        expected=expected,
        received=received,
        where=path,
        remedy="Delete the artifact's folder if it is a cache (panels, scores, plans) and run again; "
        "if it is a published portfolio, run `apex audit verify` and restore it from backup.",
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
