"""The baseline's target weights: its facts, its corner cases, and a plain-loop oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.support.oracle_portfolio as oracle
from apex_tasks.market.costs import CostModel
from apex_tasks.portfolio.selection import Candidates, select_candidates
from apex_tasks.portfolio.weights import Note, target_weights
from apex_tasks.refusal import Refusal
from apex_tasks.settings import PortfolioSettings

COSTS = CostModel()
BASELINE = PortfolioSettings()
LIQUID = 1e9


def _candidates(scores: dict[str, float]) -> Candidates:
    best_first = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    n = len(best_first)
    codes, values = zip(*best_first, strict=True) if best_first else ((), ())
    return Candidates(codes, values, n, n, n, fallback=True, threshold=None)


def _names(month: int, n: int = 53) -> dict[str, float]:
    """Fresh names of a month, best first."""
    return {f"{month}{i:03d}0": 1.0 - i / 100 for i in range(n)}


def _target(scores, current=None, *, settings=BASELINE, top_k=35, portfolio=1e7, adv=None):
    adv = dict.fromkeys(scores, LIQUID) if adv is None else adv
    return target_weights(_candidates(scores), current or {}, portfolio, adv, settings, top_k, COSTS)


def test_the_first_build_is_equal_weighted_and_turns_over_half():
    built = _target(_names(1))
    assert dict(built.weights) == pytest.approx(dict.fromkeys(list(_names(1))[:35], 1 / 35), rel=1e-12)
    assert built.turnover == built.turnover_unconstrained == 0.5
    assert built.alpha == 0.35 / 0.5
    assert built.notes == ()


def test_an_unchanged_ranking_trades_nothing():
    weights = _target(_names(1)).weights
    again = _target(_names(1), weights)
    assert (again.alpha, again.turnover) == (1.0, pytest.approx(0, abs=1e-15))
    assert dict(again.weights) == pytest.approx(weights)


def test_with_fresh_names_every_month_the_book_grows_by_seventeen():
    """0.35 / 0.02 = 17.5: so many new names get the least weight, and no old one ever leaves."""
    weights, sizes = {}, []
    for month in range(1, 7):
        target = _target(_names(month), weights)
        weights = target.weights
        sizes.append(len(weights))
        if month > 1:
            assert target.turnover == pytest.approx(0.35, rel=1e-12)
            assert target.dropped_turnover == tuple(f"{month}{i:03d}0" for i in range(34, 16, -1))
    assert sizes == [35, 52, 69, 86, 103, 120]


def test_with_high_churn_the_book_grows_as_measured():
    """Independent rankings of 200 stocks every month, one draw of many: some names return by chance."""
    random, codes = np.random.default_rng(44), [f"{i:04d}0" for i in range(200)]
    weights, sizes = {}, []
    for _ in range(5):
        scores = random.normal(0, 0.02, len(codes)).astype(np.float32)
        chosen = select_candidates(
            codes, scores, np.ones(len(codes)), top_k=35, multiplier=2, k_ratio=0.6, k_min=53
        )
        adv = dict.fromkeys(codes, LIQUID)
        weights = target_weights(chosen, weights, 1e7, adv, BASELINE, 35, COSTS).weights
        sizes.append(len(weights))
    assert sizes == [35, 49, 62, 69, 77]


def test_a_step_within_the_limit_is_taken_whole():
    weights = _target(_names(1)).weights
    twelve_replaced = dict(list(_names(1).items())[:23]) | dict(list(_names(2).items())[:12])
    target = _target(twelve_replaced, weights)
    assert (target.alpha, target.turnover) == (1.0, pytest.approx(12 / 35))
    assert set(target.weights) == set(twelve_replaced)


@pytest.mark.parametrize(("limit", "alpha"), [(0.5, 1), (0.5 - 9e-9, 1), (0.5 - 2e-8, 1 - 4e-8), (0.4, 0.8)])
def test_the_turnover_limit_has_a_tolerance_of_epsilon(limit, alpha):
    settings = PortfolioSettings(turnover_limit=limit, min_weight=0)
    target = _target({"1": 1.0}, {"1": 0.5, "2": 0.5}, settings=settings, top_k=1)
    assert target.alpha == pytest.approx(alpha, rel=1e-12)


def test_no_limit_means_a_full_step():
    target = _target(_names(2), _target(_names(1)).weights, settings=PortfolioSettings(turnover_limit=0))
    assert (target.alpha, target.turnover, len(target.weights)) == (1.0, pytest.approx(1.0), 35)


def test_the_step_is_never_shorter_than_the_least_alpha():
    settings = PortfolioSettings(turnover_limit=0.01, min_weight=0)
    target = _target(_names(2), _target(_names(1)).weights, settings=settings)
    assert target.alpha == 0.1
    assert target.turnover == pytest.approx(0.1)


def test_equal_weights_are_never_below_the_least_weight():
    target = _target(_names(1, 60), top_k=60)
    assert len(target.weights) == 50
    assert target.dropped_min_weight == tuple(f"1{i:03d}0" for i in range(59, 49, -1))
    assert min(target.weights.values()) == pytest.approx(0.02)


@pytest.mark.parametrize(("multiplier", "pool"), [(1.0, 10), (1.5, 15), (1.57, 16), (1.55, 16), (3.0, 20)])
def test_candidates_beyond_the_pool_are_ignored(multiplier, pool):
    settings = PortfolioSettings(candidate_multiplier=multiplier)
    target = _target(_names(1, 20), settings=settings, top_k=10)
    assert list(target.adjusted_scores) == list(_names(1, pool))


@pytest.mark.parametrize(("beyond", "new"), [(9e-9, 17), (2e-8, 16)])
def test_the_least_weight_of_a_new_name_has_a_tolerance_of_epsilon(beyond, new):
    settings = PortfolioSettings(min_weight=0.35 / 17 + beyond)
    target = _target(_names(2), _target(_names(1)).weights, settings=settings)
    assert len(target.weights) == 35 + new


@pytest.mark.parametrize(("beyond", "names"), [(9e-9, 35), (2e-8, 34)])
def test_the_least_equal_weight_has_a_tolerance_of_epsilon(beyond, names):
    assert len(_target(_names(1), settings=PortfolioSettings(min_weight=1 / 35 + beyond)).weights) == names


def test_fewer_candidates_than_top_k_are_all_held():
    target = _target(_names(1, 7))
    assert dict(target.weights) == pytest.approx(dict.fromkeys(_names(1, 7), 1 / 7))


def test_a_new_name_pays_its_round_trip_cost():
    target = _target({"1": 0.5, "2": 0.5, "3": 0.5}, {"2": 1.0}, adv={"1": LIQUID}, settings=BASELINE)
    assert target.score_penalties["1"] == pytest.approx(2 * 10.528571e-4, rel=1e-6)
    assert target.score_penalties["2"] == 0.0
    assert target.score_penalties["3"] == pytest.approx(2 * 11.5e-4, rel=1e-12)
    assert target.adjusted_scores["3"] == 0.5 - target.score_penalties["3"]


@pytest.mark.parametrize("unknown", [None, math.nan, 0.0, -5.0])
def test_volume_is_unknown_in_many_ways(unknown):
    assert (
        _target({"1": 0.5}, adv={"1": unknown}).score_penalties == _target({"1": 0.5}, adv={}).score_penalties
    )


def test_the_penalty_scales_with_its_setting_and_size_with_the_portfolio():
    doubled = _target({"1": 0.5}, settings=PortfolioSettings(cost_penalty=2.0)).score_penalties["1"]
    assert doubled == pytest.approx(4 * 10.528571e-4, rel=1e-6)
    # 350 M JPY / 35 = 10 M JPY: commission 1.65 bps, slippage 6 bps
    assert _target({"1": 0.5}, portfolio=3.5e8).score_penalties["1"] == pytest.approx(2 * 7.65e-4, rel=1e-9)


def test_a_held_name_beats_a_slightly_better_new_one():
    current = {"9": 1.0}
    assert set(_target({"1": 0.501, "9": 0.5}, current, top_k=1).weights) == {"9"}
    assert "1" in _target({"1": 0.503, "9": 0.5}, current, top_k=1).weights


def test_equal_scores_are_decided_by_code():
    scores = dict.fromkeys(["30", "10", "20", "40"], 0.25)
    assert list(_target(scores, top_k=2).weights) == ["10", "20"]


def test_among_equals_the_last_code_is_dropped_first():
    current = {f"9{i}": 0.1 for i in range(10)}
    settings = PortfolioSettings(min_weight=0.1)
    target = _target(dict.fromkeys(["30", "10", "20", "40"], 0.25), current, settings=settings, top_k=4)
    assert target.dropped_turnover == ("40",)
    assert len(target.weights) == 13


def test_a_held_name_may_fall_below_the_least_weight():
    old = {f"9{i:03d}": 1 / 50 for i in range(50)}
    target = _target(_names(1), old)
    assert target.weights["9000"] == pytest.approx(0.65 / 50)


def test_a_starved_step_is_retried_without_the_turnover_limit():
    settings = PortfolioSettings(turnover_limit=0.05, min_alpha=0.05, min_weight=0.1)
    target = _target(_names(1), {"99990": 1.0}, settings=settings)
    assert target.notes == (Note.TURNOVER_RELAXED,)
    assert dict(target.weights) == pytest.approx(dict.fromkeys(list(_names(1))[:10], 0.1))
    assert target.turnover == pytest.approx(1.0)


def test_when_nothing_helps_the_first_names_are_held_equally():
    settings = PortfolioSettings(turnover_limit=0.05, min_alpha=0.05, min_weight=0.9)
    target = _target(_names(1, 3), {"99990": 1.5}, settings=settings, top_k=2)
    assert target.notes == (Note.TURNOVER_RELAXED, Note.FALLBACK_EQUAL)
    assert dict(target.weights) == {"10000": 0.5, "10010": 0.5}
    assert (target.dropped_min_weight, target.dropped_turnover) == ((), ())


def test_dust_leaves_the_book():
    current = {"1": 0.5, "2": 0.5 - 5e-9, "3": 5e-9}
    target = _target({"1": 1.0}, current, top_k=1)
    assert "3" not in target.weights
    assert math.fsum(target.weights.values()) == pytest.approx(1, abs=1e-15)


def test_no_candidate_is_refused():
    with pytest.raises(Refusal, match="no stock may enter"):
        _target({})


@pytest.mark.parametrize("portfolio", [-1.0, math.nan])
def test_a_portfolio_has_a_value(portfolio):
    with pytest.raises(ValueError, match="value_jpy"):
        _target(_names(1), portfolio=portfolio)


CODES = [f"{i:04d}0" for i in range(90)]


@st.composite
def _situations(draw):
    """Scores with ties, a book partly outside the candidates, gaps in the volumes, and settings."""
    scale = draw(st.sampled_from([0.001, 0.01, 1.0]))
    scored = draw(st.lists(st.sampled_from(CODES), unique=True, min_size=1, max_size=60))
    scores = {code: float(np.float32(scale * draw(st.integers(-9, 9)))) for code in scored}
    held = draw(st.lists(st.sampled_from(CODES), unique=True, max_size=50))
    parts = [draw(st.integers(1, 20)) for _ in held]
    invested = draw(st.sampled_from([0.5, 0.98, 1.0, 1.001]))
    current = {code: invested * part / sum(parts) for code, part in zip(held, parts, strict=True)}
    adv = {
        code: draw(st.sampled_from([None, math.nan, 0.0, 1e5, 3e7, 1e9]))
        for code in draw(st.lists(st.sampled_from(CODES), unique=True, max_size=40))
    }
    settings = PortfolioSettings(
        candidate_multiplier=draw(st.sampled_from([1.0, 1.3, 2.0])),
        min_weight=draw(st.sampled_from([0.0, 0.02, 0.05, 0.3, 0.9])),
        turnover_limit=draw(st.sampled_from([0.0, 0.05, 0.2, 0.35, 1.0])),
        cost_penalty=draw(st.sampled_from([0.0, 1.0, 3.0])),
        min_alpha=draw(st.sampled_from([0.05, 0.1, 0.5])),
    )
    portfolio = draw(st.sampled_from([1e6, 1e7, 2.3e9]))
    return scores, current, adv, settings, portfolio, draw(st.integers(1, 40))


@given(_situations())
def test_weights_agree_with_the_oracle(situation):
    scores, current, adv, settings, portfolio, top_k = situation
    target = _target(scores, current, settings=settings, top_k=top_k, portfolio=portfolio, adv=adv)
    ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    weights, notes = oracle.weights(ranked, current, portfolio, adv, settings, top_k)
    assert dict(target.weights) == pytest.approx(weights, rel=1e-9, abs=0)
    assert list(target.notes) == notes
    assert target.turnover == pytest.approx(oracle.half_change(current, weights), rel=1e-9, abs=1e-12)


@given(_situations())
def test_weights_are_sound(situation):
    scores, current, adv, settings, portfolio, top_k = situation
    target = _target(scores, current, settings=settings, top_k=top_k, portfolio=portfolio, adv=adv)
    assert math.fsum(target.weights.values()) == pytest.approx(1, abs=1e-12)
    assert list(target.weights) == sorted(target.weights)
    assert min(target.weights.values()) > 0
    assert target.weights.keys() <= scores.keys() | current.keys()
    if not target.notes:
        new = [weight for code, weight in target.weights.items() if code not in current]
        assert all(weight >= settings.min_weight - 2e-8 for weight in new)


@given(_situations(), st.randoms(use_true_random=False))
def test_the_order_of_the_mappings_is_irrelevant(situation, random):
    scores, current, adv, settings, portfolio, top_k = situation
    shuffled = [list(mapping.items()) for mapping in (current, adv)]
    for items in shuffled:
        random.shuffle(items)
    one, other = (
        _target(scores, dict(c), settings=settings, top_k=top_k, portfolio=portfolio, adv=dict(a))
        for c, a in ((current, adv), shuffled)
    )
    assert one == other


def test_a_name_too_thin_for_the_step_is_reported_though_the_rest_takes_a_full_step():
    held = {"13010": 0.5, "13020": 0.5}
    tight = BASELINE.model_copy(update={"turnover_limit": 0.2, "min_weight": 0.25})
    target = _target({"13010": 3.0, "13020": 2.0, "13030": 1.0}, held, settings=tight, top_k=3)
    assert (dict(target.weights), target.alpha) == (held, 1.0)
    assert target.dropped_turnover == ("13030",)


def test_a_name_whose_weight_vanishes_is_reported_as_dropped():
    still = BASELINE.model_copy(update={"turnover_limit": 1e-10, "min_alpha": 1e-10})
    target = _target({"13010": 2.0, "13020": 1.0}, {"13010": 1.0}, settings=still, top_k=2)
    assert dict(target.weights) == {"13010": 1.0}
    assert target.dropped_turnover == ("13020",)
