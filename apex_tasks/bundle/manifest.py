"""MANIFEST.lock: what a bundle holds, with the hashes that are checked before anything is deserialized."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from apex_tasks.bundle.archive import MANIFEST_LOCK, BundleFiles
from apex_tasks.bundle.parsing import bad_key, read_json, validated
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization

Count = Annotated[int, Field(strict=True, ge=1)]


class _Entry(BaseModel):
    """Unknown keys are kept, so that a manifest of a later release is still accepted."""

    model_config = ConfigDict(frozen=True, extra="allow")


class CheckpointEntry(_Entry):
    """The weights, and what they were trained for."""

    file: str
    sha256: str
    base_features: Count | None = None
    effective_dim: Count | None = None
    csz_mode: str | None = None
    trained_normalization: Normalization | None = None
    patch_multiplier: JsonValue = None
    feature_hash: str | None = None


class ConfigEntry(_Entry):
    """The training configuration."""

    file: str
    sha256: str
    patch_multiplier: JsonValue = None


class ExpectedBehavior(_Entry):
    """What a correct run of the bundle shows."""

    model_init_log: str | None = None
    effective_dim: Count | None = None


class Manifest(_Entry):
    """MANIFEST.lock.

    Attributes
    ----------
    feature_origin
        What the metadata of the training dataset named as the origin of its features, see
        `dataset.price_features.origin`; None where it named none.
    training_period
        First and last day of what training saw, the days of its targets included, in any form that names two days.
    validation
        How the model was validated, such as ``{"method": "purged k-fold", "folds": 5, "fold": 4}``.
    """

    bundle_version: JsonValue = None
    created: JsonValue = None
    git_tag: JsonValue = None
    checkpoint: CheckpointEntry
    config: ConfigEntry
    dataset: dict[str, JsonValue] | None = None
    expected_behavior: ExpectedBehavior = ExpectedBehavior()
    training_period: JsonValue = None
    validation: JsonValue = None
    performance_benchmarks: dict[str, JsonValue] = {}
    critical_alerts: dict[str, JsonValue] = {}
    operational_rules: JsonValue = None
    feature_origin: str | None = None


class FileStatus(StrEnum):
    """What the manifest says of a file in the bundle."""

    VERIFIED = "verified"
    UNLISTED = "unlisted"
    MANIFEST = "manifest"


class BundleFile(FrozenModel):
    """One file of the bundle: path from its root, SHA-256 in hex, and whether the manifest vouches for it."""

    path: str
    sha256: str
    status: FileStatus


@dataclass(frozen=True)
class VerifiedManifest:
    """A manifest whose every hash has been compared with the bytes at hand.

    Attributes
    ----------
    checkpoint_path, config_path
        Paths of the two mandatory files in the bundle.
    files
        All files of the bundle, in path order.
    not_shipped
        Files that the manifest hashes but the bundle leaves out: only the training dataset may be. They
        have not been checked.
    """

    manifest: Manifest
    checkpoint_path: str
    config_path: str
    files: tuple[BundleFile, ...]
    not_shipped: tuple[str, ...]


def verify_manifest(files: BundleFiles) -> VerifiedManifest:
    """Read MANIFEST.lock and compare every hash in it: each mapping, anywhere, that has `file` and `sha256`.

    Raises
    ------
    Refusal
        The manifest is not readable, lacks the checkpoint or config entry, names a file that is not in the
        bundle, or a hash differs.
    """
    document = read_json(files.contents[MANIFEST_LOCK], MANIFEST_LOCK)
    manifest = validated(Manifest, document, MANIFEST_LOCK)
    verified: dict[str, str] = {}
    not_shipped = []
    for key, entry in _hashed_entries(document):
        path = _verify_entry(key, entry, files)
        if path is None:
            not_shipped.append(str(entry["file"]))
        else:
            verified[key] = path
    vouched = frozenset(verified.values())
    listed = tuple(
        BundleFile(path=path, sha256=digest, status=_status(path, vouched))
        for path, digest in files.hashes.items()
    )
    return VerifiedManifest(manifest, verified["checkpoint"], verified["config"], listed, tuple(not_shipped))


def _status(path: str, vouched: frozenset[str]) -> FileStatus:
    if path == MANIFEST_LOCK:
        return FileStatus.MANIFEST
    return FileStatus.VERIFIED if path in vouched else FileStatus.UNLISTED


def _hashed_entries(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:  # no recursion: the document may be nested deeper than Python's stack
        key, node = waiting.pop()
        if isinstance(node, dict):
            if "file" in node and "sha256" in node:
                yield key, node
            children = [(f"{key}.{name}" if key else name, child) for name, child in node.items()]
            waiting += reversed(children)
        elif isinstance(node, list):
            waiting += [(f"{key}[{index}]", child) for index, child in reversed(list(enumerate(node)))]


def _verify_entry(key: str, entry: dict[str, Any], files: BundleFiles) -> str | None:
    """Path of the file in the bundle; None for a dataset that is not shipped."""
    is_dataset = key == "dataset"
    name, digest = entry["file"], entry["sha256"]
    if not isinstance(name, str) or not name:
        raise bad_key(f"{key}.file", "the path of a file in the bundle", name, MANIFEST_LOCK)
    candidates = files.named(name)
    if is_dataset and not candidates:
        return None
    path = PurePosixPath(name.replace("\\", "/"))
    absolute = path.is_absolute() or PureWindowsPath(name).drive
    if not is_dataset and (absolute or ".." in path.parts):
        raise bad_key(f"{key}.file", "a path inside the bundle", name, MANIFEST_LOCK)
    if not isinstance(digest, str):
        raise bad_key(f"{key}.sha256", "64 hex digits", digest, MANIFEST_LOCK)
    matching = [candidate for candidate in candidates if files.hashes[candidate] == digest.lower()]
    if not matching:
        raise Refusal(
            f"{key} does not match {MANIFEST_LOCK}" if candidates else f"{key} is not in the bundle",
            expected=f"sha256 {digest}",
            received=", ".join(files.hashes[candidate] for candidate in candidates) or "no such file",
            where=", ".join(candidates) or name,
            remedy="The bundle was damaged or changed after it was sealed: fetch it again, do not edit it.",
        )
    return matching[0]
