"""Settings that are several words: a comma separated string, as environment variables are, or a yaml list."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_settings import NoDecode

_Word = TypeVar("_Word", bound=str)


def _split(value: object) -> object:
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(word for part in value.split(",") if (word := part.strip()))
    return value


# NoDecode: else an environment variable would have to be JSON.
CommaSeparated = Annotated[tuple[_Word, ...], NoDecode, BeforeValidator(_split)]
"""Several words; nothing, null and an empty string are none."""

# A user id may be a number in yaml, where nobody would think of quoting it.
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1), Field(coerce_numbers_to_str=True)
]
"""An address or an id."""
