"""Ranking, the percentile gate and the candidates of a month."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.support.oracle_portfolio as oracle
from apex_tasks.portfolio.selection import (
    Candidates,
    rank,
    ranked_scores,
    select_by_percentile,
    select_candidates,
)
from apex_tasks.refusal import Refusal


def _codes(n: int) -> list[str]:
    return [f"{10 * (1300 + i)}" for i in range(n)]


def _select(codes, scores, close=None, **changes):
    arguments = {"top_k": 35, "multiplier": 2.0, "k_ratio": 0.6, "k_min": 53} | changes
    close = np.full(len(codes), 1000.0) if close is None else close
    return select_candidates(codes, np.asarray(scores, dtype=np.float32), close, **arguments)


@st.composite
def _markets(draw):
    """Codes in any order, scores with many ties, closes with gaps."""
    n = draw(st.integers(1, 60))
    codes = draw(st.permutations(_codes(n)))
    scores = draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))
    close = draw(st.lists(st.sampled_from([np.nan, 0.0, 1.0, 100.0, 2500.0]), min_size=n, max_size=n))
    return codes, np.array(scores, dtype=np.float32) / np.float32(7), np.array(close)


def test_rank_is_by_score_then_code():
    order = rank(["90000", "10000", "50000", "20000"], np.array([0.5, 0.5, -0.0, 0.0], dtype=np.float32))
    assert order.tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_no_broken_score_is_ranked(broken):
    with pytest.raises(Refusal, match="72030"):
        rank(["13010", "72030"], np.array([1, broken], dtype=np.float32))


def test_no_stock_is_ranked_twice():
    with pytest.raises(Refusal, match="72030"):
        rank(["72030", "13010", "72030"], np.zeros(3, dtype=np.float32))


@pytest.mark.parametrize(
    ("n", "ratio", "k_min", "kept", "fallback"),
    [
        (70, 0.6, 53, 53, True),  # every month of the baseline: 42 in the percentile, 53 wanted
        (70, 0.6, 42, 42, False),
        (70, 0.6, 10, 42, False),
        (60, 0.6, 53, 53, True),
        (53, 0.6, 53, 53, False),
        (40, 0.6, 53, 40, False),
        (0, 0.6, 53, 0, False),
        (10, 1.0, 3, 10, False),
        (10, 0.0, 3, 3, True),
        (10, -1.0, 3, 3, True),
        (5, 0.5, 1, 3, False),  # half to even wants 2; the median itself passes
        (7, 0.5, 1, 4, False),
    ],
)
def test_gate(n, ratio, k_min, kept, fallback):
    scores = np.linspace(-1, 1, n, dtype=np.float32)
    gate = select_by_percentile(_codes(n), scores, k_ratio=ratio, k_min=k_min)
    assert (gate.mask.sum(), gate.fallback) == (kept, fallback)
    assert gate.mask[n - kept :].all()


@pytest.mark.parametrize(("n", "wanted"), [(5, 2), (7, 4), (15, 8)])
def test_the_gate_wants_halves_rounded_to_even(n, wanted):
    scores = np.arange(n, dtype=np.float32)
    assert select_by_percentile(_codes(n), scores, k_ratio=0.5, k_min=1).wanted == wanted


def test_scores_at_the_threshold_pass():
    gate = select_by_percentile(_codes(4), np.array([1, 2, 2, 3], dtype=np.float32), k_ratio=0.5, k_min=1)
    assert gate.threshold == 2.0
    assert gate.mask.tolist() == [False, True, True, True]


def test_the_fallback_breaks_ties_by_code():
    gate = select_by_percentile(
        ["30000", "10000", "20000", "40000"], np.zeros(4, dtype=np.float32), k_ratio=0.0, k_min=2
    )
    assert gate.mask.tolist() == [False, True, True, False]


def test_a_low_output_is_better_with_sign_minus_one():
    codes, outputs = _codes(10), np.arange(10, dtype=np.float32)
    ranked = ranked_scores(pd.DataFrame({"Code": codes, "h20": outputs}), 20, -1)
    assert ranked["Code"].tolist() == codes
    assert ranked["Rank"].tolist() == list(range(1, 11))
    assert ranked["Score"].tolist() == [0.0, *range(-1, -10, -1)]
    assert not np.signbit(ranked["Score"].iloc[0]), "a published 0 has no sign"
    chosen = _select(ranked["Code"].tolist(), ranked["Score"].to_numpy(), top_k=2, k_ratio=0.5, k_min=1)
    assert (chosen.codes, chosen.scores) == (tuple(codes[:2]), (0.0, -1.0))


@given(_markets())
def test_negated_outputs_with_the_other_sign_are_the_same_scores(market):
    codes, outputs, _ = market
    one = ranked_scores(pd.DataFrame({"Code": codes, "h5": outputs}), 5, 1)
    other = ranked_scores(pd.DataFrame({"Code": codes, "h5": -outputs}), 5, -1)
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert one["Score"].dtype == np.float32


@given(_markets(), st.floats(0, 1), st.integers(1, 60))
def test_gate_agrees_with_the_oracle(market, ratio, k_min):
    codes, scores, _ = market
    gate = select_by_percentile(codes, scores, k_ratio=ratio, k_min=k_min)
    kept, fallback = oracle.gate(list(zip(codes, scores.tolist(), strict=True)), ratio, k_min)
    passed = {code for code, passes in zip(codes, gate.mask, strict=True) if passes}
    assert (passed, gate.fallback) == ({code for code, _ in kept}, fallback)
    assert len(passed) >= min(k_min, len(codes))


@given(_markets(), st.integers(1, 20), st.floats(1, 3), st.integers(1, 40))
def test_candidates_agree_with_the_oracle(market, top_k, multiplier, k_min):
    codes, scores, close = market
    chosen = _select(codes, scores, close, top_k=top_k, multiplier=multiplier, k_ratio=0.0, k_min=k_min)
    closes = {code: price for code, price in zip(codes, close, strict=True) if price > 0}
    kept, fallback, priced = oracle.candidates(
        dict(zip(codes, scores.tolist(), strict=True)), closes, top_k, multiplier, 0.0, k_min
    )
    assert list(zip(chosen.codes, chosen.scores, strict=True)) == kept
    assert (chosen.fallback, chosen.priced_count) == (fallback, priced)
    assert chosen.pool_size == min(priced, round(top_k * multiplier))
    assert chosen.kept_count == len(kept)
    assert chosen.eligible_count == len(codes)


@given(_markets(), st.randoms(use_true_random=False))
def test_the_order_of_the_stocks_is_irrelevant(market, random):
    codes, scores, close = market
    shuffled = list(range(len(codes)))
    random.shuffle(shuffled)
    again = _select([codes[i] for i in shuffled], scores[shuffled], close[shuffled], top_k=10, k_min=12)
    assert _select(codes, scores, close, top_k=10, k_min=12) == again


def test_why_candidate_kept_is_53():
    chosen = _select(_codes(3300), np.random.default_rng(1).normal(size=3300))
    assert (chosen.eligible_count, chosen.priced_count, chosen.pool_size) == (3300, 3300, 70)
    assert (chosen.kept_count, chosen.fallback) == (53, True)


def test_a_stock_without_close_gives_its_place_to_the_next():
    close = np.full(100, 500.0)
    close[[0, 1, 2]] = np.nan, 0.0, np.inf
    chosen = _select(_codes(100), np.arange(100, 0, -1), close, top_k=5, k_min=10)
    assert (chosen.priced_count, chosen.codes) == (97, tuple(_codes(100)[3:13]))


def test_no_priced_stock_means_no_candidate():
    chosen = _select(_codes(3), [1, 2, 3], np.full(3, np.nan))
    assert (chosen.kept_count, chosen.priced_count, chosen.eligible_count) == (0, 0, 3)


@pytest.mark.parametrize(
    ("codes", "scores"),
    [(("1", "2"), (0.0, 1.0)), (("2", "1"), (0.0, 0.0)), (("1", "1"), (1.0, 0.0)), (("1",), (1.0, 0.0))],
)
def test_candidates_must_be_in_rank_order(codes, scores):
    with pytest.raises(ValueError, match=r"candidates|zip"):
        Candidates(codes, scores, 2, 2, 2, fallback=False, threshold=None)
