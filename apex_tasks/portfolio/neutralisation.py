"""Option A.4: take part of what sector and volatility explain out of the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from apex_tasks.refusal import Refusal

NO_SECTOR = "no sector"
"""Name of the column of stocks without a sector."""

MIN_SPREAD = 1e-6
"""Standard deviation below which scores count as equal, in units of the score."""

RELATIVE_ROUNDING = 1e-12
"""Standard deviation of a numeric factor, relative to its largest value, that is only rounding."""


class NeutralisationOutcome(StrEnum):
    """Whether scores were changed, and if not, why."""

    APPLIED = "applied"
    EQUAL_SCORES = "equal_scores"
    NO_FACTOR = "no_factor"
    WEAK_FIT = "weak_fit"
    WEAK_COEFFICIENTS = "weak_coefficients"
    NO_SPREAD_LEFT = "no_spread_left"


@dataclass(frozen=True, eq=False)
class Neutralised:
    """Scores and what was found in them.

    Parameters
    ----------
    scores : (n_stocks,) float32
        New scores; those that came in unless `applied`.
    reason
        Why they are new, or as they were.
    r_squared
        Share of the scores' variance that the factors explain; None where nothing was fitted.
    t_statistics
        Approximate t of each column, such as ``sector=0050`` or ``volatility_60d``; empty where nothing was fitted.
    missing
        Stocks without a value, of ``sector`` and of each numeric factor, where they were given.
    clipped
        Stocks whose change met the bound.
    """

    scores: npt.NDArray[np.float32]
    reason: NeutralisationOutcome
    r_squared: float | None
    t_statistics: Mapping[str, float]
    missing: Mapping[str, int]
    clipped: int

    @property
    def applied(self) -> bool:
        """Whether any score could change."""
        return self.reason is NeutralisationOutcome.APPLIED

    @property
    def max_abs_t(self) -> float | None:
        """Largest absolute t; None where nothing was fitted."""
        return max(map(abs, self.t_statistics.values()), default=None)


def neutralise(
    scores: npt.ArrayLike,
    *,
    sectors: Sequence[str | None] | None = None,
    numeric: Mapping[str, npt.ArrayLike] | None = None,
    gamma: float = 0.3,
    ridge_alpha: float = 10.0,
    least_r_squared: float = 0.05,
    least_abs_t: float = 2.0,
    clip_sigma: float = 0.25,
) -> Neutralised:
    """Subtract part of a ridge fit of the scores on risk factors.

    With scores s of mean m and standard deviation d (ddof 0), ``z = (s - m) / d`` and factor columns X::

        b = (X'X + alpha I)^-1 X'z      fit = X b      rss = |z - fit|^2      R^2 = 1 - rss / |z|^2
        t = b / sqrt(rss / max(1, n - p) * diag((X'X + alpha I)^-1))
        y = z - gamma * fit;  y = (y - mean(y)) / std(y)
        new = s + clip((m + d * y) - s, -clip_sigma * d, clip_sigma * d)

    The scores stay as they are where ``R^2 < least_r_squared`` or the largest ``|t| < least_abs_t``: a fit of noise
    is no risk. t is approximate, since a ridge estimate is biased. The steps, constants and their order are those of
    v0.1.0, which computed the new scores and then used the old ones. Where its description leaves a choice:

    - Sectors are sorted by name and the first has no column. Stocks without a sector are a category of their own,
      sorted last, so that the category without a column is a real sector where there is one. There is no intercept,
      so the fit of a stock of the first sector is 0 but for numeric factors, and which sector that is makes a small
      difference.
    - Numeric columns are z-scored over the stocks that have a finite value (ddof 1); a column without spread, or with
      one value, is divided by 1, and stocks without a value get 0, the mean.
    - The rescaling restores mean and standard deviation before the clip, so that where a change is clipped the new
      scores have nearly, not exactly, the old ones.
    - sigma of the clip is d, in units of the score.

    Parameters
    ----------
    scores : (n_stocks,)
        float32, higher is better.
    sectors : (n_stocks,)
        Sector of each stock; None or empty: it has none. None in place of the list: no sector factor.
    numeric : name -> (n_stocks,)
        Numeric factors; not finite: missing.
    gamma
        Part of the fit that is subtracted, from 0 to 1.
    ridge_alpha
        Penalty on the squared coefficients, above 0.
    least_r_squared, least_abs_t
        Below either, nothing is changed.
    clip_sigma
        Largest change of a score, in standard deviations of the scores.

    Raises
    ------
    Refusal
        A score is not a finite number.
    ValueError
        Lengths differ, or a parameter is out of its range.
    """
    if not (0 <= gamma <= 1 and ridge_alpha > 0 and clip_sigma >= 0):
        raise ValueError(
            "neutralisation: expected=gamma from 0 to 1, ridge_alpha above 0, clip_sigma 0 or more, "
            f"received={gamma}, {ridge_alpha}, {clip_sigma}"
        )
    old = np.asarray(scores, dtype=np.float32)
    raw = old.astype(np.float64)
    broken = ~np.isfinite(raw)
    if broken.any():
        raise Refusal(
            "a score is not a finite number",
            expected="finite scores for all stocks",
            received=f"{broken.sum()} of {len(raw)} not finite",
            where="risk neutralisation",
            remedy="Check the dataset's features for extreme values, then the checkpoint.",
        )
    if numeric and "sector" in numeric:
        raise ValueError("numeric: expected=names other than 'sector', received='sector'")
    names, columns, missing = _design(len(raw), sectors, numeric or {})

    def unchanged(
        reason: NeutralisationOutcome, r_squared: float | None = None, t: Mapping[str, float] | None = None
    ) -> Neutralised:
        return Neutralised(old, reason, r_squared, t or {}, missing, 0)

    spread = float(raw.std()) if len(raw) else 0.0
    if spread < MIN_SPREAD:
        return unchanged(NeutralisationOutcome.EQUAL_SCORES)
    if not names:
        return unchanged(NeutralisationOutcome.NO_FACTOR)
    mean = float(raw.mean())
    z = (raw - mean) / spread
    inverse = np.linalg.inv(columns.T @ columns + ridge_alpha * np.eye(len(names)))
    coefficients = inverse @ (columns.T @ z)
    fit = columns @ coefficients
    residual_squares = float((z - fit) @ (z - fit))
    r_squared = 1 - residual_squares / float(z @ z)
    errors = np.sqrt(residual_squares / max(1, len(z) - len(names)) * np.diag(inverse))
    t_values = coefficients / errors  # the penalty keeps every fit short of perfect, and errors above 0
    t_statistics = dict(zip(names, t_values.tolist(), strict=True))
    if r_squared < least_r_squared:
        return unchanged(NeutralisationOutcome.WEAK_FIT, r_squared, t_statistics)
    if float(np.abs(t_values).max()) < least_abs_t:
        return unchanged(NeutralisationOutcome.WEAK_COEFFICIENTS, r_squared, t_statistics)

    left = z - gamma * fit
    left -= left.mean()
    if left.std() < MIN_SPREAD:
        return unchanged(NeutralisationOutcome.NO_SPREAD_LEFT, r_squared, t_statistics)
    change = mean + spread * left / left.std() - raw
    bound = clip_sigma * spread
    return Neutralised(
        scores=(raw + np.clip(change, -bound, bound)).astype(np.float32),
        reason=NeutralisationOutcome.APPLIED,
        r_squared=r_squared,
        t_statistics=t_statistics,
        missing=missing,
        clipped=int((np.abs(change) > bound).sum()),
    )


def _design(
    stocks: int, sectors: Sequence[str | None] | None, numeric: Mapping[str, npt.ArrayLike]
) -> tuple[list[str], npt.NDArray[np.float64], dict[str, int]]:
    """Names and columns ``(n_stocks, n_columns)`` of the factors, and the stocks that lack each."""
    names: list[str] = []
    columns: list[npt.NDArray[np.float64]] = []
    missing: dict[str, int] = {}
    if sectors is not None:
        _check_length("sectors", len(sectors), stocks)
        labels = np.array([sector or "" for sector in sectors], dtype=np.str_)
        missing["sector"] = int((labels == "").sum())
        # unique() sorts the empty label first; as a category it comes last.
        categories = sorted(np.unique(labels).tolist(), key=lambda label: (label == "", label))
        for category in categories[1:]:
            names.append(f"sector={category}" if category else NO_SECTOR)
            columns.append((labels == category).astype(np.float64))
    for name, values in numeric.items():
        column = np.asarray(values, dtype=np.float64)
        _check_length(name, len(column), stocks)
        known = np.isfinite(column)
        missing[name] = int((~known).sum())
        names.append(name)
        columns.append(_z_scored(column, known))
    return names, np.column_stack(columns) if columns else np.empty((stocks, 0)), missing


def _z_scored(column: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    scored = np.zeros(len(column))
    values = column[known]
    if len(values) > 1:
        spread = float(values.std(ddof=1))
        spread = spread if spread > RELATIVE_ROUNDING * float(np.abs(values).max()) else 1.0
        scored[known] = (values - values.mean()) / spread
    return scored


def _check_length(name: str, received: int, expected: int) -> None:
    if received != expected:
        raise ValueError(f"{name}: expected={expected} values, one for each score, received={received}")
