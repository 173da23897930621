"""The bases of all typed records."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A record that never changes; an unknown field is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredDocument(BaseModel):
    """A document in the store: a field that another version of this package wrote is kept as it is."""

    model_config = ConfigDict(frozen=True, extra="allow")
