"""Cross-sectional z-score of one day."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MIN_STD = 1e-8


def cross_sectional_zscore(features: npt.NDArray[np.floating], clip_sigma: float) -> npt.NDArray[np.float64]:
    """Normalize one day's features over all stocks of that day.

    `z = (x - mean) / std`, ddof 1, missing values skipped; a std below 1e-8 divides by 1; a missing value
    becomes 0; z is clipped to `+-clip_sigma`. This is v0.1.0's normalization with one difference: a
    non-finite value counts as missing instead of zeroing the whole feature for the day.

    Parameters
    ----------
    features : (n_features, n_stocks)
        One row per feature, NaN or infinite where missing.

    Returns
    -------
    (n_features, n_stocks) float64
    """
    values = features.astype(np.float64)
    present = np.isfinite(values)
    complete = bool(present.all())
    if not complete:
        values[~present] = 0.0
    # Sums are taken relative to a value of the day: a feature that is the same for all stocks then becomes
    # exactly 0, whatever its size, and large levels lose no digits.
    anchor = values[np.arange(len(values)), present.argmax(axis=1)]
    values -= anchor[:, None]
    if not complete:
        values[~present] = 0.0
    count = present.sum(axis=1)
    values -= (values.sum(axis=1) / np.maximum(count, 1))[:, None]
    if not complete:
        values[~present] = 0.0
    std = np.sqrt(np.einsum("fs,fs->f", values, values) / np.maximum(count - 1, 1))
    values /= np.where(std < MIN_STD, 1.0, std)[:, None]
    return np.clip(values, -clip_sigma, clip_sigma, out=values)
