"""Scores of windows with a bundle's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from apex_tasks.bundle import ResolvedBundle
from apex_tasks.dataset.schema import CODE
from apex_tasks.model.patchtst import ModelShape
from apex_tasks.model.scoring import load_model, score_windows
from apex_tasks.settings import InferenceSettings

if TYPE_CHECKING:
    from torch import Tensor


def model_shape(bundle: ResolvedBundle) -> ModelShape:
    """Sizes of a resolved bundle's model."""
    return ModelShape(
        n_features=bundle.n_features,
        patch_multiplier=bundle.patch_multiplier,
        lookback=bundle.lookback,
        **bundle.model.model_dump(),
    )


def forecast(
    bundle: ResolvedBundle,
    state_dict: Mapping[str, Tensor],
    rows: npt.NDArray[np.float32],
    codes: npt.ArrayLike,
    window_start: npt.NDArray[np.int64],
    settings: InferenceSettings,
) -> pd.DataFrame:
    """Score windows with a bundle's weights.

    Parameters
    ----------
    rows : (n_rows, n_features) float32
        Row store of a panel.
    codes, window_start : (n_stocks,)
        Eligible stocks, and the first row of each one's window.

    Returns
    -------
    DataFrame
        `Code` and one float32 column `h<horizon>` per horizon, in the order of `codes`.
    """
    shape = model_shape(bundle)
    scores = score_windows(
        load_model(shape, state_dict),
        rows,
        window_start,
        bundle.lookback,
        batch_size=settings.batch_size,
        workers=settings.workers,
    )
    return pd.DataFrame({CODE: codes, **{f"h{h}": scores[:, i] for i, h in enumerate(shape.horizons)}})
