"""The architecture of the deployed checkpoint, against a float64 forward pass in plain loops."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch

import tests.support.oracle_ranker as oracle
from apex_tasks.bundle.resolved import newest_rows_unread
from apex_tasks.model.patchtst import ModelShape, PatchTSTRanker, sinusoidal_positions
from apex_tasks.model.scoring import load_model
from tests.support.bundle_factory import weights

PRODUCTION = ModelShape(n_features=89, patch_multiplier=2)
SMALL = ModelShape(n_features=5, patch_multiplier=3, d_model=16, depth=2, n_heads=4, lookback=60)


def small_weights() -> dict[str, torch.Tensor]:
    return weights(channels=15, d_model=16, depth=2)


def random_windows(shape: ModelShape, n: int, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((n, shape.lookback, shape.n_features), dtype=np.float32)


def score(model: PatchTSTRanker, windows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(windows)).numpy()


def expected(shape: ModelShape, state: Mapping[str, torch.Tensor], windows: np.ndarray) -> np.ndarray:
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    sizes = {"patch_len": shape.patch_len, "stride": shape.stride, "n_heads": shape.n_heads}
    return np.array(
        [
            oracle.forward(arrays, window.astype(np.float64), horizons=shape.horizons, **sizes)
            for window in windows
        ]
    )


def test_production_weights() -> None:
    state = PatchTSTRanker(PRODUCTION).state_dict()
    assert len(state) == 61
    assert sum(tensor.numel() for tensor in state.values()) == 3_209_252
    by_hand = weights(d_model=256, depth=4)
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in by_hand.items()
    }
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    assert (PRODUCTION.n_channels, PRODUCTION.n_tokens) == (178, 21)


@pytest.mark.parametrize(
    ("lookback", "patch_len", "stride", "tokens"),
    [(16, 16, 8, 1), (23, 16, 8, 1), (24, 16, 8, 2), (60, 10, 3, 17)],
)
def test_tokens(lookback: int, patch_len: int, stride: int, tokens: int) -> None:
    shape = ModelShape(
        2, 1, d_model=8, depth=1, n_heads=2, lookback=lookback, patch_len=patch_len, stride=stride
    )
    assert shape.n_tokens == tokens
    assert score(PatchTSTRanker(shape).eval(), random_windows(shape, 2)).shape == (2, 4)


def test_production_scores_like_float64_loops() -> None:
    torch.manual_seed(3)
    model = PatchTSTRanker(PRODUCTION).eval()
    for parameter in model.parameters():  # biases and norms start as 0 and 1: make them count
        torch.nn.init.normal_(parameter, std=0.1)
    windows = random_windows(PRODUCTION, 2)
    reference = expected(PRODUCTION, model.state_dict(), windows)
    np.testing.assert_allclose(score(model, windows), reference, rtol=0, atol=1e-5)
    assert np.ptp(reference) > 0.01


@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        ModelShape(
            3, 1, d_model=12, depth=1, n_heads=3, lookback=30, patch_len=7, stride=5, horizons=(1, 5, 10, 20)
        ),
        ModelShape(2, 4, d_model=8, depth=3, n_heads=1, lookback=16, horizons=(20, 1)),
    ],
    ids=["small", "other patches", "one token"],
)
def test_other_sizes_like_float64_loops(shape: ModelShape) -> None:
    state = weights(
        channels=shape.n_channels,
        d_model=shape.d_model,
        depth=shape.depth,
        patch_len=shape.patch_len,
        horizons=shape.horizons,
    )
    windows = random_windows(shape, 3)
    np.testing.assert_allclose(
        score(load_model(shape, state), windows), expected(shape, state, windows), rtol=1e-5, atol=1e-5
    )


def test_positions() -> None:
    table = sinusoidal_positions(21, 256).numpy()
    for token in (0, 1, 20):
        for dim in (0, 1, 2, 77, 254, 255):
            angle = token / 10_000 ** (2 * (dim // 2) / 256)
            wave = math.cos(angle) if dim % 2 else math.sin(angle)
            assert table[token, dim] == pytest.approx(wave, abs=1e-6)


def test_the_last_four_rows_are_never_read_and_all_others_are() -> None:
    shape = ModelShape(n_features=2, patch_multiplier=2, d_model=16, depth=1, n_heads=2)
    model = load_model(shape, weights(channels=4))
    window = random_windows(shape, 1)
    changed = np.repeat(window, 180, axis=0)
    changed[np.arange(180), np.arange(180)] += 1.0  # window i differs in row i
    scores = score(model, np.concatenate([window, changed]))
    differs = (scores[1:] != scores[0]).all(axis=1)
    assert differs.tolist() == [True] * 176 + [False] * 4


def test_each_feature_owns_its_channels() -> None:
    model = load_model(SMALL, small_weights())
    windows = np.repeat(random_windows(SMALL, 1), 6, axis=0)
    windows[np.arange(1, 6), :, np.arange(5)] += 1.0  # window f + 1 differs in feature f
    with torch.inference_mode():
        channels = model.encoder.patch_embed.conv(torch.from_numpy(windows).transpose(1, 2)).numpy()
    changed = (channels[1:] != channels[0]).any(axis=2)
    assert [np.flatnonzero(row).tolist() for row in changed] == [
        [3 * f, 3 * f + 1, 3 * f + 2] for f in range(5)
    ]


def test_the_order_of_rows_features_and_horizons_matters() -> None:
    model = load_model(SMALL, small_weights())
    windows = random_windows(SMALL, 1)
    plain = score(model, windows)
    assert not np.allclose(score(model, windows[:, ::-1].copy()), plain, atol=1e-3)
    assert not np.allclose(score(model, windows[:, :, ::-1].copy()), plain, atol=1e-3)
    turned = ModelShape(**{**SMALL.__dict__, "horizons": (20, 10, 5, 1)})
    np.testing.assert_array_equal(score(load_model(turned, small_weights()), windows), plain[:, ::-1])


def test_dropout_is_for_training_only() -> None:
    model = PatchTSTRanker(SMALL, dropout=0.5)
    model.load_state_dict(small_weights())
    windows = random_windows(SMALL, 4)
    np.testing.assert_array_equal(
        score(model.eval(), windows), score(load_model(SMALL, small_weights()), windows)
    )
    model.train()
    assert not np.array_equal(score(model, windows), score(model, windows))


def test_the_newest_four_rows_of_180_reach_no_score() -> None:
    model = load_model(PRODUCTION, weights(d_model=256, depth=4))
    windows = random_windows(PRODUCTION, 3)
    assert newest_rows_unread(PRODUCTION.lookback, PRODUCTION.patch_len, PRODUCTION.stride) == 4
    changed = windows.copy()
    changed[:, -4:] = random_windows(PRODUCTION, 3, seed=2)[:, -4:]
    np.testing.assert_array_equal(score(model, changed), score(model, windows))
    changed[:, -5] += 1.0
    assert (score(model, changed) != score(model, windows)).all()


@pytest.mark.parametrize(
    ("lookback", "patch_len", "stride", "unread"),
    [
        (16, 16, 8, 0),
        (23, 16, 8, 7),
        (24, 16, 8, 0),
        (60, 16, 8, 4),
        (60, 10, 3, 2),
        (20, 4, 7, 2),
        (9, 4, 7, 5),
    ],
)
def test_the_rows_that_no_gradient_reaches(lookback: int, patch_len: int, stride: int, unread: int) -> None:
    shape = ModelShape(
        n_features=2,
        patch_multiplier=1,
        d_model=8,
        depth=1,
        n_heads=2,
        patch_len=patch_len,
        stride=stride,
        lookback=lookback,
    )
    model = load_model(shape, weights(channels=2, d_model=8, depth=1, patch_len=patch_len))
    windows = torch.from_numpy(random_windows(shape, 2)).requires_grad_()
    model(windows).sum().backward()
    assert windows.grad is not None
    read = windows.grad.abs().sum(dim=(0, 2)).numpy() > 0
    newest_read = np.flatnonzero(read)[-1]
    assert lookback - 1 - newest_read == unread == newest_rows_unread(lookback, patch_len, stride)
