"""The real panel as its publisher packs it: fetched when asked, checked by hash, read without unpacking."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from apex_tasks.refusal import Refusal

REQUIREMENT = "cvxportfolio==1.5.1"
SDIST = "cvxportfolio-1.5.1.tar.gz"
SDIST_SHA256 = "d62b3663da9634d92fdfbe78f31bbfbdd6313237d7600d6a86adf4862d1a9378"
FOLDER = "cvxportfolio-1.5.1/examples/paper_examples"
RETURNS, VOLUMES = "returns.csv.gz", "volumes.csv.gz"
MAX_FILE_BYTES = 64 * 2**20
"""Of a file in the archive, unpacked; the two in use have 11 and 10 MB."""
DOWNLOAD_SECONDS = 300


class OutOfReach(Exception):
    """The panel cannot be had here and now; whoever asked for it has nothing to evaluate."""


def fetch(cache: Path) -> Path:
    """Download the source distribution with pip, unless the cache has it.

    pip compares the file with `SDIST_SHA256` before it runs anything of it (its build backend, which pip asks
    for the metadata) and before it leaves it in the cache. `read_files` compares again.

    Parameters
    ----------
    cache
        Folder to keep it in.

    Returns
    -------
    Path
        The archive in the cache.

    Raises
    ------
    OutOfReach
        pip finds no index, no network or no such package; the message is pip's own reason.
    Refusal
        The index has another file under that name.
    """
    sdist = cache / SDIST
    if sdist.is_file():
        return sdist
    cache.mkdir(parents=True, exist_ok=True)
    # In a folder of its own, then renamed: a killed download leaves nothing that looks like the archive.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as folder:
        _download(Path(folder)).replace(sdist)
    return sdist


def read_files(sdist: Path) -> tuple[bytes, bytes]:
    """Read the returns and the volumes, as csv.

    Raises
    ------
    Refusal
        The archive is not, byte for byte, the pinned one, or a file in it is larger than it may be.
    """
    data = sdist.read_bytes()
    received = hashlib.sha256(data).hexdigest()
    if received != SDIST_SHA256:
        raise _tampered(received, sdist)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        return _read(archive, RETURNS), _read(archive, VOLUMES)


def _download(folder: Path) -> Path:
    pinned = folder / "requirement.txt"
    pinned.write_text(f"{REQUIREMENT} --hash=sha256:{SDIST_SHA256}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--retries", "1", "--timeout", "30"),
        *("--no-deps", "--no-binary", REQUIREMENT.partition("==")[0], "--require-hashes"),
        *("--requirement", str(pinned), "--dest", str(folder)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise OutOfReach(f"no answer within {DOWNLOAD_SECONDS} s") from None
    if "DO NOT MATCH THE HASHES" in done.stderr:
        received = next((line.split()[-1] for line in done.stderr.splitlines() if "Got" in line), "another")
        raise _tampered(received, f"{REQUIREMENT} at the package index")
    if done.returncode or not (folder / SDIST).is_file():
        reasons = [line for line in done.stderr.splitlines() if line.strip()]
        raise OutOfReach(reasons[-1].removeprefix("ERROR: ") if reasons else "pip left no file")
    return folder / SDIST


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    """One member, straight into memory: no path of the archive is ever written to."""
    member = next((member for member in archive if member.name == f"{FOLDER}/{name}"), None)
    packed = archive.extractfile(member) if member is not None and member.isfile() else None
    if packed is None:
        raise _unexpected(name, "none")
    with packed, gzip.open(packed) as unpacked:
        content = unpacked.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise _unexpected(name, f"more than {MAX_FILE_BYTES} bytes")
    return content


def _unexpected(name: str, received: str) -> Refusal:
    return Refusal(
        "a file of the real panel is not what it should be",
        expected=f"a regular file of at most {MAX_FILE_BYTES} bytes",
        received=received,
        where=f"{SDIST}, {FOLDER}/{name}",
        remedy="Delete the archive from the cache and fetch it again.",
    )


def _tampered(received: str, where: object) -> Refusal:
    return Refusal(
        "the source distribution of the real panel has another hash",
        expected=SDIST_SHA256,
        received=received,
        where=where,
        remedy="Do not use it. If it is in the cache, delete it and fetch it again; "
        "if the index serves it, somebody has changed a published file.",
    )
