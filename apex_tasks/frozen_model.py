"""The bases of all typed records."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class FrozenModel(BaseModel):
    """A record that never changes; an unknown field is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredDocument(BaseModel):
    """A document in the store: a field that another version of this package wrote is kept as it is."""

    model_config = ConfigDict(frozen=True, extra="allow")


def first_fault(error: ValidationError) -> str:
    """The first field that is wrong, and why, in one line."""
    fault = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in fault["loc"])
    return f"{name}: {fault['msg']}" if name else fault["msg"]
