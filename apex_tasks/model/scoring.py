"""The forward pass over a panel: scores per stock and horizon."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from apex_tasks.model.patchtst import ModelShape, PatchTSTRanker
from apex_tasks.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator


def load_model(shape: ModelShape, state_dict: Mapping[str, torch.Tensor]) -> PatchTSTRanker:
    """Build the ranker and load its weights, every key matched.

    Raises
    ------
    Refusal
        Keys or shapes of the checkpoint differ from the architecture.
    """
    model = PatchTSTRanker(shape)
    try:
        model.load_state_dict(state_dict, strict=True)
    except RuntimeError as error:
        raise Refusal(
            "checkpoint does not fit the architecture",
            expected=shape,
            received=str(error).splitlines()[-1].strip(),
            where="checkpoint",
            remedy="Validate the bundle: apex validate-bundle names the tensor and both sizes.",
        ) from None
    return model.eval()


def score_windows(
    model: PatchTSTRanker,
    rows: npt.NDArray[np.float32],
    window_start: npt.NDArray[np.int64],
    lookback: int,
    *,
    batch_size: int = 32,
    workers: int | None = None,
) -> npt.NDArray[np.float32]:
    """Score windows of a row store.

    Several single-threaded workers on small batches beat one multi-threaded pass over large ones: a batch
    then stays in a core's cache. The split changes no score beyond float32 rounding.

    Parameters
    ----------
    rows : (n_rows, n_features) float32
        Row store; a window is `lookback` consecutive rows, oldest first.
    window_start : (n_stocks,) int64
        First row of each stock's window.
    workers
        Threads; None means one per available core.

    Returns
    -------
    (n_stocks, n_horizons) float32

    Raises
    ------
    Refusal
        A score is not finite: NaN must never be ranked.
    """
    n_stocks = len(window_start)
    n_horizons = len(model.head.heads)
    scores = np.empty((n_stocks, n_horizons), dtype=np.float32)

    def score_batch(first: int) -> None:
        with torch.inference_mode():
            batch = _gather(rows, window_start[first : first + batch_size], lookback)
            scores[first : first + batch_size] = model(torch.from_numpy(batch)).numpy()

    with _single_threaded_torch(), ThreadPoolExecutor(workers or _available_cores()) as pool:
        for done in [pool.submit(score_batch, first) for first in range(0, n_stocks, batch_size)]:
            done.result()

    bad = int((~np.isfinite(scores).all(axis=1)).sum())
    if bad:
        raise Refusal(
            "the model gives scores that are not finite",
            expected="finite scores for every eligible stock",
            received=f"{bad} of {n_stocks} stocks with NaN or infinity",
            where="infer",
            remedy="Check the panel in raw mode for extreme values, and the checkpoint against its manifest.",
        )
    return scores


def _gather(
    rows: npt.NDArray[np.float32], window_start: npt.NDArray[np.int64], lookback: int
) -> npt.NDArray[np.float32]:
    """Copy windows out of the row store: (n, lookback, n_features)."""
    return rows[window_start[:, None] + np.arange(lookback)]


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _single_threaded_torch() -> Iterator[None]:
    """Let each worker own one core; torch's own threads would fight for the same ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
