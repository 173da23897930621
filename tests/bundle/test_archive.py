"""What a bundle may be packed as, and what is refused before a byte of it is used."""

import gzip
import hashlib
import io
import os
import struct
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.bundle.archive import BundleFiles, check_member_path, read_bundle
from apex_tasks.refusal import Refusal
from apex_tasks.settings import BundleLimits
from tests.support.bundle_factory import MANIFEST, write_files, write_tar

LIMITS = BundleLimits()
FILES = {MANIFEST: b"{}", "models/m.pt": b"weights", "configs/c.yaml": b"a: 1"}


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


def refused(source: Path, what: str, limits: BundleLimits = LIMITS) -> Refusal:
    with pytest.raises(Refusal, match=what) as caught:
        read_bundle(source, limits)
    assert str(source) in str(caught.value)
    return caught.value


@pytest.mark.parametrize("top", ["", "./", "apex_v1/", "./apex_v1/"])
def test_folder_and_archive_hold_the_same(tmp_path: Path, top: str) -> None:
    folder = read_bundle(write_files(FILES, tmp_path / "folder"), LIMITS)
    folders = [member(path, tarfile.DIRTYPE) for path in (top or ".", f"{top}models")]
    archive = write_tar({top + name: data for name, data in FILES.items()}, tmp_path / "b.tar.gz", *folders)
    packed = read_bundle(archive, LIMITS)
    assert packed.contents == folder.contents == FILES
    assert list(packed.contents) == sorted(FILES)
    assert packed.sha256 == folder.sha256


def test_bundle_hash_is_the_hash_of_sorted_paths_and_hashes() -> None:
    lines = b""
    for path in sorted(FILES):
        lines += path.encode() + b"\0" + hashlib.sha256(FILES[path]).hexdigest().encode() + b"\n"
    assert BundleFiles("x", FILES).sha256 == hashlib.sha256(lines).hexdigest()
    assert BundleFiles("y", dict(reversed(FILES.items()))).sha256 == hashlib.sha256(lines).hexdigest()
    moved = {MANIFEST: b"{}", "models/n.pt": b"weights", "configs/c.yaml": b"a: 1"}
    assert BundleFiles("x", moved).sha256 != BundleFiles("x", FILES).sha256


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil", "a\nb", "bad\udc80"])
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, name: str) -> None:
    refused(write_tar({**FILES, name: b"x"}, tmp_path / "b.tar.gz"), "unsafe path")
    refused(write_tar(FILES, tmp_path / "d.tar.gz", member(name, tarfile.DIRTYPE)), "unsafe path")
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, MANIFEST),
        (tarfile.LNKTYPE, MANIFEST),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_archives_are_refused(tmp_path: Path, kind: bytes, link: str) -> None:
    refused(write_tar(FILES, tmp_path / "b.tar.gz", member("odd", kind, link)), "link or device")


def test_links_and_pipes_in_folders_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for make in (
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.symlink_to(outside),
        lambda path: os.mkfifo(path),
    ):
        folder = write_files(FILES, tmp_path / "folder")
        make(folder / "odd")
        refused(folder, "link or device")
        (folder / "odd").unlink()
    read_bundle(folder, LIMITS)


