"""Where a backtest's scores come from: a model (`Forecaster`), or a table that somebody gives."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd

from apex_tasks.dataset.schema import CODE
from apex_tasks.portfolio.selection import SCORE, rank_table
from apex_tasks.refusal import Refusal


class SessionScores(Protocol):
    """Ranked scores of sessions: all that selection, costs and orders know of an opinion."""

    @property
    def days(self) -> Sequence[dt.date]:
        """Dates of the dataset, ascending."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """Name -> SHA-256 of what determines the scores, the dataset left out."""

    @property
    def warnings(self) -> Sequence[str]:
        """What a reader must know of the scores asked for so far."""

    def prepare(self, sessions: Iterable[dt.date]) -> None:
        """Get several sessions ready at once; those that cannot be had are left for `ranked` to refuse."""

    def ranked(self, session: dt.date) -> pd.DataFrame:
        """`Code`, `Score` float32, `Rank` int64 (1 = best, ties by Code), best first.

        Raises
        ------
        Refusal
            The session cannot be scored.
        """


class GivenScores:
    """Scores that were made elsewhere: a benchmark's, or a model's in a table.

    Parameters
    ----------
    scores
        Session -> `Code` str, `Score` float32 (higher is better) of its eligible stocks, in any order.
    days
        Dates of the dataset, ascending.
    hashes
        Name -> SHA-256 of what determines the scores.
    warnings
        What a reader must know of them.

    Raises
    ------
    ValueError
        Scores are not float32, in which the model's are: ties would be other ones.
    """

    def __init__(
        self,
        scores: Mapping[dt.date, pd.DataFrame],
        days: Sequence[dt.date],
        *,
        hashes: Mapping[str, str],
        warnings: Sequence[str] = (),
    ) -> None:
        for session, table in scores.items():
            if table[SCORE].dtype != np.float32:
                raise ValueError(f"scores of {session}: expected=float32, received={table[SCORE].dtype}")
        self._scores = scores
        self.days = days
        self.hashes = hashes
        self.warnings = warnings

    def prepare(self, sessions: Iterable[dt.date]) -> None:
        """Nothing is left to do."""

    def ranked(self, session: dt.date) -> pd.DataFrame:
        """Ranked scores of one session.

        Raises
        ------
        Refusal
            None were given for it.
        """
        if session not in self._scores:
            raise Refusal(
                f"there are no scores of {session}",
                expected="scores of the as-of session of every rebalance",
                received=f"{len(self._scores)} other sessions",
                where="given scores",
                remedy="Give scores of every as-of session of the period, or choose a shorter period.",
            )
        return rank_table(self._scores[session][[CODE, SCORE]])
