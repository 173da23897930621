"""Checkpoints: loaded as weights only, then compared with the architecture, tensor by tensor."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from apex_tasks.bundle.checkpoint_faults import other_float_type, refused_global, wrapped_names
from apex_tasks.bundle.config import ModelSection
from apex_tasks.bundle.parsing import validated
from apex_tasks.refusal import Refusal

if TYPE_CHECKING:
    from torch import Tensor

CONV_WEIGHT = "encoder.patch_embed.conv.weight"
FFN_FACTOR = 4
_WRAPPERS = ("model_state_dict", "state_dict")
_SHOWN = 5
_FETCH_AGAIN = "Fetch the bundle again, or save the weights as a plain state dict of float32 tensors."
_PLAIN_VALUES = (
    "Leave that object out of the checkpoint, or save it as a plain number, text, list or dict: a numpy number as "
    "float(x), an array as a tensor, a path as str(x)."
)
_UNWRAP = "Save the state dict itself, or put it under model_state_dict."


def _from_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class CheckpointMetadata(BaseModel):
    """What a checkpoint says of its own features; all of it optional."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    feature_names: Annotated[tuple[str, ...] | None, BeforeValidator(_from_list)] = None
    feature_hash: str | None = None
    feature_count: Annotated[int, Field(ge=1)] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Weights by parameter name, and the checkpoint's metadata."""

    state_dict: Mapping[str, Tensor]
    metadata: CheckpointMetadata

    @property
    def channels(self) -> int:
        """Convolution outputs: the manifest's `effective_dim`."""
        return int(self.state_dict[CONV_WEIGHT].shape[0])


def load_checkpoint(data: bytes, where: str) -> Checkpoint:
    """Load a bare state dict, or one wrapped as `model_state_dict` or `state_dict`; no code is ever run.

    Raises
    ------
    Refusal
        The bytes are not a checkpoint of plain tensors.
    """
    import torch

    _check_container(data, where)
    try:
        payload = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a parser of foreign bytes: whatever it raises, the file is refused
        refused = refused_global(str(error))
        if refused is not None:
            raise _unloadable(f"a pickled {refused}", where, _PLAIN_VALUES) from None
        reason = str(error).strip().splitlines()
        raise _unloadable(f"{type(error).__name__}: {reason[-1] if reason else ''}", where) from None
    if not isinstance(payload, dict):
        raise _unloadable(type(payload).__name__, where)
    wrappers = [name for name in _WRAPPERS if name in payload]
    if len(wrappers) > 1:
        raise _unloadable(f"both {' and '.join(wrappers)}", where)
    weights = payload[wrappers[0]] if wrappers else payload
    if not isinstance(weights, dict) or not weights:
        raise _unloadable("no state dict, or an empty one", where)
    foreign = [repr(key) for key, value in weights.items() if not isinstance(value, torch.Tensor)]
    nested = [repr(key) for key, value in weights.items() if _is_state_dict(value)]
    if nested and not wrappers:
        raise _unloadable(f"a state dict under {nested[0]}", where, _UNWRAP)
    if foreign:
        raise _unloadable(f"values that are no tensors: {_some(foreign)}", where)
    metadata = payload if wrappers else {}
    return Checkpoint(weights, validated(CheckpointMetadata, metadata, where))


def check_weights(checkpoint: Checkpoint, model: ModelSection, horizons: Sequence[int], where: str) -> None:
    """Compare the weights with what the config's architecture needs: names, shapes, float32, finite.

    The number of attention heads leaves no trace in the weights and cannot be checked.

    Raises
    ------
    Refusal
        Naming the tensors at fault.
    """
    import torch

    weights = checkpoint.state_dict
    conv = weights.get(CONV_WEIGHT)
    channels = conv.shape[0] if conv is not None and conv.ndim else 0
    expected = _expected_shapes(model, horizons, channels)
    missing = [name for name in expected if name not in weights]
    unexpected = [str(name) for name in weights if name not in expected]
    if missing or unexpected:
        wrapped = wrapped_names(list(weights), list(expected), where)
        if wrapped is not None:
            raise wrapped
        raise Refusal(
            "checkpoint does not hold the tensors of the config's architecture",
            expected=f"{len(expected)} tensors" + (f", among them {_some(missing)}" if missing else ""),
            received=f"{len(weights)} tensors" + (f", among them {_some(unexpected)}" if unexpected else ""),
            where=where,
            remedy="Check model.depth and train.horizons in the bundle's config against the checkpoint.",
        )
    other_type = other_float_type(weights, where)
    if other_type is not None:
        raise other_type
    for name, shape in expected.items():
        tensor = weights[name]
        if tuple(tensor.shape) != shape:
            raise _bad_tensor(name, "shape", shape, tuple(tensor.shape), where)
        if tensor.dtype != torch.float32 or tensor.layout != torch.strided:
            raise _bad_tensor(name, "type", "dense torch.float32", f"{tensor.layout} {tensor.dtype}", where)
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise _bad_tensor(name, "content", "finite weights", f"{bad} that are NaN or infinite", where)


def _expected_shapes(
    model: ModelSection, horizons: Sequence[int], channels: int
) -> dict[str, tuple[int, ...]]:
    d, wide = model.d_model, FFN_FACTOR * model.d_model
    shapes: dict[str, tuple[int, ...]] = {
        CONV_WEIGHT: (channels, 1, model.patch_len),
        "encoder.patch_embed.proj.weight": (d, channels),
        "encoder.patch_embed.proj.bias": (d,),
    }
    for index in range(model.depth):
        block = f"encoder.blocks.{index}"
        shapes |= {
            f"{block}.ln1.weight": (d,),
            f"{block}.ln1.bias": (d,),
            f"{block}.attn.in_proj_weight": (3 * d, d),
            f"{block}.attn.in_proj_bias": (3 * d,),
            f"{block}.attn.out_proj.weight": (d, d),
            f"{block}.attn.out_proj.bias": (d,),
            f"{block}.ln2.weight": (d,),
            f"{block}.ln2.bias": (d,),
            f"{block}.ffn.0.weight": (wide, d),
            f"{block}.ffn.0.bias": (wide,),
            f"{block}.ffn.3.weight": (d, wide),
            f"{block}.ffn.3.bias": (d,),
        }
    shapes |= {"encoder.norm.weight": (d,), "encoder.norm.bias": (d,)}
    for horizon in horizons:
        shapes |= {f"head.heads.h{horizon}.weight": (1, d), f"head.heads.h{horizon}.bias": (1,)}
    return shapes


def _check_container(data: bytes, where: str) -> None:
    """Only uncompressed zip files, as torch writes them: they unpack to no more than their size."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            records = container.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise _unloadable(f"{len(data)} bytes: {error}", where) from None
    packed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise _unloadable(f"compressed records: {_some(packed)}", where)


def _is_state_dict(value: object) -> bool:
    import torch

    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(part, torch.Tensor) for part in value.values())
    )


def _unloadable(received: str, where: str, remedy: str = _FETCH_AGAIN) -> Refusal:
    return Refusal(
        "checkpoint cannot be loaded as weights only",
        expected="a torch file of float32 tensors, without pickled objects",
        received=received[:300],
        where=where,
        remedy=remedy,
    )


def _bad_tensor(name: str, what: str, expected: object, received: object, where: str) -> Refusal:
    return Refusal(
        f"checkpoint tensor {name} has the wrong {what}",
        expected=expected,
        received=received,
        where=f"{where}, {name}",
        remedy="Check the config's model section against the checkpoint, or fetch the bundle again.",
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    rest = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + rest
