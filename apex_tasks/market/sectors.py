"""The 33 sectors of the Tokyo Stock Exchange by name."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from apex_tasks.settings import configs_folder


class SectorName(NamedTuple):
    """A sector as the exchange names it."""

    japanese: str
    english: str


@cache
def sector_names() -> Mapping[str, SectorName]:
    """Four-digit code of the 33-sector classification -> its names."""
    with (configs_folder() / "tse_sectors.csv").open(encoding="utf-8", newline="") as file:
        return {row["code"]: SectorName(row["japanese"], row["english"]) for row in csv.DictReader(file)}
