"""Which stocks may enter the book: rank, keep the priced, cut a pool, pass the percentile gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apex_tasks.dataset.schema import CODE
from apex_tasks.portfolio.hysteresis import Hysteresis, select_with_hysteresis
from apex_tasks.refusal import Refusal

SCORE, RANK = "Score", "Rank"


@dataclass(frozen=True, eq=False)
class Gate:
    """Outcome of the percentile gate.

    Parameters
    ----------
    mask
        Shape ``(n,)``: which of the scores the gate keeps.
    threshold
        Quantile that the scores were compared with; None where none was needed.
    fallback
        The threshold was passed over: the best `wanted` are kept instead.
    wanted
        Least number of scores to keep, ``max(k_min, round(k_ratio * n))``.
    """

    mask: NDArray[np.bool_]
    threshold: float | None
    fallback: bool
    wanted: int


@dataclass(frozen=True)
class Candidates:
    """Stocks that may enter the book, best first.

    Parameters
    ----------
    codes
        Codes in rank order: by score descending, ties by Code.
    scores
        Their scores, higher is better; each exactly representable in float32.
    eligible_count
        Stocks that were ranked.
    priced_count
        Stocks among them with a close on the as-of session.
    pool_size
        Stocks that came before the gate.
    fallback, threshold
        See `Gate`.
    """

    codes: tuple[str, ...]
    scores: tuple[float, ...]
    eligible_count: int
    priced_count: int
    pool_size: int
    fallback: bool
    threshold: float | None

    def __post_init__(self) -> None:
        keys = [(-score, code) for code, score in zip(self.codes, self.scores, strict=True)]
        if any(better >= worse for better, worse in pairwise(keys)) or len(set(self.codes)) < len(self.codes):
            raise ValueError("candidates must be distinct, by score descending and then Code")

    @property
    def kept_count(self) -> int:
        """Stocks that passed the gate: the published `candidate_kept`."""
        return len(self.codes)


def rank(codes: Sequence[str], scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Positions of the stocks from best to worst: by score descending, ties by Code ascending.

    Parameters
    ----------
    codes
        ``n`` distinct codes.
    scores
        Shape ``(n,)``; higher is better.

    Raises
    ------
    Refusal
        A score is not a finite number, or a code comes twice.
    """
    names = np.asarray(codes, dtype=np.str_)
    if len(names) != len(scores):
        raise ValueError(f"codes and scores differ in length: {len(names)} and {len(scores)}")
    broken = ~np.isfinite(scores)
    if broken.any():
        raise Refusal(
            "a score is not a finite number",
            expected="finite scores for all stocks",
            received=f"{scores[broken][0]} ({broken.sum()} of {len(scores)} not finite)",
            where=f"Code {names[broken][0]}",
            remedy="Check the dataset's features of that stock for extreme values, then the checkpoint.",
        )
    distinct, occurrences = np.unique(names, return_counts=True)
    if len(distinct) < len(names):
        raise Refusal(
            "a stock is scored more than once",
            expected="one score per Code",
            received=f"{occurrences.max()} scores",
            where=f"Code {distinct[occurrences.argmax()]}",
            remedy="Remove the duplicate (Date, Code) rows from the dataset.",
        )
    return np.lexsort((names, -scores))


