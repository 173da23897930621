"""Rank information coefficient: how well scores order the returns that follow them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def rank_ic(scores: npt.ArrayLike, returns: npt.ArrayLike) -> float:
    """Spearman correlation of one date's scores with the returns realized after it.

    Ties share their average rank. Stocks whose return is not finite (no later row) are left out.

    Parameters
    ----------
    scores, returns : (n_stocks,)
        Aligned by stock.

    Returns
    -------
    float
        From -1 to 1; NaN for fewer than two stocks, or when either side is constant.
    """
    score, realized = np.asarray(scores, dtype=np.float64), np.asarray(returns, dtype=np.float64)
    known = np.isfinite(realized)
    a, b = (pd.Series(side[known]).rank().to_numpy() for side in (score, realized))
    a, b = a - a.mean() if len(a) else a, b - b.mean() if len(b) else b
    # Not scipy.stats.spearmanr, which often differs in the last bit from the score_rank_correlation published so far.
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else float("nan")
