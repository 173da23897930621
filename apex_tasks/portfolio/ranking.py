"""Scores as a ranking."""

from __future__ import annotations

import numpy as np
import pandas as pd

from apex_tasks.dataset.schema import CODE

SCORE, RANK = "Score", "Rank"


def rank_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Rank the stocks of one session.

    Parameters
    ----------
    scores
        `Code` str and `Score` float32, in any order.

    Returns
    -------
    DataFrame
        `Code`, `Score`, `Rank` int64 (1 = best, ties by Code), best first.
    """
    ranked = scores.sort_values([SCORE, CODE], ascending=[False, True], kind="stable", ignore_index=True)
    return ranked.assign(**{RANK: np.arange(1, len(ranked) + 1, dtype=np.int64)})
