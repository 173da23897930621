"""Bundles written by this package: accepted by its own handshake, and the same bytes every time."""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from apex_tasks.bundle import read_bundle, resolve_bundle, write_bundle
from apex_tasks.refusal import Refusal
from apex_tasks.settings import BundleLimits
from tests.support.bundle_factory import ALIASES_BYTES, GROUPS_BYTES, INIT_LOG, settings, tiny_config, weights

EXTRA = {
    "bundle_version": "demo",
    "checkpoint": {"base_features": 89, "effective_dim": 178, "csz_mode": "demo"},
    "expected_behavior": {"model_init_log": INIT_LOG, "effective_dim": 178},
    "synthetic": True,
}


def write(out: Path, **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "state_dict": weights(),
        "config": tiny_config(),
        "feature_groups": GROUPS_BYTES,
        "feature_aliases": ALIASES_BYTES,
        "manifest_extra": EXTRA,
        "created": "2025-10-31",
    }
    return write_bundle(out, **(arguments | changes))


@pytest.mark.parametrize("name", ["bundle", "bundle.tar.gz"])
def test_what_is_written_passes_the_handshake(tmp_path: Path, dataset: Path, name: str) -> None:
    files = read_bundle(write(tmp_path / "new" / name), BundleLimits())
    bundle = resolve_bundle(files, dataset, settings())
    assert bundle.effective_dim == 178
    assert {file.status.value for file in bundle.files} == {"manifest", "verified"}
    assert bundle.created == "2025-10-31"
    assert bundle.csz_mode == "demo"
    assert yaml.safe_load(files.contents[bundle.config_path]) == tiny_config()
    manifest = json.loads(files.contents["MANIFEST.lock"])
    assert manifest["synthetic"] is True
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name], "no drafts are left"


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "1" / "b.tar.gz").read_bytes()
    views = {name: torch.stack([t, t])[1] for name, t in weights().items()}
    assert write(tmp_path / "2" / "b.tar.gz", state_dict=views).read_bytes() == first
    folder = read_bundle(write(tmp_path / "3" / "b"), BundleLimits())
    assert folder.sha256 == read_bundle(tmp_path / "1" / "b.tar.gz", BundleLimits()).sha256
    assert write(tmp_path / "4" / "b.tar.gz", created="2025-11-01").read_bytes() != first
    assert first[4:8] == bytes(4), "no time in the gzip header"
    with gzip.open(tmp_path / "1" / "b.tar.gz") as file, tarfile.open(fileobj=file) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(0, 0, 0, "")}


def test_lists_are_optional_and_the_rest_then_comes_from_the_package(tmp_path: Path, dataset: Path) -> None:
    out = write(tmp_path / "b", feature_groups=None, feature_aliases=None)
    assert sorted(path.name for path in out.rglob("*.*")) == ["MANIFEST.lock", "ranker.pt", "ranker.yaml"]
    bundle = resolve_bundle(read_bundle(out, BundleLimits()), dataset, settings())
    assert bundle.feature_source.startswith("packaged")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for name in ("b", "b.tar.gz"):
        out = write(tmp_path / name)
        before = read_bundle(out, BundleLimits()).sha256
        with pytest.raises(Refusal, match="output exists"):
            write(out, created="2026-01-01")
        assert read_bundle(out, BundleLimits()).sha256 == before
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")


@pytest.mark.parametrize("named", [None, "../groups.yaml", "/groups.yaml", "MANIFEST.lock"])
def test_lists_need_a_place_inside_the_bundle(tmp_path: Path, named: str | None) -> None:
    config = tiny_config()
    config["data"]["feature_groups_config"] = named
    with pytest.raises(Refusal, match="feature_groups_config"):
        write(tmp_path / "b", config=config)
    assert not (tmp_path / "b").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for name in ("b", "b.tar.gz"):
        with pytest.raises(OSError, match="No space"):
            write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
