"""Faults of the bundle: its files, its manifest, its config, its weights."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import torch

from tests.support.bundle_factory import (
    ALIASES,
    CHECKPOINT,
    CONFIG,
    FEATURES,
    GROUPS,
    GROUPS_BYTES,
    MANIFEST,
    Draft,
    weights,
    write_tar,
)
from tests.support.fault_table.attempt import Attempt, Change, asked, bent, both, damaged
from tests.support.fault_table.case import Case
from tests.support.fault_table.market import sound_draft
from tests.support.fault_table.verdicts import refused, same

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "


def tensors(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """Every tensor of the checkpoint as a function of what it was."""
    return bent(lambda draft: setattr(draft, "payload", {name: change(t) for name, t in weights().items()}))


def payload(make: Callable[[], object]) -> Change:
    """Another content of the checkpoint."""
    return bent(lambda draft: setattr(draft, "payload", make()))


def config(section: str, **values: object) -> Change:
    """Other values in a section of the config."""
    return bent(lambda draft: draft.config[section].update(values))


def claim(section: str, **values: object) -> Change:
    """Other claims of the manifest."""
    return bent(lambda draft: draft.manifest[section].update(values))


def config_text(edit: Callable[[str], str]) -> Change:
    """Another text of the config."""

    def bend(draft: Draft) -> None:
        import yaml

        draft.config_bytes = edit(yaml.safe_dump(draft.config, sort_keys=False)).encode()

    return bent(bend)


def archive(edit: Callable[[bytes], bytes] = bytes, **more: bytes) -> Change:
    """A tar.gz instead of a folder, with more members or other bytes."""

    def change(attempt: Attempt) -> None:
        attempt.folder.mkdir(parents=True, exist_ok=True)
        attempt.bundle = attempt.folder / "bundle.tar.gz"
        write_tar({**sound_draft().seal(), **more}, attempt.bundle)
        attempt.bundle.write_bytes(edit(attempt.bundle.read_bytes()))

    return change


def linked(attempt: Attempt) -> None:
    damaged(lambda files: None)(attempt)
    (attempt.bundle / "more.yaml").symlink_to("/etc/passwd")


def zipped(_: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as file:
        file.addfile(tarfile.TarInfo(MANIFEST))
    return packed.getvalue()


def flipped(path: str, at: int = 100) -> Change:
    """One bit of a file."""
    return damaged(
        lambda files: files.update(
            {path: files[path][:at] + bytes([files[path][at] ^ 1]) + files[path][at + 1 :]}
        )
    )


def without(path: str) -> Change:
    return damaged(lambda files: files.pop(path))


CASES = (
    Case("AppleDouble files beside the bundle's own", damaged(lambda files: files.update({"._MANIFEST.lock": APPLE_DOUBLE, "configs/._x.yaml": APPLE_DOUBLE})), same(), quick=True),
    Case(".DS_Store in the bundle", damaged(lambda files: files.update({".DS_Store": bytes(100)})), same()),
    Case("AppleDouble files in an archive", archive(**{"._MANIFEST.lock": APPLE_DOUBLE, "models/._m.pt": APPLE_DOUBLE}), same()),
    Case("the bundle as an archive", archive(), same()),
    Case("an archive cut in half", archive(lambda data: data[: len(data) // 2]), refused("bundle")),
    Case("an archive that is xz", archive(zipped), refused("bundle")),
    Case("an archive with a path that leaves it", archive(**{"../evil": b"x"}), refused("unsafe path")),
    Case("a link in the bundle", linked, refused("link or device")),
    Case("no MANIFEST.lock", without(MANIFEST), refused("MANIFEST.lock"), quick=True),
    Case("no checkpoint", without(CHECKPOINT), refused("checkpoint is not in the bundle"), quick=True),
    Case("no config", without(CONFIG), refused("config is not in the bundle")),
    Case("a bit of the checkpoint", flipped(CHECKPOINT), refused("does not match MANIFEST.lock"), quick=True),
    Case("a bit of the config", flipped(CONFIG), refused("does not match MANIFEST.lock")),
    Case("Windows line ends in the config", damaged(lambda files: files.update({CONFIG: files[CONFIG].replace(b"\n", b"\r\n")})), refused("does not match MANIFEST.lock")),
    Case("Windows line ends in the feature groups, which no hash covers", damaged(lambda files: files.update({GROUPS: GROUPS_BYTES.replace(b"\n", b"\r\n")})), same()),
    Case("the manifest is no JSON", damaged(lambda files: files.update({MANIFEST: b"{"})), refused("not a readable JSON document"), quick=True),
    Case("the manifest is HTML", damaged(lambda files: files.update({MANIFEST: b"<html>"})), refused("not a readable JSON document")),
    Case("a manifest key twice", damaged(lambda files: files.update({MANIFEST: files[MANIFEST].replace(b"{", b'{"git_tag": "x",', 1)})), refused("each key once")),
    Case("a manifest nested 2,000 deep", damaged(lambda files: files.update({MANIFEST: b'{"a":' * 2_000 + b"1" + b"}" * 2_000})), refused("MANIFEST.lock")),
    Case("the manifest claims another number of channels", claim("checkpoint", effective_dim=89), refused("contradicts itself")),
    Case("the manifest claims another number of features", claim("checkpoint", base_features=88), refused("contradicts itself")),
    Case("patch_multiplier 1 in the config", config("model", patch_multiplier=1), refused("size mismatch"), quick=True),
    Case("patch_multiplier 3 in the config", config("model", patch_multiplier=3), refused("size mismatch")),
    Case("a config key twice", config_text(lambda text: text + "version: 0.2.0\n"), refused("each key once")),
    Case("a config with a Python object", config_text(lambda text: text + "x: !!python/object/apply:os.system ['true']\n"), refused("not a readable YAML document")),
    Case("a config with an anchor", config_text(lambda text: "a: &a [1]\nb: *a\n" + text), same()),
    Case("a config of anchors that multiply to 10**9", config_text(lambda text: "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)) + text), refused("expands to more than")),
    Case("a lookback of 0", config("data", lookback=0), refused("data.lookback is invalid")),
    Case("a lookback longer than the file", config("data", lookback=5_000), refused("too few eligible stocks")),
    Case("a lookback in words", config("data", lookback="180"), refused("data.lookback is invalid")),
    Case("clip_sigma nan", config("normalization", clip_sigma=float("nan")), refused("normalization.clip_sigma is invalid")),
    Case("a horizon that the model has no head for", config("train", horizons=[1, 5, 10, 60]), refused("horizon")),
    Case("more heads than the model's size divides into", config("model", n_heads=3), refused("n_heads")),
    Case("min_stocks_per_day 1000", config("data", min_stocks_per_day=1_000), refused("too few eligible stocks")),
    Case("sign 2 in the config", config("selection", horizons={"20": {"sign": 2}}), refused("sign is invalid")),
    Case("k_ratio nan in the config", config("selection", horizons={"20": {"k_ratio": float("nan")}}), refused("k_ratio is invalid")),
    Case("k_min 5 in the config", config("selection", default={}, horizons={"20": {"k_ratio": 0.01, "k_min": 5}}), refused(code=4)),
    Case("module. before the tensors' names", payload(lambda: {f"module.{name}": t for name, t in weights().items()}), refused("holds a wrapped model", "module.encoder"), quick=True),
    Case("_orig_mod. before the tensors' names", payload(lambda: {f"_orig_mod.{name}": t for name, t in weights().items()}), refused("holds a wrapped model")),
    Case("float16 weights", tensors(torch.Tensor.half), refused("saved in torch.float16"), quick=True),
    Case("bfloat16 weights", tensors(torch.Tensor.bfloat16), refused("saved in torch.bfloat16")),
    Case("float64 weights", tensors(torch.Tensor.double), refused("saved in torch.float64")),
    Case("a weight that is nan", tensors(lambda t: torch.full_like(t, torch.nan)), refused("wrong content")),
    Case("a weight that is infinite", tensors(lambda t: torch.full_like(t, torch.inf)), refused("wrong content")),
    Case("weights all 0: every score is the same", tensors(torch.zeros_like), refused("scores")),
    Case("weights almost 0", tensors(lambda t: t * 1e-12), refused("scores")),
    Case("weights of another depth", payload(lambda: weights(depth=2)), refused("does not hold the tensors")),
    Case("weights of another size", payload(lambda: weights(d_model=32)), refused("wrong shape")),
    Case("weights of other channels", payload(lambda: weights(channels=176)), refused("channels")),
    Case("weights of one channel per feature", payload(lambda: weights(channels=89)), refused()),
    Case("a tensor too few", payload(lambda: dict(list(weights().items())[1:])), refused("does not hold the tensors")),
    Case("weights under state_dict", payload(lambda: {"state_dict": weights()}), same()),
    Case("the checkpoint is a whole model", payload(lambda: torch.nn.Linear(1, 1)), refused("cannot be loaded as weights only")),
    Case("the checkpoint is text", bent(lambda draft: setattr(draft, "checkpoint_bytes", b"version https://git-lfs.github.com/spec/v1\n")), refused("cannot be loaded as weights only")),
    Case("the checkpoint's features are others", payload(lambda: {"model_state_dict": weights(), "feature_names": [*FEATURES[1:], FEATURES[0]], "feature_hash": "0" * 16, "feature_count": 89}), refused("feature")),
    Case("no feature groups and no aliases", both(without(GROUPS), damaged(lambda files: (files.pop(GROUPS), files.pop(ALIASES)))), same()),
    Case("a raw bundle run as csz", config("normalization", mode="raw"), refused("trained on raw features")),
    Case("other files of the bundle may be large only up to a limit", both(damaged(lambda files: files.update({"notes.bin": bytes(2 << 20)})), asked(APEX_BUNDLE_LIMITS__MAX_UNPACKED_MIB="1")), refused("unpacks to too much")),
)  # fmt: skip
