"""Scores of a row store: the same for any split of the work, and never NaN."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.model.patchtst import ModelShape, PatchTSTRanker
from apex_tasks.model.scoring import load_model, score_windows
from apex_tasks.refusal import Refusal
from tests.support.bundle_factory import weights

SHAPE = ModelShape(n_features=4, patch_multiplier=2, d_model=16, depth=1, n_heads=2, lookback=40)
ROWS = np.random.default_rng(2).standard_normal((400, 4), dtype=np.float32)
START = np.random.default_rng(3).integers(0, 361, 101)


@pytest.fixture(scope="module")
def model() -> PatchTSTRanker:
    return load_model(SHAPE, weights(channels=8))


def one_by_one(model: PatchTSTRanker) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        windows = [torch.from_numpy(ROWS[start : start + 40][None]) for start in START]
        return np.concatenate([model(window).numpy() for window in windows])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(batch_size=st.integers(1, 120), workers=st.sampled_from([None, 1, 2, 3, 8]), n=st.integers(0, 101))
def test_batches_and_workers_change_no_score(batch_size: int, workers: int | None, n: int) -> None:
    model = load_model(SHAPE, weights(channels=8))
    scores = score_windows(model, ROWS, START[:n], 40, batch_size=batch_size, workers=workers)
    assert (scores.dtype, scores.shape) == (np.float32, (n, 4))
    np.testing.assert_allclose(scores, one_by_one(model)[:n], rtol=1e-6, atol=1e-5)


def test_the_same_call_gives_the_same_bits(model: PatchTSTRanker) -> None:
    first = score_windows(model, ROWS, START, 40, batch_size=7, workers=3)
    for _ in range(5):
        np.testing.assert_array_equal(score_windows(model, ROWS, START, 40, batch_size=7, workers=3), first)


def test_rows_on_disk(model: PatchTSTRanker, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, ROWS)
    mapped = np.load(path, mmap_mode="r")
    np.testing.assert_array_equal(
        score_windows(model, mapped, START, 40), score_windows(model, ROWS, START, 40)
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_torch_keeps_its_threads(model: PatchTSTRanker, workers: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        score_windows(model, ROWS, START, 40, workers=workers)
        assert torch.get_num_threads() == 2
        with pytest.raises(IndexError):
            score_windows(model, ROWS, START + 380, 40, workers=workers)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(model: PatchTSTRanker, value: float) -> None:
    rows = ROWS.copy()
    rows[200, 1] = value
    hit = int(((START <= 200) & (START + 40 > 200)).sum())
    assert hit > 1
    with pytest.raises(Refusal, match="not finite") as caught:
        score_windows(model, rows, START, 40, batch_size=10)
    assert caught.value.received == f"{hit} of 101 stocks with NaN or infinity"
    score_windows(model, rows, START[START > 200], 40)


def test_one_head_that_overflows_is_enough() -> None:
    state = weights(channels=8)
    state["head.heads.h5.bias"] = torch.tensor([torch.inf])
    with pytest.raises(Refusal, match="not finite"):
        score_windows(load_model(SHAPE, state), ROWS, START, 40)


def test_the_model_is_ready_for_inference(model: PatchTSTRanker) -> None:
    assert not model.training
    assert load_model(SHAPE, PatchTSTRanker(SHAPE, dropout=0.5).state_dict()).training is False


def bent(name: str, tensor: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = weights(channels=8)
    del state[name]
    return state if tensor is None else state | {name: tensor}


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (bent("encoder.norm.bias", None), "encoder.norm.bias"),
        (bent("encoder.norm.bias", torch.zeros(17)), "encoder.norm.bias"),
        (bent("head.heads.h20.weight", torch.zeros(2, 16)), "head.heads.h20.weight"),
        (bent("encoder.patch_embed.conv.weight", torch.zeros(8, 1, 15)), "encoder.patch_embed.conv.weight"),
        (weights(channels=8) | {"encoder.positions": torch.zeros(4, 16)}, "encoder.positions"),
        (weights(channels=8, horizons=(1, 5, 10)), "head.heads.h20"),
        (weights(channels=8, depth=2), "encoder.blocks.1"),
        (weights(channels=4), "encoder.patch_embed"),
    ],
    ids=["missing", "size", "head", "patch", "unexpected", "no horizon", "depth", "channels"],
)
def test_a_checkpoint_that_does_not_fit_is_refused(state: dict[str, torch.Tensor], named: str) -> None:
    with pytest.raises(Refusal, match="does not fit") as caught:
        load_model(SHAPE, state)
    assert named in caught.value.received
    assert "\n" not in str(caught.value)
