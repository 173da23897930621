"""Panels: the windows of feature rows that the model reads, for one or many as-of dates.

A window is a stock's own last `lookback` rows, so it stretches over a suspension. All windows are views of one
row store sorted by Code, then Date, where each is a run of consecutive rows; many dates share their rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.features.feature_plan import FeaturePlan
from apex_tasks.dataset.features.feature_reader import read_features
from apex_tasks.dataset.judgement.feature_supply import FeatureSupply, SupplyCounts
from apex_tasks.dataset.keys import RowKeys, scan_keys
from apex_tasks.dataset.normalization import cross_sectional_zscore
from apex_tasks.dataset.parquet_reader import ParquetReader
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import DatasetFile, day_from_epoch
from apex_tasks.settings import Normalization

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Windows:
    """The eligible stocks of one as-of date.

    Attributes
    ----------
    codes : (n_stocks,) str
        Ascending.
    start : (n_stocks,) int64
        First row of each stock's window in the row store.
    """

    codes: npt.NDArray[np.str_]
    start: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Panel:
    """Row store and windows.

    Attributes
    ----------
    rows : (n_rows, n_features) float32
        Normalized feature rows in (Code, Date) order.
    windows
        Per as-of date, the eligible stocks.
    non_finite : (n_features,) int64
        NaN and infinite values met on the panel's days and treated as missing; nulls do not count.
    supply
        Finite values of each feature on the panel's days, over all rows of a day.
    """

    rows: npt.NDArray[np.float32]
    windows: dict[dt.date, Windows]
    non_finite: npt.NDArray[np.int64]
    supply: FeatureSupply


def build_panel(
    dataset: DatasetFile,
    plan: FeaturePlan,
    as_of_dates: Sequence[dt.date],
    *,
    lookback: int,
    normalization: Normalization,
    clip_sigma: float,
    keys: RowKeys | None = None,
    progress: ReportProgress | None = None,
) -> Panel:
    """Decode the rows that the dates need, normalize them and lay out the windows.

    A stock is eligible on a date when it has a row on it and at least `lookback` rows up to it; in raw mode
    its window must also be free of missing values. Only row groups that hold a needed day are decoded, and
    of those only the planned columns; z-scores use every row of a day, eligible or not.

    Parameters
    ----------
    keys
        Result of `scan_keys` for the last date, when the caller has it already, or where a window may not reach from
        one history of a code into the next; by default it may, as in v0.1.0.

    Returns
    -------
    Panel
        Dates without any eligible stock have empty windows.
    """
    dates = sorted(set(as_of_dates))
    if keys is None:
        keys = scan_keys(dataset, dates[-1])
    ends = {day: _window_ends(keys, day, lookback) for day in dates}
    needed, slot = _lay_out(len(keys.days), ends.values(), lookback)

    rows = np.empty((int(needed.sum()), len(plan.sources)), dtype=np.float32)
    non_finite = np.zeros(len(plan.sources), dtype=np.int64)
    counts = SupplyCounts(len(plan.sources))
    for day, day_features, day_slots in _days(dataset, plan, keys, needed, slot, non_finite, progress):
        counts.add(day, day_features)
        if normalization is Normalization.CSZ:
            day_features = cross_sectional_zscore(day_features, clip_sigma)
        stored = day_slots >= 0
        with np.errstate(over="ignore"):  # beyond float32 is infinite: a raw window that holds it is dropped
            rows[day_slots[stored]] = day_features.astype(np.float32).T[stored]
    windows = {
        day: Windows(keys.codes[keys.code_index[end]], slot[end] - lookback + 1) for day, end in ends.items()
    }
    if normalization is Normalization.RAW:
        windows = _without_missing(rows, windows, lookback)
    return Panel(rows, windows, non_finite, counts.supply())


def _window_ends(keys: RowKeys, day: dt.date, lookback: int) -> npt.NDArray[np.int64]:
    on_day = keys.on(day)
    return on_day[keys.age[on_day] >= lookback - 1]


def _lay_out(
    n_rows: int, ends: Iterable[npt.NDArray[np.int64]], lookback: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Mark the rows that any window covers and number them; -1 where none does."""
    steps = np.zeros(n_rows + 1, dtype=np.int64)
    for end in ends:
        steps[end - lookback + 1] += 1
        steps[end + 1] -= 1
    needed = np.cumsum(steps[:-1]) > 0
    return needed, np.where(needed, np.cumsum(needed) - 1, -1)


