"""The one base of all typed records: unchangeable, and without fields that nobody knows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A record that never changes; an unknown field is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
