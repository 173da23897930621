"""A slow second opinion on panel, model and ranking: plain loops, float64, no shared code."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

NEVER_ZERO = ("target_", "returns_", "label_")


def find_column(name, columns):
    """Exact, then without regard to case, then `returns_X` for `ret_prev_X` and the reverse."""
    candidates = [name]
    lower = name.lower()
    if lower.startswith("returns_"):
        candidates.append("ret_prev_" + name[len("returns_") :])
    if lower.startswith("ret_prev_"):
        candidates.append("returns_" + name[len("ret_prev_") :])
    for candidate in candidates:
        if candidate in columns:
            return candidate
        for column in columns:
            if column.lower() == candidate.lower():
                return column
    return None


def read(path, names, aliases=None):
    """Frame with Date (datetime.date), Code (str) and every feature as float64; absent ones are 0.

    `aliases`: feature -> expression, such as "long - short".
    """
    data = pd.read_parquet(path)
    frame = {
        "Date": [pd.Timestamp(day).date() for day in data["Date"]],
        "Code": [str(code) for code in data["Code"]],
    }
    for name in names:
        words = (aliases or {}).get(name, "").split()
        operands = [find_column(word, list(data.columns)) for word in words[::2]]
        if operands and None not in operands:
            values = data[operands[0]].to_numpy(dtype=np.float64, na_value=np.nan)
            if len(operands) == 2:
                right = data[operands[1]].to_numpy(dtype=np.float64, na_value=np.nan)
                with np.errstate(invalid="ignore"):
                    values = values + right if words[1] == "+" else values - right
        elif column := find_column(name, list(data.columns)):
            values = data[column].to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            assert not any(part in name for part in NEVER_ZERO), f"{name} must not be filled"
            values = np.zeros(len(data))
        frame[name] = values
    return pd.DataFrame(frame)


def zscore(values, clip):
    """One feature of one day."""
    known = [value for value in values if math.isfinite(value)]
    mean = math.fsum(known) / len(known) if known else 0.0
    variance = math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1) if len(known) > 1 else 0.0
    std = math.sqrt(variance)
    if std < 1e-8:
        std = 1.0
    return [min(max((value - mean) / std, -clip), clip) if math.isfinite(value) else 0.0 for value in values]


def normalized(frame, names, clip=5.0):
    """The frame with every feature's z-score of its day."""
    frame = frame.copy()
    for name in names:
        values = frame[name].to_numpy(copy=True)
        for rows in frame.groupby("Date").indices.values():
            values[rows] = zscore(values[rows].tolist(), clip)
        frame[name] = values
    return frame


def windows(frame, names, as_of, lookback):
    """Code -> (lookback, n_features), codes ascending: the eligible stocks of one day."""
    frame = frame[frame["Date"] <= as_of].sort_values(["Date", "Code"], ignore_index=True)
    features = frame[list(names)].to_numpy()
    own_rows: dict[str, list[int]] = {}
    for row, code in enumerate(frame["Code"]):
        own_rows.setdefault(code, []).append(row)
    found = {}
    for code in sorted(own_rows):
        rows = own_rows[code]
        if frame["Date"][rows[-1]] != as_of or len(rows) < lookback:
            continue
        window = features[rows[-lookback:]]
        if np.isfinite(window).all():  # after z-scoring it always is
            found[code] = window
    return found


def forward(state, window, *, patch_len=16, stride=8, n_heads=8, horizons=(1, 5, 10, 20)):
    """Scores of one window `(lookback, n_features)`, one per horizon; `state`: name -> array."""
    state = {name: np.asarray(value, dtype=np.float64) for name, value in state.items()}
    kernel = state["encoder.patch_embed.conv.weight"]
    channels, features = len(kernel), window.shape[1]
    multiplier = channels // features
    n_tokens = (len(window) - patch_len) // stride + 1
    patches = np.zeros((n_tokens, channels))
    for token in range(n_tokens):
        for channel in range(channels):
            patch = window[token * stride : token * stride + patch_len, channel // multiplier]
            patches[token, channel] = float(np.dot(patch, kernel[channel, 0]))

    x = _linear(patches, state, "encoder.patch_embed.proj")
    width = x.shape[1]
    for token in range(n_tokens):
        for dim in range(width):
            angle = token * math.exp(-math.log(10_000) * 2 * (dim // 2) / width)
            x[token, dim] += math.cos(angle) if dim % 2 else math.sin(angle)

    depth = len({name.split(".")[2] for name in state if name.startswith("encoder.blocks.")})
    for block in range(depth):
        at = f"encoder.blocks.{block}"
        x = x + _attention(_layer_norm(x, state, f"{at}.ln1"), state, f"{at}.attn", n_heads)
        hidden = _linear(_layer_norm(x, state, f"{at}.ln2"), state, f"{at}.ffn.0")
        x = x + _linear(_gelu(hidden), state, f"{at}.ffn.3")
    encoded = _layer_norm(x, state, "encoder.norm").mean(axis=0)
    return np.array([float(_linear(encoded, state, f"head.heads.h{horizon}")[0]) for horizon in horizons])


def scores(frame, names, state, as_of, horizon, lookback, **model):
    """Code -> score of every eligible stock, from a frame that is normalized already, or not for raw mode."""
    found = windows(frame, names, as_of, lookback)
    return {code: forward(state, window, horizons=(horizon,), **model)[0] for code, window in found.items()}


def _linear(x, state, at):
    return x @ state[f"{at}.weight"].T + state[f"{at}.bias"]


def _layer_norm(x, state, at):
    centered = x - x.mean(axis=1, keepdims=True)
    variance = (centered**2).mean(axis=1, keepdims=True)
    return centered / np.sqrt(variance + 1e-5) * state[f"{at}.weight"] + state[f"{at}.bias"]


def _attention(x, state, at, n_heads):
    width = x.shape[1]
    size = width // n_heads
    packed = x @ state[f"{at}.in_proj_weight"].T + state[f"{at}.in_proj_bias"]
    query, key, value = packed[:, :width], packed[:, width : 2 * width], packed[:, 2 * width :]
    mixed = np.zeros_like(x)
    for head in range(n_heads):
        own = slice(head * size, (head + 1) * size)
        for token in range(len(x)):
            match = np.array([np.dot(query[token, own], key[other, own]) for other in range(len(x))])
            weight = np.exp(match / math.sqrt(size) - (match / math.sqrt(size)).max())
            mixed[token, own] = (weight / weight.sum()) @ value[:, own]
    return _linear(mixed, state, f"{at}.out_proj")


def _gelu(x):
    erf = np.array([math.erf(value) for value in (x / math.sqrt(2)).ravel()]).reshape(x.shape)
    return 0.5 * x * (1 + erf)