def test_a_link_to_the_bundle_itself_is_fine(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(write_files(FILES, tmp_path / "v1"))
    assert read_bundle(tmp_path / "current", LIMITS).contents == FILES


def test_limits_count_files_and_bytes(tmp_path: Path) -> None:
    mib = 1 << 20
    files = {MANIFEST: b"{}", "big": bytes(mib - 2)}
    archive, folder = write_tar(files, tmp_path / "b.tar.gz"), write_files(files, tmp_path / "folder")
    more_archive = write_tar({**files, "one": b"x"}, tmp_path / "c.tar.gz")
    more_folder = write_files({"one": b"x"}, write_files(files, tmp_path / "more"))
    size, count = BundleLimits(max_unpacked_mib=1), BundleLimits(max_files=2)
    for fits in (archive, folder):
        read_bundle(fits, size)
        read_bundle(fits, count)
    for exceeds in (more_archive, more_folder):
        refused(exceeds, "unpacks to too much", size)
        refused(exceeds, "too many files", count)


def test_a_gzip_bomb_is_refused_early(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    refused(bomb, "unpacks to too much", BundleLimits(max_unpacked_mib=1, max_files=10))


def test_many_empty_folders_are_refused(tmp_path: Path) -> None:
    folders = [member(f"d{index}", tarfile.DIRTYPE) for index in range(12)]
    refused(write_tar(FILES, tmp_path / "b.tar.gz", *folders), "too many folders", BundleLimits(max_files=10))


def test_a_header_may_not_lie_about_its_size(tmp_path: Path) -> None:
    for size in (-512, -1024, -1, 1 << 40, -(1 << 62)):
        header = bytearray(member("liar").tobuf(format=tarfile.GNU_FORMAT))
        header[124:136] = (b"\xff" * 4 if size < 0 else b"\x80\0\0\0") + struct.pack(">q", size)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as archive:
            info = member(MANIFEST)
            info.size = 2
            archive.addfile(info, io.BytesIO(b"{}"))
            end = archive.offset
        packed = tmp_path / "liar.tar.gz"
        packed.write_bytes(gzip.compress(plain.getvalue()[:end] + bytes(header) + bytes(1024)))
        refused(packed, "bundle")


def test_damaged_archives_are_refused_wherever_they_are_cut(tmp_path: Path) -> None:
    whole = write_tar(
        {f"top/{name}": data for name, data in FILES.items()}, tmp_path / "b.tar.gz"
    ).read_bytes()
    cut = tmp_path / "cut.tar.gz"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        refused(cut, "bundle")
    cut.write_bytes(b"PK\x03\x04 not a tar.gz")
    refused(cut, "cannot be read|damaged")
    cut.write_bytes(gzip.compress(b"not a tar" * 100))
    refused(cut, "damaged")


def test_ambiguous_names_are_refused(tmp_path: Path) -> None:
    refused(write_tar({**FILES, "./models/m.pt": b"other"}, tmp_path / "b.tar.gz"), "path twice")
    refused(write_tar({**FILES, "models": b"file"}, tmp_path / "c.tar.gz"), "file and a folder")


def test_without_a_manifest_it_is_no_bundle(tmp_path: Path) -> None:
    refused(write_files({"models/m.pt": b"x"}, tmp_path / "folder"), "no MANIFEST.lock")
    refused(write_tar({f"a/{MANIFEST}": b"{}", "b": b""}, tmp_path / "b.tar.gz"), "no MANIFEST.lock")
    refused(write_tar({f"a/b/{MANIFEST}": b"{}"}, tmp_path / "c.tar.gz"), "no MANIFEST.lock")
    refused(write_tar({}, tmp_path / "d.tar.gz"), "no MANIFEST.lock")
    refused(tmp_path / "nowhere", "bundle is missing")


@given(st.text(max_size=40))
def test_accepted_paths_stay_below_their_root(name: str) -> None:
    path = check_member_path(name)
    if path is not None:
        root = Path("/root/of/bundle")
        assert Path(os.path.normpath(root / path)).is_relative_to(root)
        assert Path(os.path.normpath(root / path)) != root


def test_names_stand_for_files_of_the_same_last_name() -> None:
    files = BundleFiles("x", {"a/c.yaml": b"", "b/c.yaml": b"", "m.pt": b""})
    assert files.named("a/c.yaml") == files.named("./a/c.yaml") == ("a/c.yaml",)
    assert files.named("elsewhere/c.yaml") == ("a/c.yaml", "b/c.yaml")
    assert files.named("models/m.pt") == ("m.pt",)
    assert files.named("models/n.pt") == ()


def test_what_a_desktop_leaves_is_no_part_of_the_bundle(tmp_path: Path) -> None:
    plain = read_bundle(write_files(FILES, tmp_path / "plain"), LIMITS)
    left = {"._m", "models/._m.pt", ".DS_Store", "models/.DS_Store", "Thumbs.db", "configs/desktop.ini"}
    littered = {**FILES, **dict.fromkeys(left, b"Mac OS X"), f"._{MANIFEST}": b"\0\5\x16\7"}
    folder = read_bundle(write_files(littered, tmp_path / "folder"), LIMITS)
    # As tar of macOS packs a folder: an entry of attributes before each, the folder's own included.
    packed = {f"apex/{name}": data for name, data in littered.items()}
    archive = write_tar({"._apex": b"", **packed, "__MACOSX/apex/._m": b""}, tmp_path / "b.tar.gz")
    for found in (folder, read_bundle(archive, LIMITS)):
        assert found.contents == plain.contents
        assert found.sha256 == plain.sha256
        assert set(found.left_out) >= {name if found is folder else f"apex/{name}" for name in left}


def test_links_and_too_many_files_of_a_desktop_are_refused_all_the_same(tmp_path: Path) -> None:
    link = member("._m", tarfile.SYMTYPE)
    link.linkname = "/etc/passwd"
    refused(write_tar(FILES, tmp_path / "b.tar.gz", link), "link or device")
    refused(write_tar({**FILES, "../._m": b""}, tmp_path / "c.tar.gz"), "unsafe path")
    many = {**FILES, **{f"._{number}": b"" for number in range(LIMITS.max_files + 1)}}
    refused(write_tar(many, tmp_path / "d.tar.gz"), "too many files")


def test_names_written_on_windows_mean_the_same_files() -> None:
    files = BundleFiles("x", {"a/c.yaml": b"", "b/c.yaml": b"", "m.pt": b""})
    assert files.named("a\\c.yaml") == files.named(".\\a\\c.yaml") == ("a/c.yaml",)
    assert files.named("D:\\work\\m.pt") == ("m.pt",)
    assert files.named("elsewhere\\c.yaml") == ("a/c.yaml", "b/c.yaml")
