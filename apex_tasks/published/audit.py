"""The audit trail: append-only JSON lines, each holding its own hash and the hash of the line before."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError

from apex_tasks.frozen_model import StoredDocument
from apex_tasks.published.run_document import ParentPortfolio
from apex_tasks.refusal import Refusal
from apex_tasks.store import MANIFEST, Artifact, Manifest, Store, write_file

TRAIL = "trail.jsonl"
START = "0" * 64
PUBLISHED = "published"


class AuditRecord(StoredDocument):
    """One line of the trail.

    Attributes
    ----------
    sequence
        Number of the line, from 1.
    previous
        SHA-256 of the line before; `START` in the first.
    time
        When it was written: UTC, ISO 8601.
    event, details
        What happened, and to what.
    """

    sequence: int
    previous: str
    time: str
    event: str
    details: dict[str, JsonValue]


class Publication(StoredDocument):
    """Details of the event `PUBLISHED`.

    Attributes
    ----------
    portfolio
        `<rebalance date>/v<version>`.
    content_hash, manifest_sha256
        Of the published folder.
    parent
        The portfolio that the orders start from; None from cash.
    run_id, republish_reason
        Who published it, and why again.
    """

    portfolio: str
    content_hash: str
    manifest_sha256: str
    parent: ParentPortfolio | None
    run_id: str
    republish_reason: str | None


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


def append(store: Store, event: str, details: Mapping[str, JsonValue]) -> None:
    """Add one record; the caller holds the store's lock.

    The trail is replaced as a whole, atomically, so that a kill leaves the old trail or the new one.
    """
    path = store.root / "audit" / TRAIL
    lines = _lines(store)
    record = AuditRecord(
        sequence=len(lines) + 1,
        previous=_hash(lines[-1]) if lines else START,
        time=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        event=event,
        details=dict(details),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(
        path, b"".join(old + b"\n" for old in [*lines, _seal(record.model_dump(mode="json"))]), durable=True
    )


def records(store: Store) -> list[AuditRecord]:
    """All records, oldest first; `verify` says whether they are those that were written.

    Raises
    ------
    Refusal
        A line is no record.
    """
    return [_parse(line, number, store) for number, line in enumerate(_lines(store), start=1)]


def publications(store: Store) -> list[Publication]:
    """What was published, oldest first.

    Raises
    ------
    Refusal
        A line is no record, or a record of a publication lacks something.
    """
    found = [record for record in records(store) if record.event == PUBLISHED]
    try:
        return [Publication.model_validate(record.details) for record in found]
    except ValidationError as error:
        raise _unreadable(store, "a publication", error) from None


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
            record = _unseal(line)
            if record.previous != previous or record.sequence != number:
                problems.append(f"record {number} does not follow from the record before it")
            if record.event == PUBLISHED:
                published = Publication.model_validate(record.details)
                recorded[published.portfolio] = published.manifest_sha256
        except ValueError:
            problems.append(f"record {number} was changed")
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
                problems += _check_files(Artifact(folder, Manifest.model_validate_json(manifest)), name)
    problems += [f"portfolio {name} was removed after publication" for name in recorded if name not in found]
    return problems


def _check_files(artifact: Artifact, name: str) -> list[str]:
    problems = []
    files = sorted(artifact.manifest.files)
    for file in files:
        path = artifact.folder / file
        if not path.exists():
            problems.append(f"portfolio {name}: {file} was removed")
        elif _hash(path.read_bytes()) != artifact.sha256(file):
            problems.append(f"portfolio {name}: {file} was changed")
    present = sorted(path.name for path in artifact.folder.iterdir() if not path.name.startswith("."))
    return problems + [
        f"portfolio {name}: {file} was added" for file in present if file != MANIFEST and file not in files
    ]


def _seal(record: Mapping[str, object]) -> bytes:
    """Line of a record; without the hash of its own content nothing would guard the last line."""
    content = json.dumps(record, sort_keys=True, ensure_ascii=False)
    sealed = {**json.loads(content), "sha256": _hash(content.encode())}
    return json.dumps(sealed, sort_keys=True, ensure_ascii=False).encode()


def _unseal(line: bytes) -> AuditRecord:
    """The record of a line.

    Raises
    ------
    ValueError
        The line is not, byte for byte, what was written.
    """
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("no record")
    content = {name: value for name, value in record.items() if name != "sha256"}
    if _seal(content) != line:
        raise ValueError("not as it was sealed")
    return AuditRecord.model_validate(record)


def _parse(line: bytes, number: int, store: Store) -> AuditRecord:
    try:
        return AuditRecord.model_validate_json(line)
    except ValidationError as error:
        raise _unreadable(store, f"record {number}", error) from None


def _unreadable(store: Store, what: str, error: ValidationError) -> Refusal:
    return Refusal(
        f"{what} of the audit trail cannot be read",
        expected="a record as it was written",
        received=error.errors()[0]["msg"],
        where=store.root / "audit" / TRAIL,
        remedy="Run `apex audit verify`, and bring the trail back from a backup.",
    )


def _lines(store: Store) -> list[bytes]:
    try:
        data = (store.root / "audit" / TRAIL).read_bytes()
    except FileNotFoundError:
        return []
    # Not splitlines: it would also split at a carriage return that somebody put in.
    return data.removesuffix(b"\n").split(b"\n") if data else []


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
