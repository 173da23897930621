"""Feature values of some rows of a decoded row group, as the feature plan says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from apex_tasks.dataset.features.feature_plan import FeaturePlan


def read_features(
    table: pa.Table, plan: FeaturePlan, rows: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    """Assemble the planned features.

    Parameters
    ----------
    table
        Row group with the plan's columns.
    rows : (n_rows,)
        Positions in the row group, ascending.

    Returns
    -------
    features : (n_features, n_rows) float32, or float64 where any source column is wider
        Missing values are NaN; values that are not finite stay as they are.
    non_finite : (n_features,) int64
        NaN and infinite values per feature; nulls do not count.
    """
    take = slice(None) if len(rows) == table.num_rows else rows
    columns = {name: _values(table[name])[take] for name in plan.columns}
    missing = {name: _nulls(table[name])[take] for name in plan.columns if table[name].null_count}

    features = np.zeros(
        (len(plan.sources), len(rows)), dtype=np.result_type(np.float32, *(c.dtype for c in columns.values()))
    )
    non_finite = np.zeros(len(plan.sources), dtype=np.int64)
    for number, source in enumerate(plan.sources):
        if source.left is None:
            continue
        values = columns[source.left]
        if source.right is not None:
            with np.errstate(invalid="ignore"):  # infinity minus infinity; counted below
                values = (
                    values - columns[source.right] if source.op == "-" else values + columns[source.right]
                )
        features[number] = values
        bad = ~np.isfinite(values)
        if bad.any():
            for operand in (source.left, source.right):
                if operand in missing:
                    bad &= ~missing[operand]
            non_finite[number] = bad.sum()
    return features, non_finite


def _values(column: pa.ChunkedArray) -> npt.NDArray[np.floating]:
    """Column as floats, null as NaN; float32 stays, all else becomes float64 (integers past 2**53 round)."""
    kind = pa.float32() if column.type in (pa.float16(), pa.float32()) else pa.float64()
    return column.cast(kind, safe=False).to_numpy()


def _nulls(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return column.is_null().to_numpy()
