"""Panels and scores on disk: found again after a restart, built once, and bounded."""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import ValidationError

import apex_tasks
from apex_tasks.monthly.build_panel import (
    PANELS,
    PanelReference,
    PanelRequest,
    build_panel,
    find_panel,
)
from apex_tasks.monthly.infer import SCORES, ScoresReference, infer, read_forecasts, scores_key
from apex_tasks.refusal import DatasetReplaced, Refusal
from apex_tasks.store import MANIFEST, Store, content_key
from apex_tasks.web.file_fingerprint import file_fingerprint
from apex_tasks.web.predictions.inputs import InputSource, ServedInputs

LOCK = "build"
GIB = 1 << 30
COMPUTING_LIBRARIES = ("numpy", "pandas", "pyarrow", "torch")
HOME_FOLDERS = ("portfolio", "audit")

logger = logging.getLogger(__name__)


class InputsChanged(Exception):
    """The dataset was replaced while its panel was built, so what was built is not of one file."""


@dataclass(frozen=True)
class CachedScores:
    """Scores of one session.

    Attributes
    ----------
    forecasts
        As `infer.read_forecasts` gives them.
    panel
        The panel behind them.
    cached
        Neither panel nor scores had to be computed.
    """

    forecasts: pd.DataFrame
    panel: PanelReference
    cached: bool


