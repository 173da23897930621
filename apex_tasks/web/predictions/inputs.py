"""The bundle and the dataset that are served: validated, hashed, and noticed when they change."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from apex_tasks.bundle import BundleFiles, ResolvedBundle, read_bundle, resolve_bundle
from apex_tasks.bundle.archive import MANIFEST_LOCK
from apex_tasks.bundle.checkpoint import load_checkpoint
from apex_tasks.bundle.manifest import verify_manifest
from apex_tasks.dataset.freshness import check_freshness
from apex_tasks.dataset.judgement.judge import judge_prices
from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.schema import DatasetFile, day_from_epoch, open_dataset
from apex_tasks.market.calendar import FIRST_DAY, LAST_DAY, TseCalendar
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings
from apex_tasks.web.file_fingerprint import Stamp, file_fingerprint

if TYPE_CHECKING:
    from torch import Tensor

COMPLETE_SEARCH = 20
"""Newest sessions among which the default one is looked for."""
READ_ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class ServedInputs:
    """A validated bundle and the dataset it was validated with.

    Attributes
    ----------
    stamp
        State of the files that were read.
    bundle, weights
        The bundle and its checkpoint's tensors.
    dataset_sha256
        Hash of the dataset file.
    sessions
        TSE sessions with at least the bundle's `min_stocks_per_day` full windows, ascending.
    default
        The newest of them that is complete, or None.
    last_day
        Last date of the dataset.
    """

    stamp: tuple[Stamp, ...]
    bundle: ResolvedBundle
    weights: Mapping[str, Tensor]
    dataset: DatasetFile
    sessions: tuple[dt.date, ...]
    default: dt.date | None
    last_day: dt.date

    @cached_property
    def available(self) -> frozenset[dt.date]:
        """The sessions, for looking one up."""
        return frozenset(self.sessions)


class InputSource:
    """Where bundle and dataset come from.

    Parameters
    ----------
    model
        A bundle, folder or tar.gz, or a file inside an unpacked one.
    dataset
        The parquet file.
    config
        Config that the bundle must hold, byte for byte; None: whichever it holds.
    settings
        Settings in force.
    """

    def __init__(
        self,
        model: Path,
        dataset: Path,
        settings: ApexSettings,
        calendar: TseCalendar,
        config: Path | None = None,
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.config = config
        self.settings = settings
        self.calendar = calendar
        self._hashed: DatasetFile | None = None

    def stamp(self) -> tuple[Stamp, ...]:
        """State of all the files at this moment; takes a few microseconds a file."""
        files = (bundle_of(self.model), self.dataset, *([] if self.config is None else [self.config]))
        return tuple(file_fingerprint(file) for file in files)

    def read(self) -> ServedInputs:
        """Validate bundle and dataset as they are now.

        Raises
        ------
        Refusal
            Either is refused, or keeps changing while it is read.
        """
        for _ in range(READ_ATTEMPTS):
            stamp = self.stamp()
            inputs = self._read(stamp)
            if self.stamp() == stamp:
                return inputs
        raise Refusal(
            "bundle or dataset changed while it was read",
            expected="files that are replaced at once",
            received=f"a change in each of {READ_ATTEMPTS} attempts",
            where=f"{self.model}, {self.dataset}",
            remedy="Deliver the file under another name and rename it into place.",
        )

    def _read(self, stamp: tuple[Stamp, ...]) -> ServedInputs:
        files = read_bundle(bundle_of(self.model), self.settings.bundle_limits)
        require_named(files, self.model, self.config)
        bundle = resolve_bundle(files, self.dataset, self.settings)
        weights = load_checkpoint(files.contents[bundle.checkpoint_path], bundle.checkpoint_path).state_dict
        dataset = self._opened()
        sessions, last_day = self._sessions(bundle, dataset)
        return ServedInputs(
            stamp=stamp,
            bundle=bundle,
            weights=weights,
            dataset=dataset,
            sessions=sessions,
            default=self._newest_complete(sessions, dataset),
            last_day=last_day,
        )

    def _opened(self) -> DatasetFile:
        """The dataset as it is now, hashed; an unchanged file keeps the hash that was computed of it."""
        now = open_dataset(self.dataset)
        if self._hashed is None or self._hashed.identity != now.identity:
            self._hashed = now
        _ = (
            self._hashed.sha256
        )  # now, not when the first prediction asks: the file may be another one by then
        return self._hashed

    def _sessions(self, bundle: ResolvedBundle, dataset: DatasetFile) -> tuple[tuple[dt.date, ...], dt.date]:
        keys = scan_keys(
            dataset, dt.date.max, new_history_after=self.settings.ranking.new_history_after_sessions
        )
        days, counts = np.unique(keys.days[keys.age >= bundle.lookback - 1], return_counts=True)
        supplied = [day_from_epoch(day) for day in days[counts >= bundle.min_stocks_per_day]]
        sessions = tuple(day for day in supplied if self._is_session(day))
        if not sessions:
            raise Refusal(
                "the dataset has no session to predict from",
                expected=f"a TSE session with {bundle.min_stocks_per_day} stocks of {bundle.lookback} rows each",
                received=f"{len(np.unique(keys.days))} days, none of them with enough",
                where=self.dataset,
                remedy="Deliver a dataset that reaches far enough back.",
            )
        return sessions, day_from_epoch(keys.days.max())

    def _is_session(self, day: dt.date) -> bool:
        return FIRST_DAY <= day <= LAST_DAY and self.calendar.is_session(day)

    def _is_sound(self, dataset: DatasetFile, day: dt.date) -> bool:
        return not judge_prices(dataset, day, self.settings, self.calendar).stopping

    def _newest_complete(self, sessions: tuple[dt.date, ...], dataset: DatasetFile) -> dt.date | None:
        for day in reversed(sessions[-COMPLETE_SEARCH:]):
            if check_freshness(dataset, day, self.settings.freshness).ready and self._is_sound(dataset, day):
                return day
        return None


def bundle_of(model: Path) -> Path:
    """The bundle that a path means: itself, or the unpacked bundle around a file of it."""
    path = model.absolute()
    if path.is_file() and not path.name.endswith((".tar.gz", ".tgz")):
        for folder in path.parents:
            if (folder / MANIFEST_LOCK).is_file():
                return folder
    return model


def require_named(files: BundleFiles, model: Path, config: Path | None) -> None:
    """Refuse a model or config file that is not the one that the bundle's manifest names.

    Raises
    ------
    Refusal
        Another file of the bundle is named as the model, or the config differs in a byte.
    """
    verified = verify_manifest(files)
    root = bundle_of(model)
    if root != model:
        named = model.absolute().relative_to(root).as_posix()
        if named not in (verified.checkpoint_path, MANIFEST_LOCK):
            raise Refusal(
                "the model is not the checkpoint of its bundle",
                expected=verified.checkpoint_path,
                received=named,
                where=root / MANIFEST_LOCK,
                remedy="Point --model (APEX_MODEL) at the bundle, or at the checkpoint that its manifest names.",
            )
    if config is None:
        return
    try:
        digest = hashlib.sha256(config.read_bytes()).hexdigest()
    except OSError as error:
        raise Refusal(
            "the config cannot be read",
            expected="the bundle's own config, or none",
            received=error.strerror or type(error).__name__,
            where=config,
            remedy="Point --config (APEX_CONFIG) at the bundle's config, or leave it out.",
        ) from None
    if digest != files.hashes[verified.config_path]:
        raise Refusal(
            "the config is not the one that the bundle was released with",
            expected=f"sha256 {files.hashes[verified.config_path]} of {verified.config_path}",
            received=f"sha256 {digest}",
            where=config,
            remedy="Leave --config (APEX_CONFIG) out: the bundle's own, verified config is in force.",
        )
