"""Which features have drifted further than in earlier sessions, at a stated rate of false alarms over all of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class UnusualDrift(NamedTuple):
    """The newest session among the earlier ones.

    Attributes
    ----------
    ratio : (n_features,)
        How many times further the newest session drifted than every other, or than its bound where that is more.
    limit
        What the largest of these ratios must exceed.
    unusual : (n_features,)
        Features whose ratio does.
    """

    ratio: Array
    limit: float
    unusual: npt.NDArray[np.bool_]


def sessions_needed(false_alarm_rate: float) -> int:
    """Earlier sessions from which on a rank can be so rare: the newest of n + 1 is the first in 1 / (n + 1)."""
    return math.ceil(1 / false_alarm_rate - 1e-9) - 1


def unusual_drift(figures: npt.ArrayLike, bounds: npt.ArrayLike, false_alarm_rate: float) -> UnusualDrift:
    """Rank the newest session among the earlier ones by its most unusual feature.

    A session's ratio of a feature is the largest, over the kinds of figure, of its figure over the largest of all
    other sessions, or over its bound where that is more; the session counts with the largest ratio of its features.
    Where nothing has changed every session is as likely as any other to have the largest, whatever the features' laws
    and however they move together; so the newest one exceeds the k-th largest of n earlier ones in at most
    ``k / (n + 1)`` of the cases, and k is the largest with ``k / (n + 1) <= false_alarm_rate``. It is the permutation
    test of the largest statistic (Westfall and Young 1993), with sessions in the place of permutations.

    Parameters
    ----------
    figures : (n_sessions, n_kinds, n_features)
        Drift of each session against those before it, 0 or more, the newest session last; NaN counts as 0.
    bounds
        Above 0, of a shape that goes with `figures`. What is not above its bound has not drifted.

    Raises
    ------
    ValueError
        There are fewer earlier sessions than `sessions_needed`.
    """
    found = np.nan_to_num(np.asarray(figures, dtype=np.float64))
    earlier = len(found) - 1
    if earlier < sessions_needed(false_alarm_rate):
        raise ValueError(
            f"sessions: expected=at least {sessions_needed(false_alarm_rate)} earlier ones, received={earlier}"
        )
    ordered = np.sort(found, axis=0)
    others = np.where(found == ordered[-1], ordered[-2], ordered[-1])
    ratios = (found / np.maximum(others, bounds)).max(axis=1)
    most = ratios.max(axis=1, initial=0.0)
    limit = float(np.sort(most[:-1])[-math.floor(false_alarm_rate * (earlier + 1) + 1e-9)])
    return UnusualDrift(ratios[-1], limit, ratios[-1] > max(limit, 1.0))
