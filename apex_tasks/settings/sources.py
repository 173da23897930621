"""Where settings come from, read strictly: one yaml file, and the environment variables `APEX_…`."""

from __future__ import annotations

import difflib
import json
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from apex_tasks.refusal import Refusal
from apex_tasks.strict_yaml import MAX_YAML_BYTES, parse_yaml_mapping

PREFIX, LEVEL = "APEX_", "__"
LIKENESS = 0.85
"""Likeness, by difflib's ratio, from which a variable's name passes for a misspelt setting."""


def read_settings_file(path: Path) -> dict[str, Any]:
    """Read the yaml file; one without any value leaves every setting at its default.

    Raises
    ------
    Refusal
        It is no readable file, or no YAML mapping that has each key once.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _no_file(path, "a folder" if path.is_dir() else "no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_YAML_BYTES + 1)
    except FileNotFoundError:
        raise _no_file(path, "no such file") from None
    except OSError as error:
        raise _no_file(path, error.strerror or type(error).__name__) from None
    try:
        return parse_yaml_mapping(data, or_empty=True)
    except ValueError as error:
        raise Refusal(
            "settings file cannot be read",
            expected="a yaml mapping in UTF-8, each key once",
            received=error,
            where=path,
            remedy="Correct the file, or deliver it again; the README's table lists every setting.",
        ) from None


def _no_file(path: Path, received: str) -> Refusal:
    return Refusal(
        "settings file is missing" if received == "no such file" else "settings file cannot be read",
        expected="a yaml file",
        received=received,
        where=path,
        remedy="Set APEX_SETTINGS to an existing file, or unset it for the packaged one.",
    )


class EnvironmentVariables(EnvSettingsSource):
    """The variables `APEX_…`; JSON in them has each key once and finite numbers."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Parse a variable that holds a section or a list.

        Raises
        ------
        ValueError
            It is no JSON, repeats a key, or holds NaN or infinity.
        """
        try:
            if super().decode_complex_value(field_name, field, value) is value:
                return value  # words separated by commas, see `comma_separated`
            return json.loads(value, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError("nested too deeply (recursion)") from None


def check_variables(names: Iterable[str], settings: type[BaseModel]) -> None:
    """Refuse variables that would be passed over: what they mean to set would silently stay as it is.

    Other programs have variables with this prefix too, so that one without levels is refused only where it looks
    like a misspelt setting.

    Raises
    ------
    Refusal
        A variable names a section that there is not, is a misspelt setting, or is there twice, in capitals and in
        small letters.
    """
    given = [name for name in names if name.upper().startswith(PREFIX)]
    twice = sorted(name for name, count in Counter(name.upper() for name in given).items() if count > 1)
    if twice:
        raise Refusal(
            f"environment variable {twice[0]} is set twice",
            expected="one spelling",
            received="capitals and small letters",
            where="environment",
            remedy="Unset one of the two: which of them wins is chance.",
        )
    fields = sorted(settings.model_fields)
    for name in sorted(given):
        first, *rest = name[len(PREFIX) :].lower().split(LEVEL)
        likely = difflib.get_close_matches(first, fields, n=1, cutoff=LIKENESS)
        if first not in fields and (rest or likely):
            raise Refusal(
                f"environment variable {name!r} is no setting",
                expected=f"{PREFIX}{likely[0].upper()}" if likely else f"{PREFIX}<SECTION>{LEVEL}<SETTING>",
                received=repr(name),
                where="environment",
                remedy="Correct its name, or unset it; the README's table lists every variable.",
            )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"key {repeated[0][:50]!r} appears twice")
    return dict(pairs)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
