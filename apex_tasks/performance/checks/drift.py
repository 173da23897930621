"""Fourth check: are the newest features and scores distributed as those of the months before?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apex_tasks.performance.checks.check import Check, CheckName, CheckVerdict
from apex_tasks.settings import PerformanceSettings
from apex_tasks.statistics.drift import FeatureDrift, feature_drift

LEAST_REFERENCES = 3
"""Reference sessions from which on it is known how much they differ among each other."""
USUAL_MULTIPLE = 1.5
"""How much further than the reference sessions among each other the newest one may lie."""
MOST_MISSING = 0.2
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
        Newest session against all reference sessions together.
    usual_psi, usual_ks
        Largest figures of one reference session against the others; NaN where there are too few.
    market_wide
        Columns with one value per session in every session: they tell the stocks apart nowhere.
    drifted
        Columns beyond the bounds.
    """

    names: tuple[str, ...]
    drift: FeatureDrift
    usual_psi: Matrix
    usual_ks: Matrix
    market_wide: npt.NDArray[np.bool_]
    drifted: npt.NDArray[np.bool_]

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


def measure_drift(
    names: Sequence[str], references: Sequence[Matrix], current: Matrix, settings: PerformanceSettings
) -> MeasuredDrift:
    """Measure the drift of each column of the newest session.

    A column has drifted where its PSI or KS is beyond the bound by more than chance alone gives samples of that size:
    ``(bins - 1) * (1 / m + 1 / n)`` and ``0.87 * sqrt(1 / m + 1 / n)``. Raw values of one day also differ from those
    of another because the market moves; so, given `LEAST_REFERENCES` sessions, a figure must be beyond
    `USUAL_MULTIPLE` times the largest that any of these shows against the others as well. A share of missing values
    that moves by more than `MOST_MISSING` is drift, too. Columns that are the same for all stocks of each session are
    left out: z-scoring makes them 0.

    Parameters
    ----------
    references
        One ``(n_stocks, n_columns)`` per session, at least one; missing values NaN.
    current : (n_stocks, n_columns)
        The newest session.
    """
    pooled = np.concatenate(references)
    drift = feature_drift(pooled, current, bins=BINS)
    usual_psi = usual_ks = np.full(len(names), np.nan)
    if len(references) >= LEAST_REFERENCES:
        among = [
            feature_drift(np.concatenate([*references[:i], *references[i + 1 :]]), references[i], bins=BINS)
            for i in range(len(references))
        ]
        usual_psi = np.fmax.reduce([one.psi for one in among])
        usual_ks = np.fmax.reduce([one.ks_statistic for one in among])
    market_wide = np.logical_and.reduce([_constant(session) for session in (*references, current)])
    missing = np.abs(drift.missing_current - drift.missing_reference)
    scatter = _scatter(pooled, current)
    drifted = (
        _beyond(drift.psi, settings.max_psi + (BINS - 1) * scatter, usual_psi)
        | _beyond(drift.ks_statistic, settings.max_ks + KOLMOGOROV_MEAN * np.sqrt(scatter), usual_ks)
        | (missing > MOST_MISSING)
    )
    return MeasuredDrift(tuple(names), drift, usual_psi, usual_ks, market_wide, drifted & ~market_wide)


def check_drift(features: MeasuredDrift | str, scores: MeasuredDrift | str, gone: Sequence[str]) -> Check:
    """Judge both.

    Parameters
    ----------
    features, scores
        What was measured, or why nothing could be.
    gone
        Features whose columns the dataset no longer has.
    """
    findings = [_features_finding(features, gone), _scores_finding(scores)]
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


def _features_finding(measured: MeasuredDrift | str, gone: Sequence[str]) -> tuple[CheckVerdict, str]:
    lost = f"; {len(gone)} features are no longer in the dataset: {_some(gone)}" if gone else ""
    if isinstance(measured, str):
        return CheckVerdict.ATTENTION if gone else CheckVerdict.UNKNOWN, f"features unknown, {measured}{lost}"
    offenders = measured.offenders()
    judged = len(measured.names) - int(measured.market_wide.sum())
    named = f": {_some(offenders)}" if offenders else ""
    verdict = CheckVerdict.ATTENTION if offenders or gone else CheckVerdict.OK
    return verdict, f"{len(offenders)} of {judged} features drifted{named}{lost}"


def _scores_finding(measured: MeasuredDrift | str) -> tuple[CheckVerdict, str]:
    if isinstance(measured, str):
        return CheckVerdict.UNKNOWN, f"scores unknown, {measured}"
    figures = f"PSI {measured.drift.psi[0]:.2f}, KS {measured.drift.ks_statistic[0]:.2f}"
    if measured.drifted.any():
        return CheckVerdict.ATTENTION, f"scores drifted ({figures})"
    return CheckVerdict.OK, f"scores did not drift ({figures})"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _scatter(reference: Matrix, current: Matrix) -> Matrix:
    """``1 / m + 1 / n`` of the finite values of each column; infinite where a side has none."""
    with np.errstate(divide="ignore"):
        return 1 / np.isfinite(reference).sum(axis=0) + 1 / np.isfinite(current).sum(axis=0)


def _beyond(figure: Matrix, bound: Matrix, usual: Matrix) -> npt.NDArray[np.bool_]:
    return (figure > bound) & ~(figure <= USUAL_MULTIPLE * usual)


def _constant(session: Matrix) -> npt.NDArray[np.bool_]:
    """Columns with at most one value among the finite ones."""
    finite = np.isfinite(session)
    low = np.where(finite, session, np.inf).min(axis=0)
    high = np.where(finite, session, -np.inf).max(axis=0)
    return low >= high
