"""Neutralisation: an oracle of another method, what leaves scores as they are, and the bound of a change."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.portfolio.neutralisation import NeutralisationOutcome, neutralise
from apex_tasks.refusal import Refusal


def _oracle(scores, sectors, numeric, gamma=0.3, alpha=10.0, clip=0.25):
    """Least squares with the penalty as further rows, factors by pandas; (new scores, R^2, largest |t|)."""
    s = pd.Series(np.asarray(scores, dtype=np.float32).astype(float))
    if s.std(ddof=0) < 1e-6:
        return s.to_numpy(), None, None
    frame = pd.DataFrame(index=s.index)
    if sectors is not None:
        names = sorted({sector for sector in sectors if sector}) + ([""] if not all(sectors) else [])
        for name in names[1:]:
            frame[f"is {name}"] = [float((sector or "") == name) for sector in sectors]
    for name, values in numeric.items():
        column = pd.Series(values, dtype=float).replace([math.inf, -math.inf], math.nan)
        spread = column.std(ddof=1)
        frame[name] = ((column - column.mean()) / (spread if spread > 1e-9 else 1.0)).fillna(0.0)
    if frame.empty or not len(frame.columns):
        return s.to_numpy(), None, None
    z = ((s - s.mean()) / s.std(ddof=0)).to_numpy()
    x = frame.to_numpy()
    n, p = x.shape
    augmented = np.vstack([x, math.sqrt(alpha) * np.eye(p)])
    beta = np.linalg.lstsq(augmented, np.r_[z, np.zeros(p)], rcond=None)[0]
    fit = [sum(x[i, j] * beta[j] for j in range(p)) for i in range(n)]
    rss = sum((z[i] - fit[i]) ** 2 for i in range(n))
    r_squared = 1 - rss / sum(value**2 for value in z)
    _, triangle = np.linalg.qr(augmented)
    inverse_root = np.linalg.inv(triangle)
    t = [
        beta[j] / math.sqrt(rss / max(1, n - p) * sum(value**2 for value in inverse_root[j]))
        for j in range(p)
    ]
    largest = max(abs(value) for value in t)
    if r_squared < 0.05 or largest < 2:
        return s.to_numpy(), r_squared, largest
    left = [z[i] - gamma * fit[i] for i in range(n)]
    center = math.fsum(left) / n
    width = math.sqrt(math.fsum((value - center) ** 2 for value in left) / n)
    bound = clip * s.std(ddof=0)
    new = []
    for i in range(n):
        target = s.mean() + s.std(ddof=0) * (left[i] - center) / width
        new.append(s[i] + min(bound, max(-bound, target - s[i])))
    return np.array(new), r_squared, largest


@st.composite
def _markets(draw):
    """Scores with sector and volatility in them, gaps in both."""
    seed, n = draw(st.integers(0, 10_000)), draw(st.integers(2, 80))
    random = np.random.default_rng(seed)
    labels = draw(st.sampled_from([["0050"], ["9050", "0050"], ["3050", "0050", None, "1050", ""]]))
    sectors = [labels[k] for k in random.integers(0, len(labels), n)]
    volatility = random.gamma(2.0, 0.1, n)
    volatility[random.random(n) < draw(st.sampled_from([0.0, 0.2, 1.0]))] = draw(
        st.sampled_from([math.nan, math.inf])
    )
    effect = draw(st.sampled_from([0.0, 0.5, 3.0]))
    scores = random.normal(size=n) + effect * np.array([str(sector) == "0050" for sector in sectors])
    scores = scores + effect * np.where(np.isfinite(volatility), volatility, 0)
    scale = draw(st.sampled_from([1.0, 0.003]))
    return (scale * scores + 0.1).astype(np.float32), sectors, {"volatility_60d": volatility}


@given(_markets())
def test_agrees_with_the_oracle(market):
    scores, sectors, numeric = market
    got = neutralise(scores, sectors=sectors, numeric=numeric)
    expected, r_squared, largest = _oracle(scores, sectors, numeric)
    assert got.scores.dtype == np.float32
    if r_squared is None:
        assert got.r_squared is got.max_abs_t is None
    else:
        assert got.r_squared == pytest.approx(r_squared, abs=1e-9)
        assert got.max_abs_t == pytest.approx(largest, rel=1e-6)
        assert got.applied == (r_squared >= 0.05 and largest >= 2)
    assert got.scores == pytest.approx(expected, rel=0, abs=1e-6 * float(np.abs(scores).max()))


@given(_markets())
def test_no_score_changes_by_more_than_a_quarter_sigma(market):
    scores, sectors, numeric = market
    got = neutralise(scores, sectors=sectors, numeric=numeric, gamma=1.0)
    rounding = float(np.spacing(np.abs(scores).max())) * 2
    moved = np.abs(got.scores.astype(float) - scores.astype(float))
    assert moved.max() <= 0.25 * scores.astype(float).std() + rounding
    if got.clipped == 0 and got.applied:
        assert got.scores.astype(float).mean() == pytest.approx(scores.astype(float).mean(), abs=rounding)
        assert got.scores.astype(float).std() == pytest.approx(scores.astype(float).std(), rel=1e-5)


@given(_markets(), st.integers(0, 100))
def test_the_order_of_the_stocks_is_irrelevant(market, seed):
    scores, sectors, numeric = market
    order = np.random.default_rng(seed).permutation(len(scores))
    got = neutralise(scores, sectors=sectors, numeric=numeric)
    other = neutralise(
        scores[order],
        sectors=[sectors[i] for i in order],
        numeric={name: values[order] for name, values in numeric.items()},
    )
    assert other.scores == pytest.approx(got.scores[order], rel=1e-6, abs=1e-7)
    assert (other.reason, other.missing) == (got.reason, got.missing)
    again = neutralise(scores, sectors=sectors, numeric=numeric)
    assert again.scores.tobytes() == got.scores.tobytes()


def _two_sectors(n=400, effect=1.0):
    random = np.random.default_rng(1)
    sectors = ["0050" if i % 2 else "9050" for i in range(n)]
    scores = random.normal(size=n) + effect * np.array([sector == "9050" for sector in sectors])
    return scores.astype(np.float32), sectors


def _gap(scores, sectors):
    by_sector = pd.Series(scores.astype(float)).groupby(pd.Series(sectors)).mean()
    return by_sector["9050"] - by_sector["0050"]


def test_golden_answer_by_hand():
    """Four stocks, z = -1 -1 1 1, one column for sector 2: X'z = 2, X'X + 10 = 12, b = 1/6, fit = 0 0 1/6 1/6.

    rss = 2 + 2 (5/6)^2 = 61/18, R^2 = 1 - 61/72 = 11/72, t = (1/6) / sqrt(61/54 / 12). Any t is let pass here;
    what is left, -1 and 0.95, is scaled back to -1 and 1: four stocks in two points cannot change.
    """
    got = neutralise([-1.0, -1.0, 1.0, 1.0], sectors=["1", "1", "2", "2"], least_abs_t=0.0)
    assert got.r_squared == pytest.approx(11 / 72)
    assert got.t_statistics == {"sector=2": pytest.approx((1 / 6) / math.sqrt(61 / 54 / 12))}
    assert got.scores.tolist() == pytest.approx([-1, -1, 1, 1])
    assert got.applied


def test_a_sector_effect_is_reduced_and_not_removed():
    scores, sectors = _two_sectors()
    got = neutralise(scores, sectors=sectors)
    assert got.applied
    assert list(got.t_statistics) == ["sector=9050"]
    assert got.max_abs_t > 2
    assert 0 < _gap(got.scores, sectors) < 0.9 * _gap(scores, sectors)
    stronger = neutralise(scores, sectors=sectors, gamma=0.8)
    assert _gap(stronger.scores, sectors) < _gap(got.scores, sectors)
    assert neutralise(scores, sectors=sectors, gamma=0.0).scores == pytest.approx(scores, abs=1e-6)


def test_names_within_a_sector_keep_their_order():
    scores, sectors = _two_sectors()
    got = neutralise(scores, sectors=sectors).scores
    for sector in ("0050", "9050"):
        inside = [i for i, one in enumerate(sectors) if one == sector]
        assert np.argsort(got[inside], kind="stable").tolist() == np.argsort(scores[inside]).tolist()


def test_equal_scores_stay():
    scores = np.full(50, 0.3, dtype=np.float32)
    got = neutralise(scores, sectors=["1", "2"] * 25, numeric={"v": np.arange(50.0)})
    assert (got.reason, got.applied, got.r_squared, got.max_abs_t) == (
        NeutralisationOutcome.EQUAL_SCORES,
        False,
        None,
        None,
    )
    assert got.scores.tobytes() == scores.tobytes()
    nearly = scores + np.float32(5e-7) * (np.arange(50) % 2)
    assert neutralise(nearly, sectors=["1", "2"] * 25).reason is NeutralisationOutcome.EQUAL_SCORES


def test_noise_stays():
    random = np.random.default_rng(3)
    scores = random.normal(size=400).astype(np.float32)
    sectors = ["1", "2", "3", "4"] * 100
    got = neutralise(scores, sectors=sectors, numeric={"v": random.normal(size=400)})
    assert got.reason is NeutralisationOutcome.WEAK_FIT
    assert got.r_squared < 0.05
    assert got.scores.tobytes() == scores.tobytes()
    loose = neutralise(scores, sectors=sectors, least_r_squared=0.0, least_abs_t=50.0)
    assert loose.reason is NeutralisationOutcome.WEAK_COEFFICIENTS
    assert loose.scores.tobytes() == scores.tobytes()


def test_without_a_column_scores_stay():
    scores = np.arange(5, dtype=np.float32)
    for arguments in ({}, {"sectors": ["1"] * 5}, {"sectors": [None] * 5}, {"numeric": {}}):
        assert neutralise(scores, **arguments).reason is NeutralisationOutcome.NO_FACTOR
    assert neutralise([], sectors=[]).scores.shape == (0,)


def test_what_leaves_nothing_is_not_blown_up():
    """A fit that explains all but rounding, taken out whole."""
    scores = np.array([-1.0, 1.0] * 50, dtype=np.float32)
    got = neutralise(scores, numeric={"v": scores.astype(float)}, gamma=1.0, ridge_alpha=1e-9)
    assert got.reason is NeutralisationOutcome.NO_SPREAD_LEFT
    assert got.scores.tobytes() == scores.tobytes()


def test_stocks_without_a_sector_are_a_category_that_comes_last():
    scores, sectors = _two_sectors()
    gaps = [None if i % 5 == 0 else "" if i % 5 == 1 else sector for i, sector in enumerate(sectors)]
    got = neutralise(scores, sectors=gaps)
    assert list(got.t_statistics) == ["sector=9050", "no sector"]
    assert got.missing == {"sector": 160}


def test_missing_values_count_as_the_mean():
    random = np.random.default_rng(5)
    v = random.normal(size=200)
    scores = (2 * v + random.normal(size=200)).astype(np.float32)
    v[:10], v[10:15] = math.nan, math.inf
    filled = np.where(np.isfinite(v), v, v[15:].mean())
    got, mean = neutralise(scores, numeric={"v": v}), neutralise(scores, numeric={"v": filled})
    assert got.missing == {"v": 15}
    assert got.scores == pytest.approx(mean.scores, abs=0.02)
    assert got.scores[:15] != pytest.approx(scores[:15], abs=1e-4)


def test_a_column_without_spread_says_nothing():
    scores, sectors = _two_sectors()
    alone = neutralise(scores, sectors=sectors)
    rounded = np.full(400, 1.1)
    assert rounded.std() > 0
    for column in (rounded, np.full(400, 3.0), np.full(400, math.nan), np.r_[7.0, np.full(399, math.nan)]):
        got = neutralise(scores, sectors=sectors, numeric={"v": column})
        assert got.t_statistics["v"] == pytest.approx(0, abs=1e-9)
        assert got.scores == pytest.approx(alone.scores, abs=1e-6)


def test_clipped_stocks_are_counted():
    scores, sectors = _two_sectors(effect=3.0)
    got = neutralise(scores, sectors=sectors, gamma=0.6)
    bound = 0.25 * scores.astype(float).std()
    moved = np.abs(got.scores.astype(float) - scores.astype(float))
    assert 0 < got.clipped < 400
    assert got.clipped == (moved > bound - 1e-6).sum()
    assert neutralise(scores, sectors=sectors, gamma=0.6, clip_sigma=9.0).clipped == 0


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_scores_are_refused(broken):
    with pytest.raises(Refusal, match="1 of 3 not finite"):
        neutralise([0.0, 1.0, broken], sectors=["1", "1", "2"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sectors": ["1"]}, "sectors: expected=3"),
        ({"numeric": {"v": [1.0, 2.0]}}, "v: expected=3"),
        ({"numeric": {"sector": [1.0, 2.0, 3.0]}}, "other than 'sector'"),
        ({"gamma": 1.1}, "gamma"),
        ({"gamma": -0.1}, "gamma"),
        ({"ridge_alpha": 0.0}, "ridge_alpha"),
        ({"clip_sigma": -1.0}, "clip_sigma"),
    ],
)
def test_wrong_use_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        neutralise([0.0, 1.0, 2.0], **arguments)
