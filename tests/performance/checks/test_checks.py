"""Each of the four checks: what it calls ok, what attention, and when it does not know."""

from __future__ import annotations

import datetime as dt
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from apex_tasks.dataset.prices.market_returns import MarketReturns
from apex_tasks.performance.checks.check import Check, CheckVerdict
from apex_tasks.performance.checks.drift import MeasuredDrift, check_drift, measure_drift
from apex_tasks.performance.checks.freshness import check_dataset
from apex_tasks.performance.checks.integrity import check_bundle
from apex_tasks.performance.checks.regime import Regime, check_market
from apex_tasks.settings import BundleLimits, FreshnessSettings, PerformanceSettings
from tests.support.small_market import CALENDAR, LAST_SESSION, OCTOBER, SmallMarket, portfolio, write_table

SETTINGS = PerformanceSettings()
DAYS = CALENDAR.sessions(dt.date(2024, 1, 4), dt.date(2025, 10, 10))


def said(check: Check) -> CheckVerdict:
    """The verdict of a check that has told what to do, where there is something to do."""
    assert bool(check.remedy) is (check.verdict is not CheckVerdict.OK)
    assert check.finding
    assert not check.finding.endswith(".")
    return check.verdict


# --- dataset freshness --------------------------------------------------------------------------------------


def test_a_complete_dataset_is_fresh(market: SmallMarket) -> None:
    check = check_dataset(str(market.dataset), LAST_SESSION, FreshnessSettings())
    assert said(check) is CheckVerdict.OK
    assert "2025-10-10 is the newest session due and has 120 rows, against a median of 120" in check.finding


def test_a_session_that_is_missing_or_thin_needs_attention(market: SmallMarket, tmp_path: Path) -> None:
    missing = check_dataset(str(market.dataset), CALENDAR.next_session(LAST_SESSION), FreshnessSettings())
    assert said(missing) is CheckVerdict.ATTENTION
    assert "has 0 rows" in missing.finding
    strict = FreshnessSettings(min_row_ratio=1.0)
    thin = write_table(market.table.slice(0, market.table.num_rows - 1), tmp_path / "thin.parquet")
    assert said(check_dataset(str(thin), LAST_SESSION, strict)) is CheckVerdict.ATTENTION
    assert said(check_dataset(str(tmp_path / "none"), LAST_SESSION, strict)) is CheckVerdict.ATTENTION


# --- checkpoint integrity -----------------------------------------------------------------------------------


@pytest.fixture
def hashes(chain: Path) -> dict[str, str]:
    return dict(portfolio(chain, OCTOBER).read_json("run.json")["hashes"])


def test_the_published_bundle_is_whole(market: SmallMarket, hashes: dict[str, str]) -> None:
    check = check_bundle(str(market.bundle), hashes, "2025-10-01/v1", BundleLimits())
    assert said(check) is CheckVerdict.OK
    assert hashes["bundle"][:12] in check.finding


def test_a_flipped_bit_needs_attention(market: SmallMarket, hashes: dict[str, str], tmp_path: Path) -> None:
    forged = tmp_path / "bundle"
    shutil.copytree(market.bundle, forged)
    checkpoint = next(forged.rglob("*.pt"))
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    check = check_bundle(str(forged), hashes, "2025-10-01/v1", BundleLimits())
    assert said(check) is CheckVerdict.ATTENTION
    assert "does not match MANIFEST.lock" in check.finding


