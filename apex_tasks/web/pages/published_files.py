"""Files of published months and of drafts, asked for by path parts that nobody needs to trust."""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

from apex_tasks.published.portfolio import (
    PORTFOLIOS,
    REPORT_FILE,
    RESULT_FILES,
    PublishedPortfolio,
)
from apex_tasks.published.run_document import EXECUTION_FILE, RUN_FILE
from apex_tasks.store import Artifact, Store, damaged

PUBLISHED_FILES = (*RESULT_FILES, RUN_FILE, REPORT_FILE, EXECUTION_FILE)
DRAFT_FILES = (RUN_FILE, REPORT_FILE)
_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
# Digits are spelt out: in a pattern, \d also means those of other scripts.
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_VERSION = re.compile(r"v([1-9][0-9]{0,5})")
_KEY = re.compile(r"[0-9a-f]{64}")


class UnknownError(Exception):
    """A path or parameter that names nothing; the message may be shown."""


class PortfolioName(NamedTuple):
    """Which version of which month."""

    rebalance_date: dt.date
    version: int

    def __str__(self) -> str:
        return f"{self.rebalance_date}/v{self.version}"

    @classmethod
    def parse(cls, text: str) -> PortfolioName:
        """Read `<rebalance date>/v<version>`.

        Raises
        ------
        UnknownError
            The text has another form, or no such day exists.
        """
        day, _, version = text.partition("/")
        number = _VERSION.fullmatch(version)
        if number and _DATE.fullmatch(day):
            try:
                return cls(dt.date.fromisoformat(day), int(number[1]))
            except ValueError:
                pass
        raise UnknownError(
            f"expected a rebalance date and a version such as 2025-10-01/v1, received {text[:80]!r}"
        )


def find_portfolio(store: Store, name: PortfolioName) -> PublishedPortfolio:
    """The published version of that name.

    Raises
    ------
    UnknownError
        It is not published.
    Refusal
        Its manifest is damaged.
    """
    artifact = store.find(PORTFOLIOS, str(name.rebalance_date), f"v{name.version}")
    if artifact is None:
        raise UnknownError(f"{name} is not published in {store.root}")
    return PublishedPortfolio(*name, artifact)


def find_draft(store: Store, key: str) -> Artifact:
    """The draft of that key.

    Raises
    ------
    UnknownError
        There is none.
    Refusal
        Its manifest is damaged.
    """
    from apex_tasks.monthly.draft import DRAFTS  # with all that computes one: only where somebody asks

    artifact = store.find(DRAFTS, key) if _KEY.fullmatch(key) else None
    if artifact is None:
        raise UnknownError(f"there is no draft {key[:80]!r} in {store.root}")
    return artifact


def read_file(artifact: Artifact, name: str, known: tuple[str, ...]) -> bytes:
    """One file, checked against its manifest.

    Raises
    ------
    UnknownError
        The name is none of the known ones, or not in the manifest.
    Refusal
        The file or its manifest is damaged.
    """
    if name not in known:
        raise UnknownError(f"expected one of {', '.join(known)}, received {name[:80]!r}")
    if name not in artifact.manifest.files:
        raise UnknownError(f"{name} is not among the files of {artifact.folder}")
    try:
        return artifact.read_bytes(name)
    except OSError as error:
        raise damaged(artifact, name, error) from None


def media_type(name: str) -> str:
    """What the content of a file is, for a browser."""
    return _MEDIA_TYPES[name.rpartition(".")[2]]
