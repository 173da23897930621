"""Step validate_bundle: what it returns, what it keeps, and what it does when the kept files change."""

import hashlib
from pathlib import Path

import pytest
import torch

from apex_tasks.bundle import open_checkpoint
from apex_tasks.monthly.validate_bundle import validate_bundle
from apex_tasks.refusal import Refusal
from apex_tasks.settings import BundleLimits
from tests.support.bundle_factory import CHECKPOINT, Draft, settings, weights
from tests.support.bundle_factory import dataset as write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "prices.parquet")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_and_archive_resolve_alike(tmp_path: Path, dataset: Path) -> None:
    folder = validate_bundle(Draft().folder(tmp_path / "b"), dataset, settings())
    archive = validate_bundle(str(Draft().archive(tmp_path / "b.tar.gz")), str(dataset), settings())
    assert folder.folder is archive.folder is None
    assert folder.model_copy(update={"source": archive.source}) == archive


def test_verified_files_are_kept_under_their_hash(tmp_path: Path, dataset: Path) -> None:
    draft = Draft()
    kept = tmp_path / "home" / "bundles"
    resolved = validate_bundle(draft.archive(tmp_path / "b.tar.gz"), dataset, settings(), kept)
    assert resolved.folder == kept / resolved.bundle_sha256
    assert tree(resolved.folder) == draft.seal()
    assert list(kept.iterdir()) == [resolved.folder], "no drafts are left"
    before = {path: path.stat().st_mtime_ns for path in resolved.folder.rglob("*")}
    assert validate_bundle(tmp_path / "b.tar.gz", dataset, settings(), kept) == resolved
    assert {path: path.stat().st_mtime_ns for path in resolved.folder.rglob("*")} == before
    assert validate_bundle(resolved.folder, dataset, settings()).bundle_sha256 == resolved.bundle_sha256


def test_a_refused_bundle_is_not_kept(tmp_path: Path, dataset: Path) -> None:
    draft = Draft()
    draft.manifest["checkpoint"]["base_features"] = 88
    with pytest.raises(Refusal):
        validate_bundle(draft.folder(tmp_path / "b"), dataset, settings(), tmp_path / "bundles")
    assert not (tmp_path / "bundles").exists()


def test_the_settings_bound_the_bundle(tmp_path: Path, dataset: Path) -> None:
    few = settings().model_copy(update={"bundle_limits": BundleLimits(max_files=2)})
    with pytest.raises(Refusal, match="too many files"):
        validate_bundle(Draft().folder(tmp_path / "b"), dataset, few)


def test_the_checkpoint_opened_is_the_one_verified(tmp_path: Path, dataset: Path) -> None:
    draft = Draft(payload={"model_state_dict": weights()})
    source = draft.folder(tmp_path / "b")
    resolved = validate_bundle(source, dataset, settings(), tmp_path / "bundles")
    (source / CHECKPOINT).write_bytes(b"changed after the handshake")
    state = open_checkpoint(resolved)
    assert list(state) == list(weights())
    assert all(torch.equal(state[name], tensor) for name, tensor in weights().items())


def test_a_kept_file_that_changes_is_found(tmp_path: Path, dataset: Path) -> None:
    source = Draft().folder(tmp_path / "b")
    resolved = validate_bundle(source, dataset, settings(), tmp_path / "bundles")
    assert resolved.folder is not None
    path = resolved.folder / CHECKPOINT
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refusal, match="changed after the handshake") as caught:
        open_checkpoint(resolved)
    assert caught.value.received == hashlib.sha256(data).hexdigest()
    with pytest.raises(Refusal, match="kept bundle was changed") as caught:
        validate_bundle(source, dataset, settings(), tmp_path / "bundles")
    assert CHECKPOINT in caught.value.received
    path.unlink()
    with pytest.raises(Refusal, match="changed after the handshake"):
        open_checkpoint(resolved)


def test_a_file_added_to_a_kept_bundle_is_found(tmp_path: Path, dataset: Path) -> None:
    source = Draft().folder(tmp_path / "b")
    resolved = validate_bundle(source, dataset, settings(), tmp_path / "bundles")
    assert resolved.folder is not None
    (resolved.folder / "more").write_bytes(b"")
    with pytest.raises(Refusal, match="kept bundle was changed"):
        validate_bundle(source, dataset, settings(), tmp_path / "bundles")


def test_two_runs_that_keep_the_same_bundle(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, kept = Draft().folder(tmp_path / "b"), tmp_path / "bundles"
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        validate_bundle(source, dataset, settings(), kept)  # the other run is faster
        return self.rename(target)

    monkeypatch.setattr(Path, "rename", late)
    resolved = validate_bundle(source, dataset, settings(), kept)
    assert list(kept.iterdir()) == [resolved.folder]
    assert len(open_checkpoint(resolved)) == len(weights())


def test_without_a_folder_nothing_can_be_opened(tmp_path: Path, dataset: Path) -> None:
    resolved = validate_bundle(Draft().folder(tmp_path / "b"), dataset, settings())
    with pytest.raises(ValueError, match="bundles_folder"):
        open_checkpoint(resolved)
