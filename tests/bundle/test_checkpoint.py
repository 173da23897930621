"""What a checkpoint must be: no code, every tensor, each of its size."""

import collections
import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.bundle_factory import (
    CHECKPOINT,
    FEATURES,
    Draft,
    saved,
    weights,
)
from tests.support.handshakes import HASH, refused, shake


@pytest.mark.parametrize("wrapper", ["model_state_dict", "state_dict"])
def test_wrapped_checkpoints(dataset: Path, wrapper: str) -> None:
    metadata = {"feature_names": FEATURES, "feature_hash": HASH, "feature_count": 89, "config": {"lr": 1e-3}}
    assert shake(Draft(payload={wrapper: weights(), **metadata, "epoch": 3}), dataset).patch_multiplier == 2
    assert shake(Draft(payload={wrapper: weights()}), dataset).effective_dim == 178


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ({"feature_count": 88}, "contradicts itself in feature_count"),
        ({"feature_hash": HASH[::-1]}, "contradicts itself in feature_hash"),
        ({"feature_names": FEATURES[:-1]}, r"contradicts itself in feature_names\[88\]"),
        ({"feature_names": [*FEATURES, "more"]}, r"contradicts itself in feature_names\[89\]"),
        ({"feature_names": [*FEATURES[:3], "x", *FEATURES[4:]]}, r"contradicts itself in feature_names\[3\]"),
        ({"feature_names": "returns_1d"}, "key feature_names"),
        ({"feature_names": [1, 2]}, "key feature_names"),
        ({"feature_count": "89"}, "key feature_count"),
    ],
)
def test_checkpoint_metadata_that_contradicts(dataset: Path, metadata: dict[str, Any], what: str) -> None:
    refused(Draft(payload={"model_state_dict": weights(), **metadata}), dataset, what)


# --- checkpoints -----------------------------------------------------------------------------------------


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def packed(data: bytes) -> bytes:
    """The same zip, its records compressed: what unpacks to more than it weighs."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
    return out.getvalue()


def test_pickled_code_never_runs(dataset: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists(), "the bomb works"
    marker.unlink()
    for bomb in (
        saved(Bomb(marker)),
        saved({**weights(), "bomb": Bomb(marker)}),
        saved({"model_state_dict": weights(), "config": Bomb(marker)}),
        pickle.dumps(Bomb(marker)),
    ):
        refused(Draft(checkpoint_bytes=bomb), dataset, "cannot be loaded as weights only")
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a checkpoint",
        saved(weights())[:5000],
        saved(weights())[5000:],
        packed(saved(weights())),
        saved([1, 2]),
        saved({}),
        saved({"a": 1}),
        saved({"state_dict": 1}),
        saved({"state_dict": {}}),
        saved({"state_dict": weights(), "model_state_dict": weights()}),
        saved({"state_dict": {"a": [1]}}),
        saved(torch.nn.Linear(1, 1)),
    ],
)
def test_what_is_no_checkpoint(dataset: Path, data: bytes) -> None:
    assert refused(Draft(checkpoint_bytes=data), dataset, "cannot be loaded").where == CHECKPOINT


NAME = "encoder.blocks.0.attn.in_proj_weight"


def bent(name: str, change: Any) -> Draft:
    state = weights()
    state[name] = change(state[name])
    return Draft(payload=state)


@pytest.mark.parametrize("name", sorted(weights()))
def test_every_tensor_is_needed_and_measured(dataset: Path, name: str) -> None:
    state = weights()
    tensor = state.pop(name)
    assert name in refused(Draft(payload=state), dataset, "does not hold the tensors").expected
    state[name] = tensor[..., None]
    what = refused(Draft(payload=state), dataset, "wrong shape|size mismatch").what
    assert name in what or name == "encoder.patch_embed.conv.weight"


def test_tensors_too_many(dataset: Path) -> None:
    refusal = refused(Draft(payload={**weights(), "module.x": torch.ones(1)}), dataset, "does not hold")
    assert "module.x" in refusal.received
    deeper = Draft(payload=weights(depth=2))
    assert "encoder.blocks.1.ln1.weight" in refused(deeper, dataset, "does not hold").received


def inside(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As of a model whose encoder alone is compiled."""
    return {name.replace("encoder.", "encoder._orig_mod.", 1): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("prefix", "remedy"),
    [
        ("module.", "DataParallel"),
        ("_orig_mod.", "torch.compile"),
        ("model.", "training module"),
        ("module._orig_mod.", "DataParallel"),
        ("_orig_mod.module.", "torch.compile"),
        ("net.ranker.", "own state_dict"),
    ],
)
@pytest.mark.parametrize("wrapper", [None, "state_dict"])
def test_a_wrapped_model_is_named_with_its_prefix(
    dataset: Path, prefix: str, remedy: str, wrapper: str | None
) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in weights().items()}
    payload = state if wrapper is None else {wrapper: state}
    refusal = refused(Draft(payload=payload), dataset, "checkpoint holds a wrapped model")
    assert repr(prefix) in refusal.what
    assert refusal.received == f"{prefix}{refusal.expected}"
    assert refusal.expected in weights()
    assert remedy in refusal.remedy


