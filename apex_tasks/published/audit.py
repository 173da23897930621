"""The audit trail: append-only JSON lines, each holding its own hash and the hash of the line before."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from upath import UPath

from apex_tasks.store import MANIFEST, FileEntry, Manifest, Store, write_file

TRAIL = "trail.jsonl"
START = "0" * 64
PUBLISHED = "published"


@dataclass(frozen=True)
class AuditReport:
    """What `verify` found.

    Attributes
    ----------
    records
        Lines in the trail.
    problems
        One sentence per fault, empty when trail and published folders agree.
    """

    records: int
    problems: tuple[str, ...]


def append(store: Store, event: str, details: Mapping[str, object]) -> None:
    """Add one record; the caller holds the store's lock.

    The trail is replaced as a whole, atomically, so that a kill leaves the old trail or the new one.
    """
    path = store.root / "audit" / TRAIL
    lines = _lines(store)
    record = {
        "sequence": len(lines) + 1,
        "previous": _hash(lines[-1]) if lines else START,
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "event": event,
        "details": dict(details),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, b"".join(old + b"\n" for old in [*lines, _seal(record)]), durable=True)


def records(store: Store) -> list[dict[str, Any]]:
    """All records, oldest first."""
    return [json.loads(line) for line in _lines(store)]


def verify(store: Store) -> AuditReport:
    """Check the chain, and every published folder against the record of its publication.

    Finds a changed, removed, reordered or inserted record, a published file that was changed, added or
    removed, and a portfolio without a record (or the reverse), which also shows a trail cut at its end.
    """
    problems: list[str] = []
    lines = _lines(store)
    previous = START
    recorded: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        record = _unseal(line)
        if record is None:
            problems.append(f"record {number} was changed")
        else:
            if record["previous"] != previous or record["sequence"] != number:
                problems.append(f"record {number} does not follow from the record before it")
            if record["event"] == PUBLISHED:
                recorded[record["details"]["portfolio"]] = record["details"]["manifest_sha256"]
        previous = _hash(line)
    problems += _check_portfolios(store, recorded)
    return AuditReport(len(lines), tuple(problems))


def _check_portfolios(store: Store, recorded: Mapping[str, str]) -> list[str]:
    problems: list[str] = []
    found = set()
    for day in store.names("portfolio"):
        for version in store.names("portfolio", day):
            folder = store.root / "portfolio" / day / version
            if not (folder / MANIFEST).exists():
                continue  # a killed publish: without its manifest the version does not exist
            name = f"{day}/{version}"
            found.add(name)
            manifest = (folder / MANIFEST).read_bytes()
            if name not in recorded:
                problems.append(f"portfolio {name} has no audit record; run its publish step again")
            elif recorded[name] != _hash(manifest):
                problems.append(f"the manifest of portfolio {name} was changed after publication")
            else:
                problems += _check_files(folder, name, Manifest.model_validate_json(manifest).files)
    problems += [f"portfolio {name} was removed after publication" for name in recorded if name not in found]
    return problems


def _check_files(folder: UPath, name: str, entries: Mapping[str, FileEntry]) -> list[str]:
    problems = []
    for file, entry in sorted(entries.items()):
        path = folder / file
        if not path.exists():
            problems.append(f"portfolio {name}: {file} was removed")
        elif _hash(path.read_bytes()) != entry.sha256:
            problems.append(f"portfolio {name}: {file} was changed")
    present = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return problems + [
        f"portfolio {name}: {file} was added" for file in present if file != MANIFEST and file not in entries
    ]


def _seal(record: Mapping[str, object]) -> bytes:
    """Line of a record; without the hash of its own content nothing would guard the last line."""
    content = json.dumps(record, sort_keys=True, ensure_ascii=False, default=str)
    sealed = {**json.loads(content), "sha256": _hash(content.encode())}
    return json.dumps(sealed, sort_keys=True, ensure_ascii=False).encode()


def _unseal(line: bytes) -> dict[str, Any] | None:
    """The record of a line, or None when the line is not, byte for byte, what was written."""
    try:
        record = json.loads(line)
        content = {name: value for name, value in record.items() if name != "sha256"}
    except (ValueError, AttributeError):
        return None
    return record if _seal(content) == line else None


def _lines(store: Store) -> list[bytes]:
    try:
        data = (store.root / "audit" / TRAIL).read_bytes()
    except FileNotFoundError:
        return []
    # Not splitlines: it would also split at a carriage return that somebody put in.
    return data.removesuffix(b"\n").split(b"\n") if data else []


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