def rank_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of one session as a ranking.

    Parameters
    ----------
    scores
        `Code` str and `Score` float32, higher is better, in any order.

    Returns
    -------
    DataFrame
        `Code`, `Score`, `Rank` int64 (1 = best, ties by Code), best first.
    """
    ranked = scores.sort_values([SCORE, CODE], ascending=[False, True], kind="stable", ignore_index=True)
    return ranked.assign(**{RANK: np.arange(1, len(ranked) + 1, dtype=np.int64)})


def oriented(outputs: NDArray[np.float32], sign: Literal[-1, 1]) -> NDArray[np.float32]:
    """Scores of a model's outputs: a higher score is better, whatever the model was trained to say.

    Parameters
    ----------
    outputs
        Shape ``(n,)``, as the model gives them.
    sign
        The bundle's ``selection.sign``: 1 if a higher output is better, -1 if a lower one is.
    """
    return outputs if sign == 1 else np.float32(0) - outputs  # an output of 0 gives 0, never -0


def ranked_scores(forecasts: pd.DataFrame, horizon: int, sign: Literal[-1, 1]) -> pd.DataFrame:
    """Orient one horizon's outputs and rank them: the only way from outputs `h<horizon>` to a `Score`.

    Parameters
    ----------
    forecasts
        `Code` str and `h<horizon>` float32, as `model.forecast` gives them.
    sign
        See `oriented`.

    Returns
    -------
    DataFrame
        `Code` str, `Score` float32 (higher is better), `Rank` int64 (1 = best, ties by Code), best first.
    """
    scores = oriented(forecasts[f"h{horizon}"].to_numpy(dtype=np.float32), sign)
    return rank_table(forecasts[[CODE]].assign(**{SCORE: scores}))


def select_by_percentile(
    codes: Sequence[str],
    scores: NDArray[np.float32],
    *,
    k_ratio: float,
    k_min: int,
) -> Gate:
    """Keep the scores in the best `k_ratio`, and never fewer than `k_min` of them.

    With ``wanted = max(k_min, round(k_ratio * n))``, halves rounded to even: all scores are kept if there are
    no more than wanted; else those at or above the linear quantile at
    ``1 - k_ratio``; and the best `wanted` (ties by Code, `fallback`) if those are fewer than wanted or the
    ratio is 0 or less.

    Parameters
    ----------
    codes
        ``n`` distinct codes; they break ties.
    scores
        Shape ``(n,)``; higher is better; the quantile is taken in float64.
    k_ratio
        Share to keep.
    k_min
        Least number to keep.

    Raises
    ------
    Refusal
        See `rank`.
    """
    order = rank(codes, scores)
    n = len(scores)
    wanted = max(k_min, round(k_ratio * n))
    if wanted >= n:
        return Gate(np.ones(n, dtype=np.bool_), None, fallback=False, wanted=wanted)
    threshold = None
    if k_ratio > 0:
        exact = scores.astype(np.float64)
        threshold = float(np.quantile(exact, 1 - k_ratio))
        mask = exact >= threshold
        if mask.sum() >= wanted:
            return Gate(mask, threshold, fallback=False, wanted=wanted)
    mask = np.zeros(n, dtype=np.bool_)
    mask[order[:wanted]] = True
    return Gate(mask, threshold, fallback=True, wanted=wanted)


def _gate_of(hysteresis: Hysteresis, pool_codes: Sequence[str]) -> Gate:
    chosen = select_with_hysteresis(
        pool_codes,
        hysteresis.held,
        entry_k=hysteresis.entry_k,
        exit_k=hysteresis.exit_k,
        priority=hysteresis.priority,
    )
    mask = np.isin(np.array(pool_codes, dtype=np.str_), np.array(chosen, dtype=np.str_))
    return Gate(mask, None, fallback=False, wanted=hysteresis.entry_k)


def select_candidates(
    codes: Sequence[str],
    scores: NDArray[np.float32],
    close_jpy: NDArray[np.float64],
    *,
    top_k: int,
    multiplier: float,
    k_ratio: float,
    k_min: int,
    hysteresis: Hysteresis | None = None,
) -> Candidates:
    """Candidates of a rebalance among all eligible stocks.

    The best ``round(top_k * multiplier)`` stocks that have a close form the pool; the gate keeps part of it.

    Parameters
    ----------
    codes
        ``n`` distinct codes.
    scores
        Shape ``(n,)``, float32; higher is better.
    close_jpy
        Shape ``(n,)``: close of the as-of session in JPY; not a positive number: no close.
    top_k
        Names to hold.
    multiplier
        Pool size in multiples of `top_k`.
    k_ratio, k_min
        See `select_by_percentile`.
    hysteresis
        Chooses from the pool in place of the gate.

    Raises
    ------
    Refusal
        See `rank`.
    """
    scores = np.asarray(scores, dtype=np.float32)
    order = rank(codes, scores)
    priced = order[(np.isfinite(close_jpy) & (close_jpy > 0))[order]]
    pool = priced[: round(top_k * multiplier)]
    pool_codes = [codes[position] for position in pool]
    if hysteresis is None:
        gate = select_by_percentile(pool_codes, scores[pool], k_ratio=k_ratio, k_min=k_min)
    else:
        gate = _gate_of(hysteresis, pool_codes)
    return Candidates(
        codes=tuple(code for code, kept in zip(pool_codes, gate.mask, strict=True) if kept),
        scores=tuple(scores[pool][gate.mask].tolist()),
        eligible_count=len(order),
        priced_count=len(priced),
        pool_size=len(pool),
        fallback=gate.fallback,
        threshold=gate.threshold,
    )
