"""Rank information coefficient: how well scores order the returns that follow them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def rank_ic(scores: npt.ArrayLike, returns: npt.ArrayLike) -> float:
    """Spearman correlation of one date's scores with the returns realised after it.

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
    score, realised = np.asarray(scores, dtype=np.float64), np.asarray(returns, dtype=np.float64)
    known = np.isfinite(realised)
    a, b = _average_ranks(score[known]), _average_ranks(realised[known])
    a, b = a - a.mean() if len(a) else a, b - b.mean() if len(b) else b
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else float("nan")


def _average_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])
