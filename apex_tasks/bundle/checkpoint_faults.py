"""What is usually wrong with a checkpoint, named as what it is: wrapped models, other floats, pickled objects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import takewhile
from typing import TYPE_CHECKING

from apex_tasks.refusal import Refusal

if TYPE_CHECKING:
    from torch import Tensor

COMPILED = "_orig_mod."
_WRAPPED_BY = {
    "module.": "DataParallel or DistributedDataParallel: save model.module.state_dict().",
    COMPILED: "torch.compile: save the state dict of the model before it is compiled, model._orig_mod.",
    "model.": "a training module that holds the ranker as `model`: save that attribute's state_dict().",
}
_REFUSED_GLOBAL = re.compile(r"(?:GLOBAL |global:? )([A-Za-z_][\w.]*\.\w+)")


def wrapped_names(names: Collection[object], expected: Collection[str], where: str) -> Refusal | None:
    """The refusal of tensor names that are right but for what a wrapper put in front of, or into, all of them.

    Returns
    -------
    Refusal or None
        None where the names are wrong in another way.
    """
    texts = [str(name) for name in names]
    known = len(frozenset(texts) & frozenset(expected))
    levels = zip(*(name.split(".") for name in texts), strict=False)
    prefix = "".join(f"{level[0]}." for level in takewhile(lambda level: len(set(level)) == 1, levels))
    for added, bare in (
        (prefix, [name.removeprefix(prefix) for name in texts]),
        (COMPILED, [name.replace(COMPILED, "") for name in texts]),
    ):
        if added and len(frozenset(bare) & frozenset(expected)) > known:
            first = next(name for name, rest in zip(texts, bare, strict=True) if rest in expected)
            causes = [cause for part, cause in _WRAPPED_BY.items() if part in added]
            return Refusal(
                f"checkpoint holds a wrapped model: its tensor names have {added!r} too much",
                expected=first.removeprefix(prefix).replace(COMPILED, ""),
                received=first,
                where=where,
                remedy=f"Added by {' Then by '.join(causes)}"
                if causes
                else "Save the ranker's own state_dict().",
            )
    return None


def other_float_type(weights: Mapping[str, Tensor], where: str) -> Refusal | None:
    """The refusal of a checkpoint that is saved, all of it or most, in another float type than float32."""
    import torch

    found = Counter(tensor.dtype for tensor in weights.values() if tensor.dtype.is_floating_point)
    kind, count = max(found.items(), key=lambda item: item[1], default=(torch.float32, 0))
    if kind == torch.float32 or count <= len(weights) / 2:
        return None
    return Refusal(
        f"checkpoint is saved in {kind}",
        expected="torch.float32, which the scores are computed in",
        received=f"{count} of {len(weights)} tensors in {kind}",
        where=where,
        remedy="Save the weights in float32 where they are trained, {name: tensor.float()}. Weights that were once "
        "rounded to 16 bits stay rounded: their scores are not those of the trained model.",
    )


def refused_global(message: str) -> str | None:
    """Dotted name of the Python object that a weights-only load refused, in torch's message; None: it names none."""
    found = _REFUSED_GLOBAL.search(message)
    return found[1] if found else None
