"""Writing bundles whose bytes depend on nothing but their content."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from apex_tasks.bundle.archive import MANIFEST_LOCK, BundleFiles, check_member_path
from apex_tasks.bundle.local_copy import write_folder
from apex_tasks.bundle.parsing import bad_key
from apex_tasks.refusal import Refusal

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT = "models/ranker.pt"
CONFIG = "configs/ranker.yaml"
_ARCHIVE_SUFFIX = ".tar.gz"


def write_bundle(
    out: Path,
    *,
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, Any],
    manifest_extra: Mapping[str, Any],
    created: str,
    feature_groups: bytes | None = None,
    feature_aliases: bytes | None = None,
) -> Path:
    """Write a bundle, a folder or (when `out` ends so) a .tar.gz; equal arguments give equal bytes.

    Parameters
    ----------
    out
        Where to; nothing may be there yet.
    state_dict
        Weights by parameter name.
    config
        Content of the config yaml.
    manifest_extra
        Further keys of MANIFEST.lock; those under `checkpoint` and `config` join the file and its hash.
    created
        ISO date or instant; the caller's, never the clock's.
    feature_groups, feature_aliases
        Yaml files to ship, at the paths that `data.feature_groups_config` and `data.feature_aliases_yaml` of
        the config name.

    Raises
    ------
    Refusal
        `out` exists, or the config does not say where the lists belong.
    """
    require_free(out)
    contents = {
        CHECKPOINT: _serialized(state_dict),
        CONFIG: yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode(),
    }
    entries = {"checkpoint": CHECKPOINT, "config": CONFIG}
    lists = {"feature_groups_config": feature_groups, "feature_aliases_yaml": feature_aliases}
    for key, data in lists.items():
        if data is not None:
            entries[key] = _list_path(config, key)
            contents[entries[key]] = data
    manifest: dict[str, Any] = {"created": created, **manifest_extra}
    for key, path in entries.items():
        digest = hashlib.sha256(contents[path]).hexdigest()
        manifest[key] = {**manifest.get(key, {}), "file": path, "sha256": digest}
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    contents[MANIFEST_LOCK] = (text + "\n").encode()
    files = BundleFiles(str(out), contents)
    if out.name.endswith(_ARCHIVE_SUFFIX):
        _write_archive(files, out)
    else:
        write_folder(files, out)
    return out


def require_free(out: Path) -> None:
    """Refuse a path that exists; an empty folder is free.

    Raises
    ------
    Refusal
        `out` is a file, or a folder that is not empty.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise Refusal(
            "output exists",
            expected="a path that is free",
            received="an existing file or folder",
            where=out,
            remedy="Choose another path, or delete it.",
        )


def _list_path(config: Mapping[str, Any], key: str) -> str:
    named = config["data"].get(key)
    path = check_member_path(named) if isinstance(named, str) else None
    if path is None or path in (MANIFEST_LOCK, CHECKPOINT, CONFIG):
        raise bad_key(f"data.{key}", "a path inside the bundle", named, "config")
    return path


def _serialized(state_dict: Mapping[str, Tensor]) -> bytes:
    import torch

    buffer = io.BytesIO()
    # Clones share no storage, so that the bytes hold each weight once and nothing else.
    torch.save({name: tensor.detach().cpu().clone() for name, tensor in state_dict.items()}, buffer)
    return buffer.getvalue()


def _write_archive(files: BundleFiles, out: Path) -> None:
    top = out.name.removesuffix(_ARCHIVE_SUFFIX)
    unzipped = io.BytesIO()
    with tarfile.open(fileobj=unzipped, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in sorted(files.contents.items()):
            member = tarfile.TarInfo(f"{top}/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("xb") as file:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as zipped:
                zipped.write(unzipped.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        draft.rename(out)
    finally:
        draft.unlink(missing_ok=True)
