"""The bases of all typed records."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from apex_tasks.frozen_model import FrozenModel, StoredDocument, first_fault


class Inner(FrozenModel):
    size: int


class Record(FrozenModel):
    name: str
    inner: Inner


class Document(StoredDocument):
    name: str


def test_a_record_never_changes_and_knows_its_fields() -> None:
    record = Record(name="a", inner=Inner(size=1))
    with pytest.raises(ValidationError):
        record.name = "b"
    with pytest.raises(ValidationError):
        Record.model_validate({"name": "a", "inner": {"size": 1}, "other": 2})


def test_a_document_keeps_what_another_version_wrote() -> None:
    document = Document.model_validate({"name": "a", "later": [1, {"b": 2.0}]})
    assert document.model_dump(mode="json") == {"name": "a", "later": [1, {"b": 2.0}]}
    with pytest.raises(ValidationError):
        document.name = "b"


def test_the_first_fault_is_one_line_with_the_place_of_the_field() -> None:
    with pytest.raises(ValidationError) as raised:
        Record.model_validate({"name": "a", "inner": {"size": "large"}})
    assert first_fault(raised.value).startswith("inner.size: ")
    assert "\n" not in first_fault(raised.value)
    with pytest.raises(ValidationError) as raised:
        Record.model_validate_json("not json")
    assert first_fault(raised.value).startswith("Invalid JSON")
