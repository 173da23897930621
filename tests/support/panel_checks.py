"""Panels of small files, held against plain loops."""

import datetime as dt
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

import tests.support.oracle_ranker as oracle
from apex_tasks.dataset.panel import Panel, build_panel
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.settings import Normalization
from tests.support.random_dataset import plan_of, weekdays

CSZ, RAW = Normalization.CSZ, Normalization.RAW


NAMES = ("f", "g", "h")


DAYS = weekdays(30)


LOOKBACK = 8


WindowsByCode = dict[str, npt.NDArray[np.float64]]


def panel_of(
    path: Path,
    dates: Sequence[dt.date],
    normalization: Normalization = CSZ,
    lookback: int = LOOKBACK,
    names: Sequence[str] = NAMES,
    **aliases: str,
) -> Panel:
    return build_panel(
        open_dataset(path),
        plan_of(path, names, **aliases),
        dates,
        lookback=lookback,
        normalization=normalization,
        clip_sigma=5.0,
    )


def windows(panel: Panel, day: dt.date, lookback: int = LOOKBACK) -> WindowsByCode:
    found = panel.windows[day]
    return {
        code: panel.rows[start : start + lookback]
        for code, start in zip(found.codes.tolist(), found.start, strict=True)
    }


def assert_same(ours: WindowsByCode, expected: WindowsByCode, tolerance: float = 1e-6) -> None:
    assert list(ours) == list(expected)
    for code, window in expected.items():
        np.testing.assert_allclose(ours[code], window, rtol=tolerance, atol=tolerance, err_msg=code)


def check(path: Path, dates: Sequence[dt.date], normalization: Normalization = CSZ, **given: Any) -> Panel:
    panel = panel_of(path, dates, normalization, **given)
    lookback, names = given.pop("lookback", LOOKBACK), given.pop("names", NAMES)
    frame = oracle.read(path, names, given)
    frame = frame if normalization is RAW else oracle.normalized(frame, names)
    for day in dates:
        expected = oracle.windows(frame, names, day, lookback)
        assert_same(windows(panel, day, lookback), expected)
    return panel


def holed(frame: pd.DataFrame, seed: int, share: float = 0.02) -> pd.DataFrame:
    """Nulls, NaN and infinities in every feature."""
    random = np.random.default_rng(seed)
    frame = frame.astype(dict.fromkeys(NAMES, object))
    for name in NAMES:
        hit = random.random(len(frame)) < share
        values = random.integers(0, 4, len(frame))
        frame[name] = np.where(hit, np.array([None, math.nan, math.inf, -math.inf])[values], frame[name])
    return frame


def laid_out(frame: pd.DataFrame, by: str, seed: int) -> pd.DataFrame:
    if by == "shuffled":
        return frame.sample(frac=1, random_state=seed)
    return frame.sort_values(["Date", "Code"] if by == "Date" else ["Code", "Date"])


FEATURE_TYPES = dict.fromkeys(NAMES, pa.float64())


def assert_identical(one: Panel, two: Panel) -> None:
    for name in ("rows", "non_finite"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert list(one.windows) == list(two.windows)
    for day, window in one.windows.items():
        np.testing.assert_array_equal(window.codes, two.windows[day].codes)
        np.testing.assert_array_equal(window.start, two.windows[day].start)


# --- eligibility


def market(rows_of: dict[str, list[int]], n_sessions: int) -> pd.DataFrame:
    """Stocks by the sessions on which they have a row."""
    days = weekdays(n_sessions)
    random = np.random.default_rng(1)
    rows = [(days[session], code) for code, sessions in rows_of.items() for session in sessions]
    frame = pd.DataFrame(sorted(rows), columns=["Date", "Code"])
    values = {name: random.standard_normal(len(rows)) for name in NAMES}
    return frame.assign(Close=1.0, Volume=1.0, TurnoverValue=1.0, **values)
