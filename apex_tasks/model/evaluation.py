"""How well a model orders the returns that follow its dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.code_histories import NEW_HISTORY_AFTER_SESSIONS
from apex_tasks.dataset.features.feature_plan import FeaturePlan
from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.panel import build_panel
from apex_tasks.dataset.prices.forward_returns import read_held_returns
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import DatasetFile
from apex_tasks.model.patchtst import ModelShape, PatchTSTRanker
from apex_tasks.model.scoring import score_windows
from apex_tasks.settings import Normalization
from apex_tasks.statistics.rank_ic import rank_ic


@dataclass(frozen=True)
class RankIcs:
    """Rank information coefficients of some dates, in their order.

    Attributes
    ----------
    coefficients : (n_dates,) float64
        NaN where fewer than two stocks have a score and a return.
    at_last_price : (n_dates,) int64
        Stocks whose return ends at their last price because they had none at the end of the horizon: delisted,
        suspended or not traded that day.
    """

    coefficients: npt.NDArray[np.float64]
    at_last_price: npt.NDArray[np.int64]


def rank_ic_by_date(
    model: PatchTSTRanker,
    dataset: DatasetFile,
    plan: FeaturePlan,
    shape: ModelShape,
    dates: Sequence[date],
    *,
    horizon: int,
    clip_sigma: float,
    last: date = date.max,
    progress: ReportProgress | None = None,
) -> RankIcs:
    """Rank IC of one horizon's scores with the returns of holding the stocks, per date.

    Delisted names are kept with their last price, see `read_held_returns`.

    Parameters
    ----------
    shape
        Architecture of `model`; `horizon` is one of its horizons, in a stock's own rows.
    dates
        As-of dates; scores are made of rows up to them, in mode `csz`.
    last
        Last session whose prices may enter a return; stocks whose return ends later are left out.
    """
    panel = build_panel(
        dataset,
        plan,
        dates,
        lookback=shape.lookback,
        normalization=Normalization.CSZ,
        clip_sigma=clip_sigma,
        keys=scan_keys(dataset, max(dates), new_history_after=NEW_HISTORY_AFTER_SESSIONS),
    )
    returns = read_held_returns(dataset, (horizon,), last)
    column = shape.horizons.index(horizon)
    coefficients = np.empty(len(dates))
    at_last_price = np.zeros(len(dates), dtype=np.int64)
    for done, day in enumerate(dates):
        if progress:
            progress("Judging", done, len(dates))
        windows = panel.windows[day]
        scores = score_windows(model, panel.rows, windows.start, shape.lookback)[:, column]
        coefficients[done] = rank_ic(scores, returns.on(day, windows.codes)[:, 0])
        at_last_price[done] = returns.ended_early(day, windows.codes).sum()
    if progress:
        progress("Judging", len(dates), len(dates))
    return RankIcs(coefficients, at_last_price)
