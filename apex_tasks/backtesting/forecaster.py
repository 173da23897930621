"""Scores of many sessions of one dataset: neighboring sessions share a panel, so that rows are decoded once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from apex_tasks.bundle import ResolvedBundle
from apex_tasks.bundle.supply import require_supply
from apex_tasks.dataset.code_histories import new_history_warning
from apex_tasks.dataset.keys import RowKeys, scan_keys
from apex_tasks.dataset.panel import build_panel
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import DatasetFile, day_from_epoch, days_since_epoch
from apex_tasks.model.forecast import forecast
from apex_tasks.portfolio.selection import ranked_scores
from apex_tasks.settings import ApexSettings

if TYPE_CHECKING:
    from torch import Tensor

PANEL_DAYS = 700
"""Calendar days from the first to the last session of one panel: bounds the memory to about 650 sessions of rows."""


class Forecaster:
    """Ranked scores of sessions, each computed once.

    Parameters
    ----------
    bundle, state_dict
        The model.
    dataset
        Where the features come from.
    last
        Last session that will be asked for; later rows are not looked at.
    settings
        Normalization, horizon, batch size.
    progress
        Called with (description, done, total).
    new_history_after
        When a code that comes back is another stock, see `dataset.code_histories`; None: never, as in v0.1.0.
    """

    def __init__(
        self,
        bundle: ResolvedBundle,
        state_dict: Mapping[str, Tensor],
        dataset: DatasetFile,
        last: dt.date,
        settings: ApexSettings,
        progress: ReportProgress | None = None,
        *,
        new_history_after: int | None,
    ) -> None:
        self._bundle = bundle
        self._state_dict = state_dict
        self._dataset = dataset
        self._last = last
        self._settings = settings
        self._progress = progress
        self._new_history_after = new_history_after
        self._forecasts: dict[dt.date, pd.DataFrame] = {}
        self.non_finite_cells = 0
        """NaN and infinite cells treated as missing in the panels built so far."""

    @cached_property
    def keys(self) -> RowKeys:
        """Keys of all rows up to the last session."""
        return scan_keys(self._dataset, self._last, new_history_after=self._new_history_after)

    @cached_property
    def days(self) -> list[dt.date]:
        """Dates of the dataset up to the last session, ascending."""
        return [day_from_epoch(day) for day in np.unique(self.keys.days)]

    @cached_property
    def _full_windows(self) -> Mapping[int, int]:
        full = self.keys.days[self.keys.age >= self._bundle.lookback - 1]
        days, counts = np.unique(full, return_counts=True)
        return dict(zip(days.tolist(), counts.tolist(), strict=True))

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 of all of the bundle, of its checkpoint, config and feature list."""
        bundle = self._bundle
        return {
            "bundle": bundle.bundle_sha256,
            "checkpoint": bundle.checkpoint_sha256,
            "config": bundle.config_sha256,
            "features": bundle.feature_hash,
        }

    @property
    def warnings(self) -> list[str]:
        """What the handshake warned of, and features of the panels so far that are not what they should be."""
        warnings = list(self._bundle.warnings)
        if filled := self._bundle.plan.filled:
            warnings.append(f"{len(filled)} features are not in the dataset and were fed as 0")
        if cells := self.non_finite_cells:
            warnings.append(f"{cells} NaN or infinite cells of features were treated as missing")
        lookback = self._bundle.lookback
        begun_again = {code for day in self._forecasts for code in self.keys.begun_again(day, lookback)}
        if begun_again and self._new_history_after is not None:
            warnings.append(new_history_warning(sorted(begun_again), self._new_history_after, lookback))
        return warnings

    def prepare(self, sessions: Iterable[dt.date]) -> None:
        """Score several sessions at once.

        Sessions with fewer full windows than the bundle's `min_stocks_per_day` are left for `ranked` to refuse.
        """
        missing = sorted(day for day in set(sessions) if day not in self._forecasts and self._supplied(day))
        for number, part in enumerate(_spans(missing)):
            panel = build_panel(
                self._dataset,
                self._bundle.plan,
                part,
                lookback=self._bundle.lookback,
                normalization=self._settings.ranking.normalization,
                clip_sigma=self._bundle.clip_sigma,
                keys=self.keys,
                progress=self._labelled(f"Building panel {number + 1}"),
            )
            self.non_finite_cells += int(panel.non_finite.sum())
            for day in part:
                windows = panel.windows[day]
                self._forecasts[day] = forecast(
                    self._bundle,
                    self._state_dict,
                    panel.rows,
                    windows.codes,
                    windows.start,
                    self._settings.inference,
                )
                if self._progress:
                    self._progress("Scoring", len(self._forecasts), len(missing))

    def ranked(self, session: dt.date) -> pd.DataFrame:
        """Ranked scores of one session, as `selection.ranked_scores` gives them; see `forecasts`."""
        return ranked_scores(self.forecasts(session), self._bundle.horizon, self._bundle.selection.sign)

    def forecasts(self, session: dt.date) -> pd.DataFrame:
        """`Code`, ascending, and the model's output for each horizon, as `model.forecast` gives them: not oriented.

        Raises
        ------
        Refusal
            Fewer stocks are eligible than the bundle's `min_stocks_per_day`.
        """
        self._require_supply(self._windows_on(session), session)
        self.prepare([session])
        forecasts = self._forecasts[session]
        self._require_supply(len(forecasts), session)  # raw mode leaves fewer than there are windows
        return forecasts

    def _require_supply(self, eligible: int, session: dt.date) -> None:
        require_supply(
            eligible,
            session,
            self._dataset.path,
            lookback=self._bundle.lookback,
            min_stocks_per_day=self._bundle.min_stocks_per_day,
            normalization=self._settings.ranking.normalization,
        )

    def _windows_on(self, session: dt.date) -> int:
        return self._full_windows.get(days_since_epoch(session), 0)

    def _supplied(self, session: dt.date) -> bool:
        return self._windows_on(session) >= self._bundle.min_stocks_per_day

    def _labelled(self, label: str) -> ReportProgress | None:
        progress = self._progress
        return None if progress is None else lambda _, done, total: progress(label, done, total)


def _spans(days: list[dt.date]) -> Iterator[list[dt.date]]:
    """Cut ascending days into runs of at most `PANEL_DAYS` calendar days."""
    part: list[dt.date] = []
    for day in days:
        if part and (day - part[0]).days > PANEL_DAYS:
            yield part
            part = []
        part.append(day)
    if part:
        yield part
