from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from apex_tasks.dataset.features.feature_plan import FeaturePlan, FeatureSource, SourceKind
from apex_tasks.dataset.panel import build_panel
from apex_tasks.dataset.prices.forward_returns import read_forward_returns
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.model.patchtst import ModelShape, PatchTSTRanker
from apex_tasks.model.scoring import score_windows
from apex_tasks.model.training import TrainingSettings, train
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization
from apex_tasks.statistics.rank_ic import rank_ic

SHAPE = ModelShape(
    n_features=3, patch_multiplier=2, d_model=16, depth=1, patch_len=4, stride=2, n_heads=2,
    horizons=(1, 3), lookback=12,
)  # fmt: skip
SETTINGS = TrainingSettings(samples=3_000, batch_size=60, learning_rate=3e-3, dropout=0.0)
STOCKS, N_DAYS = 60, 90
DAYS = [date(2025, 1, 1) + timedelta(days=n) for n in range(N_DAYS)]
TRAIN_END = DAYS[60]
TRAIN_DATES = DAYS[12:58]
PLAN = FeaturePlan(
    sources=tuple(
        FeatureSource(feature=f, kind=SourceKind.COLUMN, left=f) for f in ("signal", "noise", "other")
    )
)


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")

    def write(name="d", scramble_after=None):
        """Each stock has a lasting signal; its returns are the signal in noise of the same size."""
        rng = np.random.default_rng(2)
        signal = np.repeat(rng.standard_normal((1, STOCKS)), N_DAYS, axis=0)
        returns = 0.01 * signal + 0.01 * rng.standard_normal((N_DAYS, STOCKS))
        columns = {"signal": signal, "noise": rng.standard_normal(signal.shape), "other": signal * 0 + 1}
        close = 1_000 * np.exp(np.cumsum(returns, axis=0))
        if scramble_after is not None:
            late = np.array([day > scramble_after for day in DAYS])
            close[late] = rng.lognormal(7, 1, close[late].shape)
            columns["noise"][late] = 1e6
        table = pa.table(
            {
                "Date": pa.array(np.repeat(np.array(DAYS, dtype="datetime64[D]"), STOCKS), pa.date32()),
                "Code": [f"{1000 + s}0" for s in range(STOCKS)] * N_DAYS,
                "Close": close.ravel(),
                "Volume": np.full(close.size, 100.0),
                "TurnoverValue": np.full(close.size, 1e8),
                **{name: values.ravel().astype(np.float32) for name, values in columns.items()},
            }
        )
        pq.write_table(table, folder / f"{name}.parquet")
        return open_dataset(folder / f"{name}.parquet")

    return write


@pytest.fixture(scope="module")
def dataset(write):
    return write()


def _train(dataset, settings=SETTINGS, dates=TRAIN_DATES, end=TRAIN_END, seed=1, progress=None):
    return train(dataset, PLAN, SHAPE, dates, end, settings, seed=seed, progress=progress)


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_learns_a_planted_signal_and_orders_later_returns_by_it(dataset):
    told = []
    result = _train(dataset, progress=lambda *call: told.append(call))
    assert result.losses[-10:].mean() < 0.8 * result.losses[:5].mean()
    assert result.candidates == STOCKS * len(TRAIN_DATES)
    assert len(result.losses) == 50
    assert told[-1] == ("Training", 50, 50)

    model = PatchTSTRanker(SHAPE).eval()
    model.load_state_dict(result.state_dict)
    day = DAYS[80]
    panel = build_panel(dataset, PLAN, [day], lookback=12, normalization=Normalization.CSZ, clip_sigma=5.0)
    windows = panel.windows[day]
    realized = read_forward_returns(dataset, SHAPE.horizons, DAYS[-1]).on(day, windows.codes)
    scores = score_windows(model, panel.rows, windows.start, 12)
    for column in range(2):
        assert rank_ic(scores[:, column], realized[:, column]) > 0.4


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_same_seed_same_weights_whatever_torch_was_set_to(dataset, dropout):
    settings = TrainingSettings(samples=240, batch_size=45, dropout=dropout)
    before = torch.get_num_threads()
    first = _train(dataset, settings)
    try:
        torch.set_num_threads(1)
        torch.manual_seed(99)
        state = torch.get_rng_state()
        second = _train(dataset, settings)
        assert torch.equal(torch.get_rng_state(), state)  # the caller's generator is left alone
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before)
    assert _same(first.state_dict, second.state_dict)
    assert not _same(first.state_dict, _train(dataset, settings, seed=2).state_dict)


def test_dropout_and_settings_reach_the_fit(dataset):
    def weights(**changes):
        return _train(dataset, TrainingSettings(**{"samples": 120, "batch_size": 60, **changes})).state_dict

    plain = weights()
    for change in (
        {"dropout": 0.0},
        {"learning_rate": 1e-2},
        {"weight_decay": 5.0},
        {"clip_gradient_norm": 1e-3},
    ):
        assert not _same(plain, weights(**change)), change


def test_nothing_after_the_train_end_changes_a_weight(dataset, write):
    settings = TrainingSettings(samples=240, batch_size=60)
    scrambled = write("scrambled", scramble_after=TRAIN_END)
    assert _same(_train(dataset, settings).state_dict, _train(scrambled, settings).state_dict)


def test_a_batch_in_shards_has_the_gradient_of_the_whole_batch(dataset):
    """One step on one fixed batch equals a plain, unsharded AdamW step."""
    settings = TrainingSettings(samples=STOCKS - 1, batch_size=STOCKS - 1, dropout=0.0, warmup_share=0.0)
    day = TRAIN_DATES[0]
    result = _train(dataset, settings, dates=[day], seed=4)
    trained = result.state_dict

    panel = build_panel(dataset, PLAN, [day], lookback=12, normalization=Normalization.CSZ, clip_sigma=5.0)
    windows = panel.windows[day]
    target = read_forward_returns(dataset, SHAPE.horizons, TRAIN_END).on(day, windows.codes)
    target = (target - target.mean(axis=0)) / target.std(axis=0, ddof=1)
    batch = np.random.default_rng(4).permutation(STOCKS)[: STOCKS - 1]
    inputs = np.stack([panel.rows[first : first + 12] for first in windows.start[batch]])
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = PatchTSTRanker(SHAPE).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=settings.weight_decay)
    predicted = model(torch.from_numpy(inputs))
    loss = ((predicted - torch.tensor(target[batch], dtype=torch.float32)) ** 2).mean()
    loss.backward()
    np.testing.assert_allclose(result.losses, [loss.item()], rtol=1e-5)
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_gradient_norm)
    optimizer.step()
    for name, expected in model.state_dict().items():
        # AdamW's first step is about the gradient's sign, so weights with a vanishing gradient may differ.
        close = torch.isclose(trained[name], expected, atol=2e-5)
        assert close.float().mean() > 0.97, name


@pytest.mark.parametrize("dates", [[DAYS[59]], [DAYS[5]], [TRAIN_DATES[0], DAYS[58]], [date(2030, 1, 1)]])
def test_a_date_without_targets_is_refused_by_name(dataset, dates):
    with pytest.raises(Refusal, match="no targets") as refused:
        _train(dataset, dates=dates)
    assert refused.value.where == str(dates[-1])
