"""The store: what is not complete does not exist, whatever happens to its writer and wherever it lies."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.refusal import Refusal
from apex_tasks.store import (
    MANIFEST,
    Store,
    canonical_json,
    content_hash,
    content_key,
    file_sha256,
    local_path,
    write_file,
)
from tests.support.faults import failures, kills

FILES = {"a.bin": b"alpha" * 100, "b.bin": b"beta" * 200, "c.bin": b"gamma" * 300}


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A local store and a remote one: every test that asks for it must pass on both."""
    return Store(tmp_path / "home" if request.param == "folder" else f"memory://{tmp_path.name}/home")


def visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_an_artifact_comes_back_as_it_was_written(store: Store) -> None:
    written = store.write("panels", "k", files=FILES, details={"stocks": 3, "days": ("x", "y")})
    found = store.get("panels", "k")
    assert {name: found.read_bytes(name) for name in FILES} == FILES
    assert found.details == written.details == {"stocks": 3, "days": ["x", "y"]}
    assert found.manifest == written.manifest
    assert found.manifest_sha256 == hashlib.sha256((found.folder / MANIFEST).read_bytes()).hexdigest()
    for name, data in FILES.items():
        assert found.manifest.files[name].model_dump() == {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        }


def test_a_function_writes_a_local_file_that_reads_back(store: Store) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, rows, allow_pickle=False)

    artifact = store.write("panels", "k", files={"rows.npy": write})
    with artifact.local_file("rows.npy") as local:
        np.testing.assert_array_equal(np.load(local, mmap_mode="r", allow_pickle=False), rows)
    assert local.exists() == (local_path(store.root) is not None)  # a download is removed again


def test_what_is_not_there_is_none_or_refused(store: Store) -> None:
    assert store.find("plans", "nothing") is None
    assert store.names("plans") == []
    with pytest.raises(Refusal, match=r"an artifact of an earlier step.*plans/nothing/manifest\.json"):
        store.get("plans", "nothing")


def test_names_are_the_folders_in_order(store: Store) -> None:
    for name in ("v2", "v10", "v1"):
        store.write("portfolio", "2025-01-06", name, files={"x": b"1"})
    (store.root / "portfolio" / "2025-01-06" / "stray.txt").write_bytes(b"no folder")
    assert store.names("portfolio", "2025-01-06") == ["v1", "v10", "v2"]
    assert store.names("portfolio") == ["2025-01-06"]


def test_a_changed_file_is_refused_whichever_way_it_is_read(store: Store) -> None:
    artifact = store.write("scores", "k", files=FILES)
    (artifact.folder / "b.bin").write_bytes(b"other")
    with pytest.raises(Refusal, match=r"changed after it was written.*b\.bin"):
        artifact.read_bytes("b.bin")
    with pytest.raises(Refusal, match="changed after"), artifact.local_file("b.bin"):
        pass
    assert artifact.read_bytes("a.bin") == FILES["a.bin"]


def test_a_damaged_manifest_is_refused(store: Store) -> None:
    artifact = store.write("scores", "k", files=FILES)
    (artifact.folder / MANIFEST).write_bytes(b'{"files": ')
    with pytest.raises(
        Refusal, match=r"changed after it was written.*files, identity and details.*manifest\.json"
    ):
        store.find("scores", "k")


def test_identity_covers_only_the_named_files(store: Store) -> None:
    first = store.write("p", "1", files={"result": b"same", "log": b"monday"}, identity=["result"])
    second = store.write("p", "2", files={"result": b"same", "log": b"tuesday"}, identity=["result"])
    everything = store.write("p", "3", files={"result": b"same", "log": b"tuesday"})
    assert first.content_hash == second.content_hash != everything.content_hash
    assert first.content_hash == content_hash({"result": hashlib.sha256(b"same").hexdigest()})


def test_the_manifest_is_written_last(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def see_no_manifest(path: Path) -> None:
        assert store.find("a", "b") is None
        path.write_bytes(b"data")

    store.write("a", "b", files={"1": see_no_manifest, "2": see_no_manifest})
    assert store.find("a", "b") is not None


def test_every_fault_leaves_the_artifact_whole_or_absent(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    def write() -> None:
        Store(tmp_path).write("a", "b", files=FILES, durable=True)

    points = []
    for point in failures(write):
        points.append(point)
        if (artifact := Store(tmp_path).find("a", "b")) is not None:
            assert {name: artifact.read_bytes(name) for name in FILES} == FILES
        assert not [path.name for path in folder.glob(".*")], "a scratch file was left behind"
        for path in folder.iterdir() if folder.exists() else ():
            path.unlink()
    assert len(points) > 4 * (len(FILES) + 1)


@pytest.mark.parametrize("strike", [failures, kills])
def test_a_replaced_file_is_the_old_one_or_the_new_one(tmp_path: Path, strike: object) -> None:
    path = Store(tmp_path).root / "trail.jsonl"
    old, new = b"old\n" * 50, b"new\n" * 70
    path.write_bytes(old)
    seen = []
    for _ in strike(lambda: write_file(path, new, durable=True)):
        seen.append(path.read_bytes())
        path.write_bytes(old)
    assert set(seen) == {old, new}
    assert seen == sorted(seen, reverse=True), "once the new one is there, it stays"
    write_file(path, new)
    assert path.read_bytes() == new


def test_durable_forces_each_file_and_its_folder_to_disk_before_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def spy(handle: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        real(handle)

    monkeypatch.setattr(os, "fsync", spy)
    Store(tmp_path).write("a", "b", files=FILES, durable=True)
    assert synced == ["file", "folder"] * (len(FILES) + 1)
    synced.clear()
    Store(tmp_path).write("a", "c", files=FILES)
    assert synced == []


def test_files_are_readable_by_other_users(tmp_path: Path) -> None:
    artifact = Store(tmp_path).write("a", "b", files=FILES)
    for path in Path(artifact.folder).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_lock_lets_one_writer_pass_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apex_tasks.store.LOCK_TIMEOUT_SECONDS", 0.05)
    with Store(tmp_path).lock("publish"):
        with (
            pytest.raises(Refusal, match="another process holds the store's lock"),
            Store(tmp_path).lock("publish"),
        ):
            pass
        with Store(tmp_path).lock("other"):
            pass
    with Store(tmp_path).lock("publish"):
        pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_canonical_json_reads_back_and_ignores_the_order_of_keys(value: dict[str, object]) -> None:
    encoded = canonical_json(value)
    assert json.loads(encoded) == value
    assert canonical_json(dict(reversed(value.items()))) == encoded


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_canonical_json_refuses_what_json_cannot_say(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": number})


def test_keys_and_hashes_are_frozen() -> None:
    # A change of these makes every stored artifact unfindable: the form is golden.
    expected = hashlib.sha256(b'{\n "a": 1,\n "b": "x"\n}\n').hexdigest()
    assert content_key(b="x", a=1) == content_key(a=1, b="x") == expected
    assert content_hash({"b": "2", "a": "1"}) == hashlib.sha256(b"a 1\nb 2").hexdigest()


def test_file_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