class PanelCache:
    """Content-addressed panels and scores below one folder.

    Parameters
    ----------
    folder
        Local folder, made when absent; several processes may share it.
    source
        Path of the dataset, and the settings.
    max_bytes
        Size above which what was used longest ago is removed.

    Raises
    ------
    Refusal
        The folder is a store, or a file.
    """

    def __init__(self, folder: Path, source: InputSource, max_bytes: int) -> None:
        is_home = folder.absolute() == Path(source.settings.home).absolute()
        if is_home or folder.is_file() or any((folder / name).exists() for name in HOME_FOLDERS):
            raise Refusal(
                "the cache folder is no folder of its own",
                expected="a folder for the cache alone: what was used longest ago is removed from it",
                received="a file" if folder.is_file() else "a store of published months",
                where=folder,
                remedy="Choose another --cache-dir (PANEL_CACHE_DIR).",
            )
        self._root = folder
        # What other versions computed may differ in the last digits, so each set of versions has its own part.
        self._part = content_key(
            apex=apex_tasks.__version__, **{name: version(name) for name in COMPUTING_LIBRARIES}
        )[:16]
        self._store = Store(folder / self._part)
        self._source = source
        self._max_bytes = max_bytes

    def find(self, inputs: ServedInputs, day: dt.date) -> CachedScores | None:
        """The scores of a session if they are there; they then count as just used.

        Another process may remove them at any moment, and a disk may spoil them: they are then not there.
        """
        return self._find(inputs, day, repair=False)

    def build(self, inputs: ServedInputs, day: dt.date) -> CachedScores:
        """Build the panel, score it, and make room; one process at a time.

        Raises
        ------
        Refusal
            The session cannot be predicted, or the folder cannot be written.
        InputsChanged
            The dataset was replaced meanwhile.
        """
        try:
            with Store(self._root).lock(LOCK):
                found = self._find(inputs, day, repair=True)
                return found or self._build(inputs, day)
        except (OSError, pa.ArrowException) as error:
            raise _failed(error, self._root) from error

    @property
    def bytes(self) -> int:
        """Size of all complete panels and scores."""
        return sum(size for _, size, _ in self._entries())

    def _find(self, inputs: ServedInputs, day: dt.date, *, repair: bool) -> CachedScores | None:
        """Find; `repair` removes what is damaged, which only the holder of the lock may do."""
        request = self._request(inputs, day)
        panel_folder = looked_at = self._place(PANELS, request.key(inputs.dataset.sha256))
        try:
            panel = find_panel(request, self._store, inputs.dataset.sha256)
            if panel is None:
                return None
            looked_at = self._place(SCORES, scores_key(inputs.bundle, panel))
            artifact = self._store.find(SCORES, looked_at.name)
            if artifact is None:
                return None
            forecasts = read_forecasts(artifact)
        except (FileNotFoundError, Refusal, ValidationError) as error:
            if repair:
                logger.warning("Computed again, since the cache is damaged: %s", error)
                _remove(looked_at)
            return None
        except OSError as error:
            logger.warning("The cache cannot be read: %s", error)
            return None
        request.require_supply(panel.eligible)
        logger.info("[Inference] Panel cache hit: %s", panel_folder)
        _touch(panel_folder)
        _touch(looked_at)
        return CachedScores(forecasts, panel, cached=True)

    def _build(self, inputs: ServedInputs, day: dt.date) -> CachedScores:
        self._sweep()
        request = self._request(inputs, day)
        panel = self._build_panel(request, inputs)
        panel_folder = self._place(PANELS, panel.key)
        try:
            reference = self._score(panel, inputs)
        except (Refusal, FileNotFoundError) as error:
            if not panel.cached:
                raise
            logger.warning("Computed again, since the cache is damaged: %s", error)
            _remove(panel_folder)
            panel = self._build_panel(request, inputs)
            reference = self._score(panel, inputs)
        built = {panel_folder, self._place(SCORES, reference.key)}
        if file_fingerprint(self._source.dataset) not in inputs.stamp:
            for folder in sorted(built):
                _remove(folder)
            raise InputsChanged
        forecasts = read_forecasts(self._store.get(SCORES, reference.key))
        self._make_room(built)
        return CachedScores(forecasts, panel, cached=False)

    def _build_panel(self, request: PanelRequest, inputs: ServedInputs) -> PanelReference:
        found = find_panel(request, self._store, inputs.dataset.sha256)
        if found is None:
            logger.info("[Inference] Building panel cache...")
        try:
            panel = build_panel(request, self._store, dataset=inputs.dataset)
        except DatasetReplaced:
            raise InputsChanged from None
        folder = self._place(PANELS, panel.key)
        logger.info("[Inference] Panel cache %s: %s", "saved to" if found is None else "hit", folder)
        return panel

    def _score(self, panel: PanelReference, inputs: ServedInputs) -> ScoresReference:
        return infer(inputs.bundle, panel, self._store, self._source.settings.inference, inputs.weights)

    def _request(self, inputs: ServedInputs, day: dt.date) -> PanelRequest:
        return PanelRequest.of(inputs.bundle, str(self._source.dataset), day, self._source.settings)

    def _place(self, kind: str, key: str) -> Path:
        return self._root / self._part / kind / key

    def _sweep(self) -> None:
        """Remove what a killed process has left; whoever writes holds the lock."""
        for folder in self._folders():
            if not (folder / MANIFEST).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _make_room(self, built: set[Path]) -> None:
        """Remove what was used longest ago, never what was just built."""
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        for _, size, folder in sorted(entries):
            if total <= self._max_bytes:
                break
            if folder not in built:
                logger.info("Panel cache is over its bound, removed: %s", folder)
                _remove(folder)
                total -= size

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Last use, size and folder of every complete panel and scores."""
        found = []
        for folder in self._folders():
            try:
                used = (folder / MANIFEST).stat().st_mtime
                size = sum(file.stat().st_size for file in folder.iterdir())
            except FileNotFoundError:
                continue
            found.append((used, size, folder))
        return found

    def _folders(self) -> list[Path]:
        """Folders of all panels and scores, of whatever versions."""
        return [folder for kind in (PANELS, SCORES) for folder in sorted(self._root.glob(f"*/{kind}/*"))]


def _remove(folder: Path) -> None:
    """Take the manifest first: a kill in between leaves nothing that anyone reads."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _touch(folder: Path) -> None:
    try:
        os.utime(folder / MANIFEST)
    except OSError:
        logger.debug("Not touched: %s", folder)  # removed by another process, or a folder of another user


def _failed(error: Exception, folder: Path) -> Refusal:
    return Refusal(
        "the prediction could not be computed",
        expected="a readable dataset and a cache folder with room",
        received=str(error).splitlines()[0] if str(error) else type(error).__name__,
        where=getattr(error, "filename", None) or folder,
        remedy="Look at the disk and the permissions of both.",
    )
