"""Two sets of scores of the same sessions, compared: the names that would be held, in order, and every score."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from itertools import zip_longest

import numpy as np
import pandas as pd

from apex_tasks.dataset.schema import CODE
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.portfolio.selection import rank

SCORE_TOLERANCE = 1e-5
"""Largest change of a float32 score that another split into batches may make."""


class RankDifference(FrozenModel):
    """The first rank, counted from 1, that two passes fill differently; None: that pass has no such rank."""

    rank: int
    first: str | None
    second: str | None


class SessionComparison(FrozenModel):
    """One session in both passes.

    Attributes
    ----------
    session
        Its date.
    stocks
        Stocks that both passes scored.
    only_first, only_second
        Codes that only one of them scored, ascending.
    names
        The top names of the first pass, best first.
    difference
        Where the top names differ first; None when all are equal, in order.
    largest_score_difference
        Over the stocks of both passes.
    ties
        Neighbors in the first pass's order, down to the first name that is not among the top, whose scores
        differ by no more than `SCORE_TOLERANCE`: rounding alone could swap them.
    """

    session: dt.date
    stocks: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    names: tuple[str, ...]
    difference: RankDifference | None
    largest_score_difference: float
    ties: int

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence each; empty when the passes agree."""
        found = []
        if alone := self.only_first or self.only_second:
            which = "first" if self.only_first else "second"
            found.append(
                f"{self.session}: {len(self.only_first) + len(self.only_second)} stocks were scored in one pass "
                f"only, {alone[0]} in the {which}"
            )
        if self.difference is not None:
            rank_, first, second = self.difference.rank, self.difference.first, self.difference.second
            found.append(
                f"{self.session}: rank {rank_} is {first or 'nobody'} in the first pass and {second or 'nobody'} "
                f"in the second ({self.ties} ties within {SCORE_TOLERANCE:g} among the top names)"
            )
        if not self.largest_score_difference <= SCORE_TOLERANCE:
            found.append(
                f"{self.session}: scores differ by up to {self.largest_score_difference:.3g}, "
                f"at most {SCORE_TOLERANCE:g} is rounding"
            )
        return found


def compare_session(
    session: dt.date, first: pd.DataFrame, second: pd.DataFrame, *, top_k: int
) -> SessionComparison:
    """Compare two passes over one session.

    Parameters
    ----------
    first, second
        `Code` and `Score` (float32, higher is better) of all eligible stocks, in any order.
    top_k
        Names to compare.

    Raises
    ------
    Refusal
        See `portfolio.selection.rank`.
    """
    (names, scores), (other_names, _) = _ordered(first), _ordered(second)
    pairs = enumerate(zip_longest(names[:top_k], other_names[:top_k]), start=1)
    difference = next((RankDifference(rank=n, first=a, second=b) for n, (a, b) in pairs if a != b), None)
    both = first[[CODE, "Score"]].merge(second[[CODE, "Score"]], on=CODE, suffixes=("_1", "_2"))
    gaps = np.abs(both["Score_1"].to_numpy(np.float64) - both["Score_2"].to_numpy(np.float64))
    ties = np.abs(np.diff(scores[: top_k + 1])) <= SCORE_TOLERANCE
    return SessionComparison(
        session=session,
        stocks=len(both),
        only_first=_without(names, other_names),
        only_second=_without(other_names, names),
        names=tuple(names[:top_k]),
        difference=difference,
        largest_score_difference=float(gaps.max(initial=0.0)),
        ties=int(ties.sum()),
    )


def compare_passes(
    first: Mapping[dt.date, pd.DataFrame],
    second: Mapping[dt.date, pd.DataFrame],
    *,
    top_k: int,
) -> tuple[SessionComparison, ...]:
    """Compare two passes session by session, oldest first; see `compare_session`."""
    return tuple(
        compare_session(session, first[session], second[session], top_k=top_k) for session in sorted(first)
    )


def _ordered(
    scored: pd.DataFrame,
) -> tuple[list[str], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    codes, scores = scored[CODE].tolist(), scored["Score"].to_numpy(np.float32)
    order = rank(codes, scores)
    return [codes[position] for position in order], scores[order].astype(np.float64)


def _without(codes: list[str], others: list[str]) -> tuple[str, ...]:
    known = frozenset(others)
    return tuple(sorted(code for code in codes if code not in known))
