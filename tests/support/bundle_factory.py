"""Bundles for tests, written without the code under test: the shape of the deployed one, with tiny weights."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from apex_tasks.settings import ApexSettings, configs_folder

CHECKPOINT = "models/apex_ranker_v0_enhanced.pt"
CONFIG = "configs/v0_base_89_cleanADV.yaml"
GROUPS = "configs/feature_groups.yaml"
ALIASES = "configs/feature_aliases.yaml"
MANIFEST = "MANIFEST.lock"
INIT_LOG = "[Model Init] in_features=89, patch_multiplier=auto, add_csz=False"

GROUPS_BYTES = (configs_folder() / "feature_groups.yaml").read_bytes()
ALIASES_BYTES = (configs_folder() / "feature_aliases.yaml").read_bytes()
FEATURES: list[str] = [
    name for group in yaml.safe_load(GROUPS_BYTES)["groups"].values() for name in group["include"]
]

FEATURE_HASH = "6702b323458e9786"  # BASELINE: of the names joined by |

CONFIG_TEXT = """\
version: 0.1.0
description: APEX-Ranker v0 base, 89 features, clean ADV
data:
  parquet_path: output/ml_dataset_latest_clean_with_adv.parquet
  metadata_path: null
  feature_groups_config: configs/feature_groups.yaml
  feature_aliases_yaml: configs/feature_aliases.yaml
  feature_groups: [core50, plus30, dmi_focus]
  optional_groups: []
  use_plus30: false
  lookback: 180
  min_stocks_per_day: 80
  date_column: Date
  code_column: Code
  target_columns: {1: target_1d, 5: target_5d, 10: target_10d, 20: target_20d}
normalization:
  mode: cross_section_z
  clip_sigma: 5.0
train:
  horizons: [1, 5, 10, 20]
  epochs: 30
  lr: 0.0003
  cv: {n_splits: 5, embargo_days: 20}
selection:
  default: {k_ratio: 0.6, k_min: 53, sign: 1}
  horizons:
    "5": {k_ratio: 0.5, sign: -1}
    "10": {k_min: 40}
    "20": {k_ratio: 0.6, k_min: 53, sign: 1}
model:
  d_model: 256
  depth: 4
  patch_len: 16
  stride: 8
  n_heads: 8
  dropout: 0.2