def test_a_model_that_is_compiled_in_part_is_named(dataset: Path) -> None:
    refusal = refused(Draft(payload=inside(weights())), dataset, "checkpoint holds a wrapped model")
    assert "'_orig_mod.' too much" in refusal.what
    assert refusal.expected in weights()


def test_a_wrapped_model_of_another_depth_is_named_by_its_wrapper_first(dataset: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in weights(depth=2).items()}
    assert "'module.'" in refused(Draft(payload=state), dataset, "wrapped model").what


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_another_float_type_is_named_as_what_it_is(dataset: Path, kind: torch.dtype) -> None:
    state = {name: tensor.to(kind) for name, tensor in weights().items()}
    refusal = refused(Draft(payload=state), dataset, f"checkpoint is saved in {kind}")
    assert refusal.received == f"{len(state)} of {len(state)} tensors in {kind}"
    assert ".float()" in refusal.remedy
    # Mixed precision keeps some tensors, such as norms, in float32.
    state |= {name: tensor for name, tensor in weights().items() if ".ln" in name}
    assert "tensors in" in refused(Draft(payload=state), dataset, f"checkpoint is saved in {kind}").received


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.float64(0.1), r"numpy\.\w+\.multiarray\.scalar"),
        (np.ones(2), r"numpy\.\w+\.multiarray\._reconstruct"),
        (Path("a"), r"pathlib\.PosixPath"),
        (torch.nn.Linear(1, 1), r"torch\.nn\.modules\.linear\.Linear"),
        (collections.deque(), r"collections\.deque"),
    ],
)
def test_a_refused_object_is_named_with_what_to_save_instead(
    dataset: Path, value: object, named: str
) -> None:
    for payload in ({"model_state_dict": weights(), "loss": value}, {**weights(), "loss": value}):
        refusal = refused(Draft(payload=payload), dataset, "cannot be loaded as weights only")
        assert re.fullmatch(f"a pickled {named}", refusal.received)
        assert "float(x)" in refusal.remedy


def test_a_state_dict_under_another_name_is_named(dataset: Path) -> None:
    payload = {"model": weights(), "epoch": 3}
    refusal = refused(Draft(payload=payload), dataset, "cannot be loaded")
    assert refusal.received == "a state dict under 'model'"
    assert "model_state_dict" in refusal.remedy


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t.double(), "wrong type"),
        (lambda t: t.half(), "wrong type"),
        (lambda t: t.bfloat16(), "wrong type"),
        (lambda t: t.int(), "wrong type"),
        (lambda t: t.to_sparse(), "wrong type"),
        (lambda t: t.index_put((torch.tensor(3), torch.tensor(5)), torch.tensor(torch.nan)), "wrong content"),
        (lambda t: t.index_put((torch.tensor(3), torch.tensor(5)), torch.tensor(torch.inf)), "wrong content"),
        (lambda t: t.T.contiguous(), "wrong shape"),
        (lambda t: torch.zeros(1).expand(10**6, 10**6), "wrong shape"),
    ],
)
def test_a_bent_tensor_is_named(dataset: Path, change: Any, what: str) -> None:
    refusal = refused(bent(NAME, change), dataset, f"{NAME} has the {what}")
    assert refusal.where == f"{CHECKPOINT}, {NAME}"


def test_a_parameter_is_a_tensor(dataset: Path) -> None:
    assert shake(bent(NAME, torch.nn.Parameter), dataset).effective_dim == 178