def _days(
    dataset: DatasetFile,
    plan: FeaturePlan,
    keys: RowKeys,
    needed: npt.NDArray[np.bool_],
    slot: npt.NDArray[np.int64],
    non_finite: npt.NDArray[np.int64],
    progress: ReportProgress | None,
) -> Iterator[tuple[dt.date, npt.NDArray[np.floating], npt.NDArray[np.int64]]]:
    """Yield every needed day with all its rows: features (n_features, n_stocks) and store slots.

    Row groups stream through: a day is handed on as soon as all its rows have been read, so a file sorted
    by Date never holds more than a row group's rows in memory.
    """
    n_days = int(keys.days.max()) + 1 if len(keys.days) else 0
    day_needed = np.zeros(n_days, dtype=bool)
    day_needed[keys.days[needed]] = True
    wanted = np.flatnonzero(day_needed[keys.days])  # all rows of these days, needed themselves or not
    missing_rows = np.bincount(keys.days[wanted], minlength=n_days)
    by_place = wanted[np.lexsort((keys.row_in_group[wanted], keys.group[wanted]))]
    groups, first_of_group = np.unique(keys.group[by_place], return_index=True)
    pieces = [by_place[first:last] for first, last in pairwise([*first_of_group, len(by_place)])]

    def blocks(file: ParquetReader) -> Iterator[tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]]:
        for group, piece in zip(groups, pieces, strict=True):
            table = file.read_row_group(int(group), columns=list(plan.columns))
            yield read_features(table, plan, keys.row_in_group[piece])

    waiting: list[tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]] = []
    with dataset.open() as file:
        for done, (block, bad) in enumerate(_one_ahead(blocks(file))):
            if progress:
                progress("Building panel", done, len(groups))
            piece = pieces[done]
            non_finite += bad
            waiting.append((block, piece))
            missing_rows -= np.bincount(keys.days[piece], minlength=n_days)
            touched = np.unique(keys.days[piece])
            complete = touched[missing_rows[touched] == 0]
            if not len(complete):
                continue
            block, rows = _by_day(keys, waiting)
            days = keys.days[rows]
            for day in complete:
                first, last = np.searchsorted(days, [day, day + 1])
                yield day_from_epoch(day), block[:, first:last], slot[rows[first:last]]
            rest = missing_rows[days] > 0
            waiting = [(block[:, rest], rows[rest])] if rest.any() else []
    if progress and len(groups):
        progress("Building panel", len(groups), len(groups))


def _one_ahead(results: Iterator[_Result]) -> Iterator[_Result]:
    """Yield the same results, each computed in a thread while the one before is in use."""
    with ThreadPoolExecutor(1) as worker:
        upcoming = worker.submit(next, results, None)
        while (result := upcoming.result()) is not None:
            upcoming = worker.submit(next, results, None)
            yield result


def _by_day(
    keys: RowKeys, parts: list[tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    """Join parts and sort them by day, then Code, so that sums never depend on the order in the file."""
    block = np.concatenate([part for part, _ in parts], axis=1)
    rows = np.concatenate([part for _, part in parts])
    order = np.lexsort((rows, keys.days[rows]))
    if (np.diff(order) == 1).all():
        return block, rows
    return block[:, order], rows[order]


def _without_missing(
    rows: npt.NDArray[np.float32], windows: dict[dt.date, Windows], lookback: int
) -> dict[dt.date, Windows]:
    """Drop windows that hold a missing value, by a cumulative count over the row store."""
    missing_before = np.concatenate([[0], np.cumsum(~np.isfinite(rows).all(axis=1))])
    kept = {}
    for day, window in windows.items():
        clean = missing_before[window.start + lookback] == missing_before[window.start]
        kept[day] = Windows(window.codes[clean], window.start[clean])
    return kept
