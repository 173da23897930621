"""Train the ranker on a dataset: cross-sectional z-scored forward returns, no target past the train end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from apex_tasks.dataset.code_histories import NEW_HISTORY_AFTER_SESSIONS
from apex_tasks.dataset.features.feature_plan import FeaturePlan
from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.normalization import cross_sectional_zscore
from apex_tasks.dataset.panel import Panel, build_panel
from apex_tasks.dataset.prices.forward_returns import ForwardReturns, read_forward_returns
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import DatasetFile
from apex_tasks.model.patchtst import ModelShape, PatchTSTRanker
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization

SHARDS = 2
"""Equal parts of a batch, each a single-threaded forward and backward pass.

Threads that meet once a step do not mind a busy machine; torch's own meet in every operation, and were seen
to take ten times as long there. The number is fixed, so the weights do not depend on the number of cores.
"""


@dataclass(frozen=True)
class TrainingSettings:
    """How the weights are fitted.

    Attributes
    ----------
    samples
        Windows shown in all; the sampled windows are reshuffled for every pass over them.
    batch_size
        Windows per step.
    learning_rate
        Peak of AdamW's rate: linear warm-up, then a half cosine to 0.
    warmup_share
        Share of the steps that warm up.
    weight_decay
        AdamW's decoupled weight decay.
    dropout
        Dropout probability while training.
    clip_gradient_norm
        Largest norm of a step's gradient.
    normalization, clip_sigma
        How features (and `clip_sigma` also targets) are normalized per day.
    """

    samples: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_share: float = 0.2
    weight_decay: float = 0.05
    dropout: float = 0.2
    clip_gradient_norm: float = 1.0
    normalization: Normalization = Normalization.CSZ
    clip_sigma: float = 5.0


@dataclass(frozen=True)
class TrainingResult:
    """Fitted weights and how the fit went.

    Attributes
    ----------
    state_dict
        Weights, float32, keys as in the checkpoint.
    losses : (n_steps,) float32
        Mean squared error of each step's batch.
    candidates
        Windows with complete targets that the samples were drawn from.
    """

    state_dict: dict[str, torch.Tensor]
    losses: npt.NDArray[np.float32]
    candidates: int


def train(
    dataset: DatasetFile,
    plan: FeaturePlan,
    shape: ModelShape,
    train_dates: Sequence[date],
    train_end: date,
    settings: TrainingSettings,
    *,
    seed: int,
    progress: ReportProgress | None = None,
) -> TrainingResult:
    """Fit the ranker by mean squared error against z-scored forward returns.

    For each train date and horizon h, the target is the return from a stock's row of that date to its own
    h-th row after it, z-scored over the stocks of the date. Prices after `train_end` are not read, so no
    target can reach past it; a window without all its targets is left out. Neither window nor target reaches from one
    history of a code into the next, see `dataset.code_histories`.

    Parameters
    ----------
    dataset, plan
        Where the features come from.
    shape
        Architecture; its horizons are the targets.
    train_dates
        Decision dates, each at least the longest horizon before `train_end`.
    train_end
        Last session whose prices may enter a target.
    seed
        Seeds the initial weights, the order of the samples and the dropout.

    Returns
    -------
    TrainingResult
        The same arguments give the same weights on one machine.

    Raises
    ------
    Refusal
        A train date has no window with all its targets by `train_end`.
    """
    returns = read_forward_returns(dataset, shape.horizons, train_end)
    panel = build_panel(
        dataset,
        plan,
        train_dates,
        lookback=shape.lookback,
        normalization=settings.normalization,
        clip_sigma=settings.clip_sigma,
        keys=scan_keys(dataset, max(train_dates), new_history_after=NEW_HISTORY_AFTER_SESSIONS),
        progress=progress,
    )
    start, targets = _samples(panel, returns, train_dates, train_end, settings.clip_sigma)
    with _reproducible(seed):
        model = PatchTSTRanker(shape, settings.dropout).train()
        losses = _fit(model, panel.rows, start, targets, shape.lookback, settings, seed, progress)
    return TrainingResult(dict(model.state_dict()), losses, len(start))


def _samples(
    panel: Panel, returns: ForwardReturns, dates: Sequence[date], train_end: date, clip_sigma: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Window starts `(n,)` and targets `(n, n_horizons)` of all train dates."""
    starts, targets = [], []
    for day in sorted(set(dates)):
        windows = panel.windows[day]
        forward = returns.on(day, windows.codes)
        complete = np.isfinite(forward).all(axis=1)
        if not complete.any():
            raise Refusal(
                "a train date has no targets",
                expected=f"windows with prices {max(returns.horizons)} rows later, by {train_end}",
                received=f"{len(windows.codes)} windows, none with all targets",
                where=day,
                remedy="End the train dates at least the longest horizon before the train end, "
                "and start them where the lookback is full.",
            )
        starts.append(windows.start[complete])
        targets.append(cross_sectional_zscore(forward[complete].T, clip_sigma).T)
    return np.concatenate(starts), np.concatenate(targets).astype(np.float32)


def _fit(
    model: PatchTSTRanker,
    rows: npt.NDArray[np.float32],
    start: npt.NDArray[np.int64],
    targets: npt.NDArray[np.float32],
    lookback: int,
    settings: TrainingSettings,
    seed: int,
    progress: ReportProgress | None,
) -> npt.NDArray[np.float32]:
    steps = max(1, settings.samples // settings.batch_size)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, steps, settings.warmup_share)
    )

    def shard_gradients(shard: npt.NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
        windows = torch.from_numpy(rows[start[shard, None] + np.arange(lookback)])
        errors = functional.mse_loss(model(windows), torch.from_numpy(targets[shard]), reduction="sum")
        loss = errors / (settings.batch_size * targets.shape[1])
        return (loss.detach(), *torch.autograd.grad(loss, parameters))

    losses = np.empty(steps, dtype=np.float32)
    batches = _batches(len(start), settings.batch_size, seed)
    # Dropout draws from torch's one generator: its shards take turns, so that the draws keep their order.
    workers = 1 if settings.dropout else SHARDS
    with ThreadPoolExecutor(workers) as pool:
        for step in range(steps):
            if progress:
                progress("Training", step, steps)
            shards = np.array_split(next(batches), SHARDS)
            parts = zip(*pool.map(shard_gradients, shards), strict=True)
            loss, *gradients = (torch.stack(part).sum(dim=0) for part in parts)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip_gradient_norm)
            optimizer.step()
            schedule.step()
            losses[step] = loss.item()
    if progress:
        progress("Training", steps, steps)
    return losses


def _rate(step: int, steps: int, warmup_share: float) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine."""
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _batches(n_samples: int, batch_size: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Endless batches: one shuffled pass over the samples after another."""
    rng = np.random.default_rng(seed)
    waiting = np.empty(0, dtype=np.int64)
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, rng.permutation(n_samples)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Fixed seed, one thread per operation, deterministic kernels; all put back afterwards."""
    before_threads, before_mode = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before_mode)
            torch.set_num_threads(before_threads)