loss: {listnet_weight: 1.0, ranknet_weight: 0.5}
eval: {top_k: 35, metrics: [rank_ic, ndcg]}
"""


_CONFIG: dict[str, Any] = yaml.safe_load(CONFIG_TEXT)


def manifest() -> dict[str, Any]:
    """MANIFEST.lock as the deployed bundle words it, which lacks the `feature_hash`; `seal` puts the hashes in."""
    return {
        "bundle_version": "v0.1.0-prod",
        "created": "2025-10-30T07:00:00Z",
        "git_tag": "apex-ranker-v0.1.0",
        "checkpoint": {
            "file": CHECKPOINT,
            "base_features": 89,
            "effective_dim": 178,
            "csz_mode": "trained_with_csz",
            "patch_multiplier": "auto",
            "feature_hash": FEATURE_HASH,
            "comment": "89 base features x 2",
        },
        "config": {"file": CONFIG, "patch_multiplier": "auto (unset)"},
        "dataset": {
            "file": "output/ml_dataset_latest_clean_with_adv.parquet",
            "sha256": "0" * 64,
            "features": 89,
            "date_range": "2024-12-24 to 2025-10-03",
            "rows": 694253,
            "stocks": 3860,
        },
        "expected_behavior": {
            "model_init_log": INIT_LOG,
            "effective_dim": 178,
            "candidate_kept": 53,
            "rebalance_freq": "monthly",
            "top_k": 35,
            "horizon": 20,
        },
        "performance_benchmarks": {"sharpe_ratio": 1.439, "total_return": 44.85, "rebalances": 22},
        "critical_alerts": {"candidate_kept": {"normal": 53, "threshold": "< 53", "severity": "CRITICAL"}},
        "operational_rules": {"never": ["edit the bundle"], "rollback": {"to": "v0.0.9"}},
    }


def weights(
    channels: int = 178,
    d_model: int = 16,
    depth: int = 1,
    patch_len: int = 16,
    horizons: tuple[int, ...] = (1, 5, 10, 20),
) -> dict[str, torch.Tensor]:
    """Every tensor of the deployed architecture, written out by hand."""
    random = torch.Generator().manual_seed(7)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random)

    state = {
        "encoder.patch_embed.conv.weight": tensor(channels, 1, patch_len),
        "encoder.patch_embed.proj.weight": tensor(d_model, channels),
        "encoder.patch_embed.proj.bias": tensor(d_model),
        "encoder.norm.weight": tensor(d_model),
        "encoder.norm.bias": tensor(d_model),
    }
    for block in range(depth):
        for name, shape in {
            "ln1.weight": (d_model,),
            "ln1.bias": (d_model,),
            "ln2.weight": (d_model,),
            "ln2.bias": (d_model,),
            "attn.in_proj_weight": (3 * d_model, d_model),
            "attn.in_proj_bias": (3 * d_model,),
            "attn.out_proj.weight": (d_model, d_model),
            "attn.out_proj.bias": (d_model,),
            "ffn.0.weight": (4 * d_model, d_model),
            "ffn.0.bias": (4 * d_model,),
            "ffn.3.weight": (d_model, 4 * d_model),
            "ffn.3.bias": (d_model,),
        }.items():
            state[f"encoder.blocks.{block}.{name}"] = tensor(*shape)
    for horizon in horizons:
        state[f"head.heads.h{horizon}.weight"] = tensor(1, d_model)
        state[f"head.heads.h{horizon}.bias"] = tensor(1)
    return state


def tiny_config() -> dict[str, Any]:
    config = copy.deepcopy(_CONFIG)
    config["model"] |= {"d_model": 16, "depth": 1, "n_heads": 2}
    return config


def saved(payload: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    return buffer.getvalue()


@dataclass
class Draft:
    """A bundle to be bent, then sealed: hashes are computed last, so that only the bend is at fault."""

    payload: object = field(default_factory=weights)
    config: dict[str, Any] = field(default_factory=tiny_config)
    manifest: dict[str, Any] = field(default_factory=manifest)
    extra: dict[str, bytes] = field(default_factory=lambda: {GROUPS: GROUPS_BYTES, ALIASES: ALIASES_BYTES})
    checkpoint_bytes: bytes | None = None
    config_bytes: bytes | None = None

    def seal(self) -> dict[str, bytes]:
        checkpoint = saved(self.payload) if self.checkpoint_bytes is None else self.checkpoint_bytes
        config = (
            yaml.safe_dump(self.config, sort_keys=False).encode()
            if self.config_bytes is None
            else self.config_bytes
        )
        files = {CHECKPOINT: checkpoint, CONFIG: config, **self.extra}
        for entry, path in (("checkpoint", CHECKPOINT), ("config", CONFIG)):
            self.manifest[entry]["sha256"] = hashlib.sha256(files[path]).hexdigest()
        return {**files, MANIFEST: json.dumps(self.manifest, indent=2).encode()}

    def folder(self, out: Path) -> Path:
        return write_files(self.seal(), out)

    def archive(self, out: Path, top: str = "apex_ranker_v0.1.0_prod/") -> Path:
        return write_tar({top + name: data for name, data in self.seal().items()}, out)

    def all_listed(self) -> Draft:
        """List the extra files too, somewhere deep in the manifest."""
        self.manifest["lists"] = [
            {"file": path, "sha256": hashlib.sha256(data).hexdigest()} for path, data in self.extra.items()
        ]
        return self


def mirrored_bundle(out: Path, sign: int) -> Path:
    """Write a bundle that says `sign` for all horizons; with -1 every head is negated, so that it means the same."""
    draft = Draft()
    draft.payload = {
        name: tensor * sign if name.startswith("head.") else tensor for name, tensor in weights().items()
    }
    rules = draft.config["selection"]
    for rule in (rules["default"], *rules["horizons"].values()):
        rule["sign"] = sign
    return draft.folder(out)


def write_files(files: dict[str, bytes], out: Path) -> Path:
    for name, data in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    return out


def write_tar(files: dict[str, bytes], out: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(out, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in members:
            archive.addfile(member)
    return out


def dataset(out: Path, columns: list[str] | None = None, **types: pa.DataType) -> Path:
    """A one-row dataset with the feature columns (default: all 89, DMI ones as operands)."""
    operands = {"dmi_z26_net": "dmi_z26", "dmi_net_to_adv20": "dmi"}
    if columns is None:
        columns = [name for name in FEATURES if name not in operands]
        columns += ["dmi_z26_long", "dmi_z26_short", "dmi_long_to_adv20", "dmi_short_to_adv20"]
    kinds: dict[str, pa.DataType] = {"Date": pa.date32(), "Code": pa.string()}
    for name in ("Close", "Volume", "TurnoverValue", *columns):
        kinds[name] = pa.float32()
    kinds |= types
    pq.write_table(pa.table({name: pa.nulls(1, kind) for name, kind in kinds.items()}), out)
    return out


def settings(**sections: dict[str, Any]) -> ApexSettings:
    return _DEFAULTS.model_copy(
        update={
            name: getattr(_DEFAULTS, name).model_validate(getattr(_DEFAULTS, name).model_dump() | section)
            for name, section in sections.items()
        }
    )


_DEFAULTS = ApexSettings()
