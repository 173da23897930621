"""Fourth check: have the newest features and scores drifted further than those of earlier months?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apex_tasks.performance.checks.check import Check, CheckName, CheckVerdict
from apex_tasks.settings import PerformanceSettings
from apex_tasks.statistics.drift import FeatureDrift, feature_drift
from apex_tasks.statistics.unusual_drift import sessions_needed, unusual_drift

MAX_MISSING_CHANGE = 0.2
"""Largest change of the share of missing values, in either direction."""
SHOWN = 5
BINS = 10
KOLMOGOROV_MEAN = math.sqrt(math.pi / 2) * math.log(2)
"""Mean of Kolmogorov's distribution: what chance alone makes of a scaled statistic."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeasuredDrift:
    """Drift of some columns; all arrays are ``(n_columns,)``.

    Attributes
    ----------
    names
        Of the columns.
    drift
        Newest session against the sessions before it together.
    usual_psi, usual_ks
        Largest figures of an earlier session against those before it; NaN where there are too few.
    market_wide
        Columns with one value per session in every session: they tell the stocks apart nowhere.
    drifted
        Columns that have drifted.
    earlier, needed
        Earlier sessions that there are, and how many it takes to tell a drift from what is usual.
    """

    names: tuple[str, ...]
    drift: FeatureDrift
    usual_psi: Matrix
    usual_ks: Matrix
    market_wide: npt.NDArray[np.bool_]
    drifted: npt.NDArray[np.bool_]
    earlier: int
    needed: int

    @property
    def too_few(self) -> str:
        """Why distributions are not judged; empty where they are."""
        return f"{self.earlier} earlier sessions of {self.needed}" if self.earlier < self.needed else ""

    def offenders(self) -> list[str]:
        """Drifted columns with their figures, the largest index first; ties by name."""
        worst = sorted(
            np.flatnonzero(self.drifted),
            key=lambda i: (-np.nan_to_num(self.drift.psi[i], nan=np.inf), self.names[i]),
        )
        return [
            f"{self.names[i]} (PSI {self.drift.psi[i]:.2f}, KS {self.drift.ks_statistic[i]:.2f}, missing "
            f"{self.drift.missing_reference[i]:.0%} to {self.drift.missing_current[i]:.0%})"
            for i in worst
        ]


def sessions_wanted(settings: PerformanceSettings) -> int:
    """Earlier sessions to compare with: those whose own drift is measured, and a pool before the first of them."""
    return settings.reference_sessions + sessions_needed(settings.check_false_alarm_rate)


def measure_drift(
    names: Sequence[str], earlier: Sequence[Matrix], current: Matrix, settings: PerformanceSettings
) -> MeasuredDrift:
    """Measure the drift of each column of the newest session, and judge it by that of the sessions before.

    Raw values of one day differ from those of other days because the market moves. So each session is compared with
    the pool of the `reference_sessions` before it, and the newest one has drifted where it did so further than
    `unusual_drift` allows, and beyond `max_psi` or `max_ks` by more than chance alone gives samples of that size:
    ``(bins - 1) * (1 / m + 1 / n)`` and ``0.87 * sqrt(1 / m + 1 / n)``. With few earlier sessions the pools are
    smaller; with fewer than `sessions_needed` and one to compare the first of them with, distributions are not
    judged.

    Two faults are found with any number of sessions: a share of missing values that differs by more than
    `MAX_MISSING_CHANGE` from that of every earlier session, and a column of one value that was none in any of them.
    Columns that are the same for all stocks of each session are left out: z-scoring makes them 0.

    Parameters
    ----------
    earlier
        One ``(n_stocks, n_columns)`` per session, oldest first, at least one; missing values NaN.
    current : (n_stocks, n_columns)
        The newest session.
    """
    sessions = [*earlier, current]
    constant = np.array([_constant(session) for session in sessions])
    market_wide = np.asarray(constant.all(axis=0))
    needed = sessions_needed(settings.check_false_alarm_rate)
    enough = len(earlier) > needed
    pool = min(settings.reference_sessions, len(earlier) - needed if enough else len(earlier))
    compared = range(pool if enough else len(earlier), len(sessions))
    pooled = [np.concatenate(sessions[t - pool : t]) for t in compared]
    drifts = [feature_drift(one, sessions[t], bins=BINS) for one, t in zip(pooled, compared, strict=True)]
    missing = np.array([(~np.isfinite(session)).mean(axis=0) for session in sessions])
    moved = np.abs(missing[-1] - missing[:-1])
    drifted: npt.NDArray[np.bool_] = moved.min(axis=0) > MAX_MISSING_CHANGE
    drifted |= constant[-1] & ~constant[:-1].any(axis=0)
    usual_psi = usual_ks = np.full(len(names), np.nan)
    if enough:
        usual_psi = np.fmax.reduce([one.psi for one in drifts[:-1]])
        usual_ks = np.fmax.reduce([one.ks_statistic for one in drifts[:-1]])
        scatter = np.array([_scatter(one, sessions[t]) for one, t in zip(pooled, compared, strict=True)])
        # The root of the index grows with the size of a move, as the statistic does: their ratios are alike.
        figures = np.array([(np.sqrt(one.psi), one.ks_statistic) for one in drifts])
        bounds = np.stack(
            [
                np.sqrt(settings.max_psi + (BINS - 1) * scatter),
                settings.max_ks + KOLMOGOROV_MEAN * np.sqrt(scatter),
            ],
            axis=1,
        )
        kept = ~market_wide
        found = unusual_drift(figures[:, :, kept], bounds[:, :, kept], settings.check_false_alarm_rate)
        drifted[kept] |= found.unusual
    return MeasuredDrift(
        tuple(names),
        drifts[-1],
        usual_psi,
        usual_ks,
        market_wide,
        drifted & ~market_wide,
        len(earlier),
        needed + 1,
    )


