"""Strict readers of the JSON and YAML that a bundle ships: bounded, each key once, never executing."""

from __future__ import annotations

import json
import math
import reprlib
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from apex_tasks.refusal import Refusal
from apex_tasks.strict_yaml import MAX_YAML_BYTES, parse_yaml_mapping

MAX_BYTES = MAX_YAML_BYTES

Model = TypeVar("Model", bound=BaseModel)


def read_json(data: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises
    ------
    Refusal
        The text is too long, is not JSON, repeats a key, holds NaN or infinity, or is no object.
    """
    _bound(data, where)
    try:
        document = json.loads(
            data, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise _unreadable("JSON", str(error), where) from None
    return _mapping(document, "JSON", where)


def read_yaml(data: bytes, where: str) -> dict[str, Any]:
    """Parse a YAML mapping of plain values.

    Raises
    ------
    Refusal
        The text is too long, or see `strict_yaml.parse_yaml_mapping`.
    """
    _bound(data, where)
    try:
        return parse_yaml_mapping(data)
    except ValueError as error:
        raise _unreadable("YAML", str(error), where) from None


def validated(model: type[Model], document: dict[str, Any], where: str) -> Model:
    """Validate a document.

    Raises
    ------
    Refusal
        Naming the first key at fault.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise bad_key(
            ".".join(str(part) for part in first["loc"]), first["msg"], first["input"], where
        ) from None


def bad_key(key: str, expected: str, received: object, where: str) -> Refusal:
    """Refusal of one key of a document."""
    return Refusal(
        f"key {key} is invalid",
        expected=expected,
        received=reprlib.repr(received),
        where=f"{where}, {key}",
        remedy="Correct the key where the bundle is made and seal the bundle again, or fetch a sound one.",
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a key appears twice in one object")
    return document


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond float64")
    return value


def _bound(data: bytes, where: str) -> None:
    if len(data) > MAX_BYTES:
        raise Refusal(
            "document is too long",
            expected=f"at most {MAX_BYTES} bytes",
            received=f"{len(data)} bytes",
            where=where,
            remedy="Fetch the bundle again: no sound bundle has a document of this size.",
        )


def _mapping(document: object, kind: str, where: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _unreadable(kind, f"a {type(document).__name__} at the top", where)
    return document


def _unreadable(kind: str, received: str, where: str) -> Refusal:
    return Refusal(
        f"not a readable {kind} document",
        expected=f"{kind} with a mapping at the top and each key once",
        received=" ".join(received.split())[:200],
        where=where,
        remedy="Fetch the bundle again, or correct the document where the bundle is made.",
    )
