"""Verified bundles kept on local disk, so that later steps read what was verified."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from apex_tasks.bundle.archive import BundleFiles, left_by_desktop
from apex_tasks.bundle.checkpoint import load_checkpoint
from apex_tasks.bundle.resolved import ResolvedBundle
from apex_tasks.refusal import Refusal

if TYPE_CHECKING:
    from torch import Tensor


def materialize_bundle(files: BundleFiles, bundles_folder: Path) -> Path:
    """Write the bundle's files below `<bundle_sha256>/`; the folder appears whole or not at all.

    Returns
    -------
    Path
        The folder. One that exists already is used if its files are the same.

    Raises
    ------
    Refusal
        A kept folder was changed.
    """
    target = bundles_folder.absolute() / files.sha256
    if not target.exists():
        try:
            write_folder(files, target)
        except OSError:
            if not target.is_dir():  # otherwise another run kept the same bundle first
                raise
    kept = {
        path.relative_to(target).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in target.rglob("*")
        if path.is_file() and not left_by_desktop(path.relative_to(target).as_posix())
    }
    if kept != files.hashes:
        changed = sorted(path for path in kept | files.hashes if kept.get(path) != files.hashes.get(path))
        raise Refusal(
            "a kept bundle was changed",
            expected="the files that were verified",
            received=f"other content in {', '.join(changed[:5])}",
            where=target,
            remedy="Delete this folder: the next run copies the bundle again from its source.",
        )
    return target


def open_checkpoint(resolved: ResolvedBundle) -> dict[str, Tensor]:
    """Load the weights of a kept bundle, after comparing the bytes read with the verified hash.

    Raises
    ------
    Refusal
        The file is missing or was changed since the handshake.
    ValueError
        The bundle was validated without being kept.
    """
    if resolved.folder is None:
        raise ValueError("the bundle was validated without a bundles_folder, so no checkpoint was kept")
    path = resolved.folder / resolved.checkpoint_path
    data = path.read_bytes() if path.is_file() else None
    digest = "no such file" if data is None else hashlib.sha256(data).hexdigest()
    if data is None or digest != resolved.checkpoint_sha256:
        raise Refusal(
            "the kept checkpoint was changed after the handshake",
            expected=f"sha256 {resolved.checkpoint_sha256}",
            received=digest,
            where=path,
            remedy="Delete the kept bundle's folder and run validate_bundle again.",
        )
    return dict(load_checkpoint(data, str(path)).state_dict)


def write_folder(files: BundleFiles, target: Path) -> None:
    """Write all files beside the target, flushed to disk, then rename the folder into place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        for name, data in files.contents.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
