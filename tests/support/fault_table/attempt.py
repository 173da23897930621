"""A month with a fault before it runs: what it is given, for changes to change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.support.bundle_factory import Draft, write_files
from tests.support.console import Outcome
from tests.support.fault_table.command import call_apex
from tests.support.fault_table.market import SoundMarket, sound_draft, write_rows


@dataclass
class Attempt:
    """`apex run` for October with everything sound, until changes bend it.

    Attributes
    ----------
    market
        The sound one.
    folder
        Its own, for inputs and home.
    from_cash
        A cold start; otherwise the home has September's book.
    table, dataset
        Rows, and the file that is named; the file is written from the rows unless a change writes it itself.
    bundle, home
        Paths.
    arguments, environment
        Of the command line, besides the usual ones.
    """

    market: SoundMarket
    folder: Path
    from_cash: bool = True
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.table: pa.Table = self.market.table
        self.dataset = self.market.dataset
        self.bundle = self.market.bundle
        self.home = self.folder / "home"
        if not self.from_cash:
            shutil.copytree(self.market.after_september, self.home)

    def write(self, **how: Any) -> Path:
        """Write the rows as the dataset, with some way of writing parquet."""
        self.dataset = self.folder / "dataset.parquet"
        return write_rows(self.table, self.dataset, **how)

    def run(self) -> Outcome:
        """Run the month."""
        if self.table is not self.market.table and self.dataset == self.market.dataset:
            self.write()
        environment = {
            "APEX_HOME": str(self.home),
            "APEX_DATASET": str(self.dataset),
            "APEX_BUNDLE": str(self.bundle),
            **self.environment,
        }
        usual = ["--cold-start"] if self.from_cash else []
        date = [] if "--date" in self.arguments else ["--date", "2025-10-01"]
        return call_apex(["run", *date, *usual, "--json", *self.arguments], environment)


Change = Callable[[Attempt], None]


def both(*changes: Change) -> Change:
    """Several changes, in their order."""

    def change(attempt: Attempt) -> None:
        for one in changes:
            one(attempt)

    return change


def sound(attempt: Attempt) -> None:
    """No change."""


def asked(*arguments: str, **environment: str) -> Change:
    """Other arguments of the command line, other variables of the environment."""

    def change(attempt: Attempt) -> None:
        attempt.arguments += arguments
        attempt.environment |= environment

    return change


def settings_file(text: str) -> Change:
    """A settings file that replaces the packaged one."""

    def change(attempt: Attempt) -> None:
        path = attempt.folder / "apex.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        attempt.environment["APEX_SETTINGS"] = str(path)

    return change


def bent(bend: Callable[[Draft], object]) -> Change:
    """Another bundle, whose hashes agree."""

    def change(attempt: Attempt) -> None:
        draft = sound_draft()
        bend(draft)
        attempt.bundle = draft.folder(attempt.folder / "bundle")

    return change


def damaged(damage: Callable[[dict[str, bytes]], object]) -> Change:
    """The bundle's files, changed after they were sealed."""

    def change(attempt: Attempt) -> None:
        files = sound_draft().seal()
        damage(files)
        attempt.bundle = write_files(files, attempt.folder / "bundle")

    return change
