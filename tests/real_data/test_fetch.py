"""Fetching the real panel, without any network: what is not the pinned file is never read."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from real_data import fetch

from apex_tasks.refusal import Refusal
from tests.support.paths import ROOT

RETURNS, VOLUMES = b"Date,AAA\n2007-01-04,0.1\n", b"Date,AAA\n2007-01-03,7\n"


def archive(**changes: tarfile.TarInfo | bytes | None) -> bytes:
    """A source distribution with the two files; a change replaces one, None leaves it out."""
    members = {"returns": gzip.compress(RETURNS), "volumes": gzip.compress(VOLUMES), **changes}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            if content is None:
                continue
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            member = tarfile.TarInfo(f"{fetch.FOLDER}/{name}.csv.gz")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def pinned(tmp_path, monkeypatch):
    def write(data: bytes) -> Path:
        monkeypatch.setattr(fetch, "SDIST_SHA256", hashlib.sha256(data).hexdigest())
        (tmp_path / fetch.SDIST).write_bytes(data)
        return tmp_path / fetch.SDIST

    return write


@pytest.fixture
def no_index(monkeypatch):
    """pip as on a machine without network; `PIP_FIND_LINKS` may name a folder to look into."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def test_reads_the_two_files_of_the_pinned_archive(pinned):
    assert fetch.read_files(pinned(archive())) == (RETURNS, VOLUMES)


def test_a_single_changed_byte_is_refused_before_the_archive_is_opened(pinned, monkeypatch):
    sdist = pinned(archive())
    changed = bytearray(sdist.read_bytes())
    changed[-1] ^= 1
    sdist.write_bytes(changed)
    monkeypatch.setattr(tarfile, "open", pytest.fail)
    with pytest.raises(Refusal, match="another hash") as refused:
        fetch.read_files(sdist)
    assert refused.value.received == hashlib.sha256(changed).hexdigest()
    assert refused.value.expected == fetch.SDIST_SHA256


def test_a_link_or_an_absent_file_is_refused(pinned):
    link = tarfile.TarInfo(f"{fetch.FOLDER}/returns.csv.gz")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for change in (link, None):
        with pytest.raises(Refusal, match="not what it should be"):
            fetch.read_files(pinned(archive(returns=change)))


def test_a_file_that_unpacks_too_large_is_refused(pinned, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 1_000)
    assert fetch.read_files(pinned(archive(volumes=gzip.compress(bytes(1_000)))))[1] == bytes(1_000)
    with pytest.raises(Refusal, match="not what it should be"):
        fetch.read_files(pinned(archive(volumes=gzip.compress(bytes(1_001)))))


def test_another_file_in_the_index_is_refused_and_not_kept(tmp_path, no_index, monkeypatch):
    served, cache = tmp_path / "index", tmp_path / "cache"
    served.mkdir()
    data = archive()
    (served / fetch.SDIST).write_bytes(data)
    monkeypatch.setenv("PIP_FIND_LINKS", str(served))
    with pytest.raises(Refusal, match="another hash") as refused:
        fetch.fetch(cache)
    assert refused.value.received == hashlib.sha256(data).hexdigest()
    assert list(cache.iterdir()) == []


def test_what_the_cache_has_is_not_fetched_again(tmp_path, monkeypatch):
    (tmp_path / fetch.SDIST).write_bytes(b"whatever it is: read_files looks at it")
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    assert fetch.fetch(tmp_path) == tmp_path / fetch.SDIST


def test_without_an_index_the_evaluation_is_skipped_in_one_line(tmp_path, no_index):
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "evaluate_real.py", "--cache", tmp_path / "cache"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("SKIPPED: the evaluation on real data needs cvxportfolio==1.5.1, ")
    assert "No matching distribution" in line


@pytest.mark.slow
def test_a_tampered_cache_stops_the_evaluation(tmp_path):
    (tmp_path / fetch.SDIST).write_bytes(archive())
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "evaluate_real.py", "--cache", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("REFUSED the source distribution of the real panel has another hash")
    assert sorted(path.name for path in tmp_path.iterdir()) == [fetch.SDIST]
