"""The audit trail: append-only JSON lines, each holding the hash of the one before."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apex_tasks.store import Store, write_file

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
    line = json.dumps(record, sort_keys=True, ensure_ascii=False, default=str).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, b"".join(old + b"\n" for old in [*lines, line]), durable=True)


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
        try:
            record = json.loads(line)
            chained = record["previous"] == previous and record["sequence"] == number
        except (ValueError, KeyError, TypeError):
            problems.append(f"record {number} is not a readable audit record")
            previous = _hash(line)
            continue
        if not chained:
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
            artifact = store.find("portfolio", day, version)
            if artifact is None:
                continue  # a killed publish: without its manifest the version does not exist
            name = f"{day}/{version}"
            found.add(name)
            if name not in recorded:
                problems.append(f"portfolio {name} has no audit record; run its publish step again")
            elif recorded[name] != artifact.manifest_sha256:
                problems.append(f"the manifest of portfolio {name} was changed after publication")
            problems += _check_files(artifact.folder, name, artifact.manifest["files"])
    problems += [f"portfolio {name} was removed after publication" for name in recorded if name not in found]
    return problems


def _check_files(folder: Any, name: str, entries: Mapping[str, Mapping[str, object]]) -> list[str]:
    problems = []
    for file, entry in sorted(entries.items()):
        path = folder / file
        if not path.exists():
            problems.append(f"portfolio {name}: {file} was removed")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            problems.append(f"portfolio {name}: {file} was changed")
    return problems


def _lines(store: Store) -> list[bytes]:
    try:
        data = (store.root / "audit" / TRAIL).read_bytes()
    except FileNotFoundError:
        return []
    return data.splitlines()


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
