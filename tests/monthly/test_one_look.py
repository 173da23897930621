"""What is hashed is what is read: a dataset that is replaced between any two looks publishes and stores nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from apex_tasks.dataset import schema
from apex_tasks.monthly.build_panel import PANELS, build_panel
from apex_tasks.performance.mark_ledger import mark_ledger
from apex_tasks.performance.request import PerformanceRequest
from apex_tasks.performance.stored_ledgers import LEDGERS
from apex_tasks.refusal import Refusal
from apex_tasks.store import Store, file_sha256
from tests.support.small_market import JULY, OCTOBER, SmallMarket, month, small_settings

Replace = Callable[[Path, Path], None]
Result = TypeVar("Result")


def by_rename(other: Path, name: Path) -> None:
    shutil.copy(other, name.with_suffix(".new"))
    name.with_suffix(".new").rename(name)


def in_place(other: Path, name: Path) -> None:
    """The same inode, with the old times of content."""
    before = name.stat()
    name.write_bytes(other.read_bytes())
    os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns))


@dataclass
class Openings:
    """Counts the looks at the dataset, and replaces it before one of them."""

    replace_before: int
    replace: Callable[[], None]
    seen: int = 0

    def __call__(self) -> None:
        if self.seen == self.replace_before:
            self.replace()
        self.seen += 1


def watch(monkeypatch: pytest.MonkeyPatch, openings: Openings) -> None:
    """Look over the shoulder of everything that opens the file: Arrow, and the hash."""
    parquet_file, sha256 = pq.ParquetFile, file_sha256

    class Watched(parquet_file):  # type: ignore[valid-type]
        def __init__(self, *args: object, **kwargs: object) -> None:
            openings()
            super().__init__(*args, **kwargs)

        def read_row_group(self, *args: object, **kwargs: object) -> object:
            openings()
            return super().read_row_group(*args, **kwargs)

        def read_row_groups(self, *args: object, **kwargs: object) -> object:
            openings()
            return super().read_row_groups(*args, **kwargs)

    def watched_sha256(path: Path) -> str:
        openings()
        return sha256(path)

    monkeypatch.setattr(pq, "ParquetFile", Watched)
    monkeypatch.setattr(schema, "file_sha256", watched_sha256)


@pytest.fixture(scope="module")
def two(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The market and another with the same layout, which would give another book."""
    other = tmp_path_factory.mktemp("other") / "other.parquet"
    values = {name: np.flip(market.values(name)) for name in ("Close", "AdjustmentClose", "rsi_14")}
    return market.dataset, market.changed(other, **values)


def replaced_at(
    two: tuple[Path, Path], name: Path, replace: Replace, at: int, monkeypatch: pytest.MonkeyPatch
) -> Openings:
    shutil.copy(two[0], name)
    openings = Openings(at, lambda: replace(two[1], name))
    watch(monkeypatch, openings)
    return openings


def unless_replaced(step: Callable[[], Result]) -> Result | None:
    try:
        return step()
    except Refusal as refusal:
        if "was replaced while it was read" in refusal.what:
            return None
        raise


@pytest.mark.parametrize("replace", [by_rename, in_place])
def test_a_panel_of_two_files_is_never_built(
    market: SmallMarket, two: tuple[Path, Path], tmp_path: Path, replace: Replace
) -> None:
    name, home, refused = tmp_path / "dataset.parquet", tmp_path / "home", 0
    shutil.copy(two[0], name)
    run = month(market, home, JULY, dataset=str(name), cold_start=True)
    request = run._panel_request(run.validate_bundle())
    shutil.copy(two[0], name)
    sound = build_panel(request, Store(str(tmp_path / "sound")))
    at, done = 0, False
    while not done:
        store = Store(str(tmp_path / f"home-{at}"))
        with pytest.MonkeyPatch.context() as patch:
            openings = replaced_at(two, name, replace, at, patch)
            panel = unless_replaced(lambda: build_panel(request, store))  # noqa: B023
        if panel is None:
            assert store.names(PANELS) == []
            refused += 1
        else:  # replaced before the first look or after the last: a panel of one file, under its own hash
            same_file = panel.dataset_sha256 == sound.dataset_sha256
            assert (panel.content_hash == sound.content_hash) is same_file, at
            assert at == 0 or openings.seen <= at
        done, at = openings.seen <= at, at + 1
    assert refused >= 10


@pytest.mark.parametrize("replace", [by_rename, in_place])
def test_a_ledger_of_two_files_is_never_marked(
    chain: Path, two: tuple[Path, Path], tmp_path: Path, replace: Replace
) -> None:
    name, at, done, refused = tmp_path / "dataset.parquet", 0, False, 0
    while not done:
        home = tmp_path / f"home-{at}"
        shutil.copytree(chain / "portfolio", home / "portfolio")
        request = PerformanceRequest(
            dataset=str(name), bundle="unused", until=OCTOBER, due=OCTOBER, settings=small_settings(home)
        )
        with pytest.MonkeyPatch.context() as patch:
            openings = replaced_at(two, name, replace, at, patch)
            ledger = unless_replaced(lambda: mark_ledger(request, Store(str(home))))  # noqa: B023
        if ledger is None:
            assert Store(str(home)).names(LEDGERS) == []
            refused += 1
        else:
            assert at == 0 or openings.seen <= at
        done, at = openings.seen <= at, at + 1
    assert refused >= 4
