"""The audit trail: whatever is changed afterwards, in it or in what it vouches for, is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apex_tasks.published import audit
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store
from tests.support.faults import failures

DAYS = ("2025-07-01", "2025-08-01", "2025-09-01")
Lines = list[bytes]


def publish(store: Store, day: str, version: str = "v1") -> None:
    artifact = store.write("portfolio", day, version, files={"book.json": day.encode(), "run.json": b"{}"})
    publication = audit.Publication(
        portfolio=f"{day}/{version}",
        content_hash=artifact.content_hash,
        manifest_sha256=artifact.manifest_sha256,
        parent=None,
        run_id="test",
        republish_reason="日本",
    )
    audit.append(store, audit.PUBLISHED, publication.model_dump(mode="json"))


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    store = Store(tmp_path / "home" if request.param == "folder" else f"memory://{tmp_path}/home")
    for day in DAYS:
        publish(store, day)
    return store


def edit(store: Store, change: Callable[[Lines], Lines]) -> None:
    path = store.root / "audit" / audit.TRAIL
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))


def problems(store: Store) -> tuple[str, ...]:
    return audit.verify(store).problems


def test_an_untouched_store_is_clean(store: Store) -> None:
    assert audit.verify(store) == audit.AuditReport(3, ())
    assert [record.details["portfolio"] for record in audit.records(store)] == [f"{day}/v1" for day in DAYS]
    assert [record.sequence for record in audit.records(store)] == [1, 2, 3]


def test_an_empty_store_is_clean(tmp_path: Path) -> None:
    assert audit.verify(Store(tmp_path)) == audit.AuditReport(0, ())


def test_each_record_holds_the_hash_of_the_line_before(store: Store) -> None:
    lines = (store.root / "audit" / audit.TRAIL).read_bytes().splitlines()
    previous = [json.loads(line)["previous"] for line in lines]
    assert previous == ["0" * 64, *(hashlib.sha256(line).hexdigest() for line in lines[:-1])]


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("field", ["time", "event", "sequence", "previous", "details"])
def test_a_changed_field_of_any_record_is_found(store: Store, index: int, field: str) -> None:
    def change(lines: Lines) -> Lines:
        record = json.loads(lines[index])
        record[field] = {"portfolio": "2025-07-01/v1"} if field == "details" else "other"
        lines[index] = json.dumps(record, sort_keys=True, ensure_ascii=False).encode()
        return lines

    edit(store, change)
    assert f"record {index + 1} was changed" in problems(store)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_removed_record_is_found(store: Store, index: int) -> None:
    edit(store, lambda lines: lines[:index] + lines[index + 1 :])
    found = problems(store)
    assert f"portfolio {DAYS[index]}/v1 has no audit record; run its publish step again" in found
    if index < 2:
        assert f"record {index + 1} does not follow from the record before it" in found


def test_a_repeated_record_is_found(store: Store) -> None:
    edit(store, lambda lines: [*lines, lines[-1]])
    assert problems(store) == ("record 4 does not follow from the record before it",)


def test_an_inserted_record_is_found_even_when_it_is_well_made(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    publish(other, "2025-06-02")
    forged = (other.root / "audit" / audit.TRAIL).read_bytes().rstrip(b"\n")
    edit(store, lambda lines: [lines[0], forged, *lines[1:]])
    found = problems(store)
    assert "record 2 does not follow from the record before it" in found
    assert "record 3 does not follow from the record before it" in found
    assert "portfolio 2025-06-02/v1 was removed after publication" in found


def test_a_well_made_record_out_of_sequence_is_found(store: Store) -> None:
    def forge(lines: Lines) -> Lines:
        record = {**json.loads(lines[-1]), "previous": hashlib.sha256(lines[-1]).hexdigest(), "sequence": 9}
        del record["sha256"]
        content = json.dumps(record, sort_keys=True, ensure_ascii=False).encode()
        record["sha256"] = hashlib.sha256(content).hexdigest()
        return [*lines, json.dumps(record, sort_keys=True, ensure_ascii=False).encode()]

    edit(store, forge)
    assert problems(store) == ("record 4 does not follow from the record before it",)


def test_a_well_made_publication_of_nothing_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    audit.append(store, audit.PUBLISHED, {"portfolio": "2025-07-01/v1"})
    assert problems(store) == ("record 1 was changed",)
    with pytest.raises(Refusal, match="a publication of the audit trail cannot be read"):
        audit.publications(store)


@pytest.mark.parametrize("line", [b"", b"not json", b"[]", b"{}", b'{"sequence": "first"}'])
def test_records_that_cannot_be_read_are_refused_by_number(store: Store, line: bytes) -> None:
    edit(store, lambda lines: [lines[0], line, *lines[2:]])
    assert "record 2 was changed" in problems(store)
    with pytest.raises(Refusal, match="record 2 of the audit trail cannot be read"):
        audit.records(store)


def test_publications_are_those_of_the_trail(store: Store) -> None:
    audit.append(store, "approved", {"run_id": "another event"})
    assert [found.portfolio for found in audit.publications(store)] == [f"{day}/v1" for day in DAYS]


def test_swapped_records_are_found(store: Store) -> None:
    edit(store, lambda lines: [lines[1], lines[0], lines[2]])
    assert [message[:8] for message in problems(store)] == ["record 1", "record 2", "record 3"]


def test_a_trail_that_was_cut_or_deleted_is_found(store: Store) -> None:
    edit(store, lambda lines: lines[:1])
    assert len(problems(store)) == 2
    (store.root / "audit" / audit.TRAIL).unlink()
    assert len(problems(store)) == 3


def test_a_changed_removed_or_added_file_is_found(store: Store) -> None:
    folders = [store.root / "portfolio" / day / "v1" for day in DAYS]
    (folders[0] / "book.json").write_bytes(b"changed")
    (folders[1] / "run.json").unlink()
    (folders[2] / "extra.csv").write_bytes(b"added")
    assert problems(store) == (
        f"portfolio {DAYS[0]}/v1: book.json was changed",
        f"portfolio {DAYS[1]}/v1: run.json was removed",
        f"portfolio {DAYS[2]}/v1: extra.csv was added",
    )


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[]", b'{"files": {}, "identity": [], "details": {}}']
)
def test_a_changed_manifest_is_found_and_not_believed(store: Store, content: bytes) -> None:
    (store.root / "portfolio" / DAYS[1] / "v1" / "manifest.json").write_bytes(content)
    assert problems(store) == (f"the manifest of portfolio {DAYS[1]}/v1 was changed after publication",)


def test_a_removed_portfolio_is_found(store: Store) -> None:
    folder = store.root / "portfolio" / DAYS[0] / "v1"
    for path in list(folder.iterdir()):
        path.unlink()
    assert problems(store) == (f"portfolio {DAYS[0]}/v1 was removed after publication",)


def test_a_portfolio_without_a_record_is_found(store: Store) -> None:
    store.write("portfolio", "2025-10-01", "v1", files={"book.json": b"smuggled"})
    assert problems(store) == ("portfolio 2025-10-01/v1 has no audit record; run its publish step again",)


def test_what_a_killed_publish_left_is_no_problem(store: Store) -> None:
    folder = store.root / "portfolio" / "2025-10-01" / "v1"
    folder.mkdir(parents=True)
    (folder / "book.json").write_bytes(b"without a manifest")
    (store.root / "portfolio" / DAYS[0] / "v1" / ".run.json.k2x").write_bytes(b"scratch")
    assert problems(store) == ()


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("clean"))
    for day in DAYS:
        publish(store, day)
    return store


@given(data=st.data())
@example(data=None)
@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_byte_of_the_trail_can_be_changed(clean: Store, data: st.DataObject | None) -> None:
    path = clean.root / "audit" / audit.TRAIL
    original = path.read_bytes()
    place = -1 if data is None else data.draw(st.integers(0, len(original) - 1))
    value = 0x0D if data is None else data.draw(st.integers(0, 255).filter(lambda v: v != original[place]))
    changed = bytearray(original)
    changed[place] = value
    path.write_bytes(bytes(changed))
    try:
        assert problems(clean)
    finally:
        path.write_bytes(original)
    assert not problems(clean)


def test_a_fault_while_appending_leaves_the_old_trail_or_the_new_one(tmp_path: Path) -> None:
    home, spare = tmp_path / "home", tmp_path / "spare"
    store = Store(home)
    publish(store, DAYS[0])
    shutil.copytree(home, spare)
    sizes = []
    for _ in failures(lambda: audit.append(store, "note", {"x": 1})):
        sizes.append(len(audit.records(store)))
        assert problems(store) == ()
        shutil.rmtree(home)
        shutil.copytree(spare, home)
    assert sizes == sorted(sizes)
    assert set(sizes) == {1, 2}
