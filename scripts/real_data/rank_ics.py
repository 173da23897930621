"""Out of sample: the bundle's scores of every month, and how well they order what came after."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from apex_tasks.backtesting.forecaster import Forecaster
from apex_tasks.bundle import read_bundle, resolve_bundle
from apex_tasks.bundle.checkpoint import load_checkpoint
from apex_tasks.dataset.prices.forward_returns import ForwardReturns, read_held_returns
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import CODE, DATE, DatasetFile
from apex_tasks.portfolio.selection import oriented
from apex_tasks.settings import ApexSettings
from apex_tasks.statistics.rank_ic import rank_ic

HORIZON = 20
AS_OF, STOCKS, AT_LAST_PRICE = "as_of", "stocks", "at_last_price"


def month_ends(sessions: Sequence[dt.date], first: dt.date, last: dt.date) -> list[dt.date]:
    """As-of dates: the last session of each month that is over, from the month of `first` to that of `last`.

    The rebalance is the session after. The newest month in the data counts as not over.
    """
    ends = [
        day
        for day, following in pairwise(sessions)
        if (day.year, day.month) != (following.year, following.month)
    ]
    months = ((first.year, first.month), (last.year, last.month))
    return [day for day in ends if months[0] <= (day.year, day.month) <= months[1]]


def month_scores(
    bundle: Path,
    dataset: DatasetFile,
    as_of_dates: Sequence[dt.date],
    settings: ApexSettings,
    progress: ReportProgress | None = None,
) -> pd.DataFrame:
    """Score every as-of date by production's path, as a backtest does: handshake, shared panels, forward pass.

    Returns
    -------
    DataFrame
        `Date`, `Code`, and per horizon `h1`, `h5`, `h10`, `h20` float32, higher is better; by Date, Code.
    """
    files = read_bundle(bundle, settings.bundle_limits)
    resolved = resolve_bundle(files, dataset.path, settings)
    checkpoint = load_checkpoint(files.contents[resolved.checkpoint_path], resolved.checkpoint_path)
    forecaster = Forecaster(
        resolved,
        checkpoint.state_dict,
        dataset,
        max(as_of_dates),
        settings,
        progress,
        new_history_after=settings.ranking.new_history_after_sessions,
    )
    forecaster.prepare(as_of_dates)
    tables = []
    for day in as_of_dates:
        forecasts = forecaster.forecasts(day)
        scores = forecasts.assign(
            **{f"h{h}": oriented(forecasts[f"h{h}"].to_numpy(), sign) for h, sign in resolved.signs.items()}
        )
        scores.insert(0, DATE, day)
        tables.append(scores)
    return pd.concat(tables, ignore_index=True)


def rank_ic_table(
    dataset: DatasetFile,
    scores: pd.DataFrame,
    momentum: Mapping[dt.date, pd.DataFrame],
) -> pd.DataFrame:
    """Rank IC of the model's h20 score and of momentum, per as-of date.

    Returns
    -------
    DataFrame
        `as_of`; `stocks` with a score of the model; `at_last_price`, how many of these had no price at the end of the
        20 rows and count with their last one; `model` and `momentum` against the return of the next 20
        rows from the close of the as-of date; `model_from_fill` and `momentum_from_fill` against the 20 rows
        from the close of the session after, at which a month is filled.
    """
    returns = read_held_returns(dataset, (1, HORIZON, HORIZON + 1), dt.date.max)
    rows = []
    days = cast("Iterable[tuple[dt.date, pd.DataFrame]]", scores.groupby(DATE, sort=True))
    for day, table in days:
        rival = momentum[day]
        codes, rival_codes = (np.asarray(t[CODE], dtype=np.str_) for t in (table, rival))
        model, momentum_score = table[f"h{HORIZON}"].to_numpy(), rival["Score"].to_numpy()
        from_close, from_fill = _realised(returns, day, codes)
        rival_close, rival_fill = _realised(returns, day, rival_codes)
        rows.append(
            {
                AS_OF: day,
                STOCKS: len(table),
                AT_LAST_PRICE: int(returns.ended_early(day, codes)[:, 1].sum()),
                "model": rank_ic(model, from_close),
                "momentum": rank_ic(momentum_score, rival_close),
                "model_from_fill": rank_ic(model, from_fill),
                "momentum_from_fill": rank_ic(momentum_score, rival_fill),
            }
        )
    return pd.DataFrame(rows)


def _realised(
    returns: ForwardReturns, day: dt.date, codes: npt.NDArray[np.str_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns of the next 20 rows from the as-of close, and from the close after it: `(n_codes,)` each."""
    next_row, from_close, to_last = returns.on(day, codes).T
    return from_close, (1.0 + to_last) / (1.0 + next_row) - 1.0
