"""PatchTST ranker of APEX-Ranker v0.1.0: a patch encoder with one linear head per horizon.

Parameter names equal the checkpoint's keys, so that `load_state_dict(strict=True)` is the last handshake.
The architecture follows Nie et al., "A Time Series is Worth 64 Words" (2023), pre-LN variant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ModelShape:
    """Sizes that determine every weight's shape.

    Attributes
    ----------
    n_features
        Input channels; always the number of features, never doubled.
    patch_multiplier
        Convolution outputs per feature (2 in production: 89 features, 178 channels).
    horizons
        Forecast horizons in sessions, in the order of the output columns.
    lookback
        Rows per window.
    """

    n_features: int
    patch_multiplier: int
    d_model: int = 256
    depth: int = 4
    patch_len: int = 16
    stride: int = 8
    n_heads: int = 8
    horizons: tuple[int, ...] = (1, 5, 10, 20)
    lookback: int = 180

    @property
    def n_channels(self) -> int:
        """Channels after the convolution: the manifest's `effective_dim`."""
        return self.n_features * self.patch_multiplier

    @property
    def n_tokens(self) -> int:
        """Patches per window: `floor((lookback - patch_len) / stride) + 1`, 21 in production."""
        return (self.lookback - self.patch_len) // self.stride + 1


class _PatchEmbedding(nn.Module):
    """Depthwise convolution over time, then a projection to the model width."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            shape.n_features,
            shape.n_channels,
            kernel_size=shape.patch_len,
            stride=shape.stride,
            groups=shape.n_features,
            bias=False,
        )
        self.proj = nn.Linear(shape.n_channels, shape.d_model)

    def forward(self, windows: Tensor) -> Tensor:
        channels = self.conv(windows.transpose(1, 2))  # (batch, n_channels, n_tokens)
        return self.proj(channels.transpose(1, 2))


class _SelfAttention(nn.Module):
    """Multi-head attention with one packed input projection (query, key, value)."""

    def __init__(self, d_model: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d_model, d_model))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d_model))
        self.out_proj = nn.Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, n_tokens, d_model = tokens.shape
        packed = functional.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        query, key, value = packed.view(batch, n_tokens, 3, self.n_heads, d_model // self.n_heads).permute(
            2, 0, 3, 1, 4
        )
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, n_tokens, d_model))


class _Block(nn.Module):
    """Pre-LN transformer block: attention, then a feed-forward net of four times the width."""

    def __init__(self, shape: ModelShape, dropout: float) -> None:
        super().__init__()
        width = shape.d_model
        self.ln1 = nn.LayerNorm(width)
        self.attn = _SelfAttention(width, shape.n_heads, dropout)
        self.ln2 = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.ln1(tokens))
        return tokens + self.ffn(self.ln2(tokens))


class _Encoder(nn.Module):
    """Patch embedding, positions, blocks, final norm, mean over the tokens."""

    positions: Tensor

    def __init__(self, shape: ModelShape, dropout: float) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbedding(shape)
        self.blocks = nn.ModuleList(_Block(shape, dropout) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.d_model)
        # Computed, not learned: v0.1.0 does not store it in the checkpoint either.
        self.register_buffer(
            "positions", sinusoidal_positions(shape.n_tokens, shape.d_model), persistent=False
        )

    def forward(self, windows: Tensor) -> Tensor:
        tokens = self.patch_embed(windows) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens).mean(dim=1)


class _Heads(nn.Module):
    """One linear score per horizon."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({f"h{horizon}": nn.Linear(shape.d_model, 1) for horizon in shape.horizons})

    def forward(self, encoded: Tensor) -> Tensor:
        return torch.cat([head(encoded) for head in self.heads.values()], dim=1)


class PatchTSTRanker(nn.Module):
    """Scores windows of feature rows; a higher score is a better expected rank, unless the bundle's sign is -1.

    Parameters
    ----------
    shape
        Sizes of the network.
    dropout
        Dropout probability while training; inference has none.
    """

    def __init__(self, shape: ModelShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = _Encoder(shape, dropout)
        self.head = _Heads(shape)

    def forward(self, windows: Tensor) -> Tensor:
        """Score a batch.

        Parameters
        ----------
        windows : (batch, lookback, n_features) float32
            Oldest row first.

        Returns
        -------
        (batch, n_horizons) float32
            Scores, columns in the order of `shape.horizons`.
        """
        return self.head(self.encoder(windows))


def sinusoidal_positions(n_tokens: int, d_model: int) -> Tensor:
    """Position table `(n_tokens, d_model)`: even dims sin, odd cos, rate `exp(-ln(10000) 2i / d)`.

    Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.5.
    """
    position = torch.arange(n_tokens, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float32) * (-math.log(10_000.0) / d_model))
    table = torch.empty(n_tokens, d_model)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)
    return table
