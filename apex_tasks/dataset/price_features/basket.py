"""Stocks taken together with equal weights: the whole market, or each sector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.price_features.rolling import Grid, ratio
from apex_tasks.dataset.price_features.rows import PriceRows


@dataclass(frozen=True)
class Baskets:
    """One or more equal-weight groups of stocks; their series are `(n_sessions, n_groups)`.

    Parameters
    ----------
    rows
        The rows that the groups are made of.
    group
        Group of each table row `(n_rows,)`, -1 for none.
    n_groups
        How many groups there are.
    """

    rows: PriceRows
    group: npt.NDArray[np.int64]
    n_groups: int

    @classmethod
    def market(cls, rows: PriceRows) -> Baskets:
        """All stocks as one group."""
        return cls(rows, np.zeros(len(rows.session), dtype=np.int64), 1)

    @classmethod
    def sectors(cls, rows: PriceRows) -> Baskets:
        """One group per sector33_code; a stock's group may change from row to row."""
        return cls(rows, rows.sector, rows.n_sectors)

    def mean(self, grid: Grid) -> Grid:
        """Mean over the members that have a value in the session, null where none has."""
        values = self.rows.column(grid)
        counted = (self.group >= 0) & ~np.isnan(values)
        return ratio(self._sum(values, counted), self._sum(np.ones_like(values), counted))

    def zscore(self, grid: Grid) -> Grid:
        """Distance of a stock from its group's mean in standard deviations (ddof 1) of that session."""
        distance = grid - self.spread(self.mean(grid))
        values = self.rows.column(distance)
        counted = ~np.isnan(values)
        degrees = self._sum(np.ones_like(values), counted) - 1
        variance = ratio(self._sum(values**2, counted), degrees)
        return ratio(distance, self.spread(np.sqrt(variance)))

    def spread(self, series: Grid) -> Grid:
        """A series of every group at the rows of its members: a grid `(max_rows, n_stocks)`."""
        values = np.full(len(self.group), np.nan)
        member = self.group >= 0
        values[member] = series[self.rows.session[member], self.group[member]]
        return self.rows.grid(values)

    def level(self, returns: Grid) -> Grid:
        """Index of a group: 1 in its first session, then compounded; null in sessions without a price.

        Parameters
        ----------
        returns
            Return of each group in each session; where it is null, the index stands still.
        """
        growth = np.cumprod(1 + np.nan_to_num(returns), axis=0)
        return np.where(np.isnan(self.mean(self.rows.price)), np.nan, growth)

    def _sum(self, values: npt.NDArray[np.float64], counted: npt.NDArray[np.bool_]) -> Grid:
        shape = (self.rows.n_sessions, self.n_groups)
        key = self.rows.session[counted] * self.n_groups + self.group[counted]
        sums: Grid = np.bincount(key, weights=values[counted], minlength=shape[0] * shape[1]).astype(float)
        return sums.reshape(shape)
