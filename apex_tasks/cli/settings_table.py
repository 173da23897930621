"""The table of all settings; `python -m apex_tasks.cli.settings_table` prints it for the README."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from pydantic import BaseModel

from apex_tasks.settings import ApexSettings, load_settings


class SettingRow(NamedTuple):
    """One setting: dotted name, environment variable, value in force, meaning."""

    name: str
    variable: str
    value: str
    description: str


def setting_rows(settings: ApexSettings) -> list[SettingRow]:
    """All settings with their values, in the order of the yaml file."""
    return list(_rows(settings, ()))


def markdown_table(settings: ApexSettings) -> str:
    """Render the rows for the README."""
    lines = ["| setting | environment variable | default | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | `{row.variable}` | `{row.value}` | {row.description} |"
        for row in setting_rows(settings)
    ]
    return "\n".join(lines)


def _rows(section: BaseModel, path: tuple[str, ...]) -> Iterator[SettingRow]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        here = (*path, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, here)
            continue
        variable = "APEX_" + "__".join(here).upper()
        yield SettingRow(".".join(here), variable, _shown(value), field.description or "")


def _shown(value: object) -> str:
    if value is None or value == ():
        return "unset"
    if isinstance(value, tuple):
        words = all(isinstance(entry, str) for entry in value)
        return ", ".join(value) if words else f"{len(value)} entries"
    if isinstance(value, Enum):
        return str(value.value)
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else f"{value}"


if __name__ == "__main__":
    print(markdown_table(load_settings()))