def test_another_bundle_that_is_whole_needs_attention(
    market: SmallMarket, hashes: dict[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(market.bundle, other)
    (other / "NOTES.md").write_text("A file that no manifest lists.")
    check = check_bundle(str(other), hashes, "2025-10-01/v1", BundleLimits())
    assert said(check) is CheckVerdict.ATTENTION
    assert "not the bundle that published 2025-10-01/v1: bundle " in check.finding
    assert "checkpoint" not in check.finding


def test_no_bundle_is_unknown(hashes: dict[str, str]) -> None:
    assert said(check_bundle(None, hashes, "2025-10-01/v1", BundleLimits())) is CheckVerdict.UNKNOWN


# --- market regime ------------------------------------------------------------------------------------------


def market_of(before: list[float], live: list[float]) -> tuple[MarketReturns, dt.date]:
    """Returns of consecutive sessions, and the session of the first fill: the last one before."""
    returns = np.array([*before, *live])
    return MarketReturns(DAYS[: len(returns)], returns, 0, adjusted=True), DAYS[len(before) - 1]


CALM = [0.01, -0.01] * 40


@pytest.mark.parametrize(
    ("live", "finding"),
    [
        (CALM[:40], None),
        ([0.009, -0.009] * 20, None),
        ([0.016, -0.016] * 20, "volatility is 1.60 times"),
        ([0.006, -0.006] * 20, "volatility is 0.60 times"),
        ([-0.01] * 3 + [0.01, -0.01] * 15 + [0.01] * 3, "the drawdown is deeper than any before"),
        ([0.02, -0.01] * 20, "the mean return is +3.2 standard errors away"),
    ],
)
def test_each_way_in_which_a_market_can_be_another_one(live: list[float], finding: str | None) -> None:
    returns, live_from = market_of(CALM, live)
    check = check_market(returns, live_from, SETTINGS.max_volatility_ratio)
    if finding is None:
        assert said(check) is CheckVerdict.OK
    else:
        assert said(check) is CheckVerdict.ATTENTION
        assert finding in check.finding


def test_a_regime_is_measured_as_by_hand() -> None:
    regime = Regime.of(np.array([0.10, -0.20, 0.05]))
    assert regime.yearly_return == pytest.approx((1.1 * 0.8 * 1.05) ** (252 / 3) - 1)
    mean = -0.05 / 3
    spread = math.sqrt(((0.10 - mean) ** 2 + (-0.20 - mean) ** 2 + (0.05 - mean) ** 2) / 3)
    assert regime.volatility == pytest.approx(spread * math.sqrt(252))
    assert regime.drawdown == pytest.approx(0.20)


@pytest.mark.parametrize(("before", "live"), [(59, 20), (60, 19), (0, 20)])
def test_a_short_market_is_unknown(before: int, live: int) -> None:
    returns, _ = market_of(CALM[:before], CALM[:live])
    live_from = DAYS[before - 1] if before else DAYS[0] - dt.timedelta(days=1)
    check = check_market(returns, live_from, 1.5)
    assert said(check) is CheckVerdict.UNKNOWN
    assert f"{live} live sessions and {before} before" in check.finding
    assert said(check_market(returns, None, 1.5)) is CheckVerdict.UNKNOWN


def test_what_the_market_leaves_out_is_told() -> None:
    returns, live_from = market_of(CALM, CALM[:40])
    raw = MarketReturns(returns.days, returns.returns, 3, adjusted=False)
    finding = check_market(raw, live_from, 1.5).finding
    assert "3 single returns beyond 50 % were left out" in finding
    assert "not adjusted for dividends" in finding


# --- drift --------------------------------------------------------------------------------------------------

NAMES = ("steady", "moved", "stopped", "stuck", "market")
STOCKS = 2_000


def sessions(number: int, wobble: float = 0.0) -> list[np.ndarray]:
    """Sessions of five columns; the last one is the same for all stocks, `wobble` moves the second."""
    random = np.random.default_rng(3)
    found = []
    for day in range(number):
        values = random.normal(size=(STOCKS, 5))
        values[:, 1] += wobble * (-1) ** day
        values[:, 4] = day
        found.append(values)
    return found


def drifted(measured: MeasuredDrift) -> list[str]:
    return [name for name, is_drifted in zip(measured.names, measured.drifted, strict=True) if is_drifted]


@pytest.mark.parametrize("references", [1, 2, 6])
def test_a_session_like_the_others_has_not_drifted(references: int) -> None:
    *before, now = sessions(references + 1)
    measured = measure_drift(NAMES, before, now, SETTINGS)
    assert drifted(measured) == []
    assert measured.market_wide.tolist() == [False, False, False, False, True]
    check = check_drift(measured, measured, ())
    assert said(check) is CheckVerdict.OK
    assert "0 of 4 features drifted" in check.finding


@pytest.mark.parametrize("references", [1, 6])
def test_each_kind_of_drift_is_named(references: int) -> None:
    *before, now = sessions(references + 1)
    now[:, 1] += 1.0
    now[: STOCKS // 2, 2] = np.nan
    now[:, 3] = 0.5
    measured = measure_drift(NAMES, before, now, SETTINGS)
    assert drifted(measured) == ["moved", "stopped", "stuck"]
    check = check_drift(measured, "no earlier month", ())
    assert said(check) is CheckVerdict.ATTENTION
    assert "3 of 4 features drifted: stuck (PSI " in check.finding
    assert "stopped (PSI 0.0" in check.finding
    assert "missing 0% to 50%" in check.finding
    assert "scores unknown, no earlier month" in check.finding


def test_a_move_as_usual_among_the_references_is_no_drift() -> None:
    *before, now = sessions(7, wobble=0.6)
    now[:, 1] += 0.3
    as_usual = measure_drift(NAMES, before, now, SETTINGS)
    assert as_usual.drift.psi[1] > SETTINGS.max_psi
    assert drifted(as_usual) == []
    now[:, 1] += 1.5
    assert drifted(measure_drift(NAMES, before, now, SETTINGS)) == ["moved"]


@pytest.mark.slow
def test_a_few_hundred_stocks_do_not_drift_by_chance() -> None:
    random = np.random.default_rng(5)
    flagged = 0
    for _ in range(40):
        before = [random.normal(size=(200, 20)) for _ in range(6)]
        measured = measure_drift(range(20), before, random.normal(size=(200, 20)), SETTINGS)  # type: ignore[arg-type]
        flagged += int(measured.drifted.sum())
    assert flagged == 0


def test_a_feed_that_stopped_altogether_drifts_and_one_that_never_was_does_not() -> None:
    *before, now = sessions(4)
    now[:, 2] = np.nan
    for session in (*before, now):
        session[:, 3] = np.nan
    measured = measure_drift(NAMES, before, now, SETTINGS)
    assert drifted(measured) == ["stopped"]
    assert measured.market_wide[3]


def test_features_that_are_gone_need_attention() -> None:
    *before, now = sessions(2)
    measured = measure_drift(NAMES, before, now, SETTINGS)
    check = check_drift(measured, measured, [f"f{n}" for n in range(7)])
    assert said(check) is CheckVerdict.ATTENTION
    assert "7 features are no longer in the dataset: f0, f1, f2, f3, f4 and 2 more" in check.finding
    assert said(check_drift("nothing there", measured, ())) is CheckVerdict.UNKNOWN
    assert said(check_drift("nothing there", measured, ("f0",))) is CheckVerdict.ATTENTION


def test_scores_that_drifted_need_attention() -> None:
    *before, now = sessions(2)
    same = measure_drift(NAMES, before, now, SETTINGS)
    scores = measure_drift(["score"], [before[0][:, :1]], 0.3 * now[:, :1], SETTINGS)
    check = check_drift(same, scores, ())
    assert said(check) is CheckVerdict.ATTENTION
    assert "scores drifted (PSI " in check.finding
