"""Splits and consolidations, read from the ratio of adjusted to raw closes."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

MIN_SPLIT = 0.02
MAX_TERM = 100


def share_factors(
    adjustment_before: Mapping[str, float], adjustment_after: Mapping[str, float]
) -> dict[str, float]:
    """New shares per old share between two sessions.

    The adjusted close is rounded in real data, so its ratio to the close wanders by a few bps: a change below
    2 % is no split, and a larger one is taken as the nearest fraction with terms up to 100.

    Parameters
    ----------
    adjustment_before, adjustment_after
        Code -> AdjustmentClose / Close on the two sessions.

    Returns
    -------
    dict
        Code -> factor, by Code, only where it is not 1: 2.0 for a split in two.

    Examples
    --------
    >>> share_factors({"13010": 0.5, "13050": 1.0}, {"13010": 1.0, "13050": 1.0003})
    {'13010': 2.0}
    """
    factors = {}
    for code in sorted(adjustment_before.keys() & adjustment_after.keys()):
        ratio = adjustment_after[code] / adjustment_before[code]
        if abs(ratio - 1) >= MIN_SPLIT:
            factors[code] = float(_nearest_fraction(ratio))
    return factors


def _nearest_fraction(ratio: float) -> Fraction:
    if ratio < 1:
        return 1 / _nearest_fraction(1 / ratio)
    return Fraction(ratio).limit_denominator(MAX_TERM)