def check_drift(
    features: MeasuredDrift | str, scores: MeasuredDrift | str, missing_features: Sequence[str]
) -> Check:
    """The check on both.

    Parameters
    ----------
    features, scores
        What was measured, or why nothing could be.
    missing_features
        Features whose columns the dataset no longer has.
    """
    findings = [_features_finding(features, missing_features), _scores_finding(scores)]
    verdicts = [verdict for verdict, _ in findings]
    worst = next(
        verdict
        for verdict in (CheckVerdict.ATTENTION, CheckVerdict.UNKNOWN, CheckVerdict.OK)
        if verdict in verdicts
    )
    return Check(
        name=CheckName.DRIFT,
        verdict=worst,
        finding="; ".join(text for _, text in findings),
        remedy=_REMEDIES[worst],
    )


_REMEDIES = {
    CheckVerdict.OK: "",
    CheckVerdict.UNKNOWN: "Look at it again once there are more months and sessions.",
    CheckVerdict.ATTENTION: "Look at the named columns in the dataset, newest session first: a feed that stopped, a "
    "changed unit, or a market that moved; drift.csv has every figure.",
}


def _features_finding(measured: MeasuredDrift | str, missing: Sequence[str]) -> tuple[CheckVerdict, str]:
    lost = f"; {len(missing)} features are no longer in the dataset: {_some(missing)}" if missing else ""
    if isinstance(measured, str):
        return (
            CheckVerdict.ATTENTION if missing else CheckVerdict.UNKNOWN,
            f"features unknown, {measured}{lost}",
        )
    offenders = measured.offenders()
    compared = len(measured.names) - int(measured.market_wide.sum())
    named = f": {_some(offenders)}" if offenders else ""
    if offenders or missing:
        verdict = CheckVerdict.ATTENTION
    else:
        verdict = CheckVerdict.UNKNOWN if measured.too_few else CheckVerdict.OK
    if measured.too_few:
        named += f"; other distributions unknown, {measured.too_few}"
    return verdict, f"{len(offenders)} of {compared} features drifted{named}{lost}"


def _scores_finding(measured: MeasuredDrift | str) -> tuple[CheckVerdict, str]:
    if isinstance(measured, str):
        return CheckVerdict.UNKNOWN, f"scores unknown, {measured}"
    figures = f"PSI {measured.drift.psi[0]:.2f}, KS {measured.drift.ks_statistic[0]:.2f}"
    if measured.drifted.any():
        return CheckVerdict.ATTENTION, f"scores drifted ({figures})"
    if measured.too_few:
        return CheckVerdict.UNKNOWN, f"scores unknown, {measured.too_few} ({figures})"
    return CheckVerdict.OK, f"scores did not drift ({figures})"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _scatter(reference: Matrix, current: Matrix) -> Matrix:
    """``1 / m + 1 / n`` of the finite values of each column; infinite where a side has none."""
    with np.errstate(divide="ignore"):
        return 1 / np.isfinite(reference).sum(axis=0) + 1 / np.isfinite(current).sum(axis=0)


def _constant(session: Matrix) -> npt.NDArray[np.bool_]:
    """Columns with at most one value among the finite ones."""
    finite = np.isfinite(session)
    low = np.where(finite, session, np.inf).min(axis=0)
    high = np.where(finite, session, -np.inf).max(axis=0)
    return low >= high
