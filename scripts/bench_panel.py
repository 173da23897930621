"""Measure panel and scoring against the plain method of v0.1.0, on SYNTHETIC data of production's shape.

The plain method loads the whole file, z-scores it, splits it by stock, walks dates and stocks in Python, stacks the
windows and runs them through the model as one batch. Each method runs in a process of its own, so that its
peak memory is its own; both rank the last session, and the bench fails when their scores differ. With --months
both also lay out the windows of the first session of each month before, as a backtest needs them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from apex_tasks.dataset.features.feature_plan import FeatureList, packaged_feature_groups
from apex_tasks.market.calendar import TseCalendar

if TYPE_CHECKING:
    from rich.table import Table

    from apex_tasks.model.patchtst import PatchTSTRanker

LOOKBACK, CLIP_SIGMA, ROWS_PER_GROUP = 180, 5.0, 131_072
LAST_DAY = dt.date(2025, 10, 31)
TOLERANCE = 1e-5
METHODS = ("v0.1.0's method", "apex")
STAGES = ("panel", "scoring")
JUDGEMENT = "judgement"
"""Of the dataset; v0.1.0 had none, so it is shown as a share of the panel."""

Seconds = dict[str, dict[str, float]]


def main() -> None:
    """Make the data, run both methods, print a table."""
    arguments = _arguments()
    if arguments.method is not None:
        print(json.dumps(_measure(arguments)))
        return
    from rich.console import Console

    console = Console()
    with tempfile.TemporaryDirectory(prefix="apex-bench-") as folder:
        dataset = Path(folder) / "dataset.parquet"
        with console.status("Making synthetic data"):
            rows = write_dataset(dataset, arguments.stocks, arguments.sessions)
        console.print(
            f"SYNTHETIC: {arguments.stocks:,} stocks, {arguments.sessions:,} sessions, {len(_names())} features, "
            f"{rows:,} rows, {dataset.stat().st_size / 2**20:,.0f} MiB; windows of {arguments.months} sessions"
        )
        results, scores = {}, {}
        for number, method in enumerate(METHODS):
            out = Path(folder) / f"scores{number}.npy"
            with console.status(f"Running {method}"):
                results[method] = _run(method, dataset, out, arguments.months)
            scores[method] = np.load(out)
    console.print(_table(results))
    plain, ours = (scores[method] for method in METHODS)
    difference = float(np.abs(plain - ours).max()) if plain.shape == ours.shape else float("inf")
    console.print(
        f"{len(ours):,} stocks scored, largest difference {difference:.1e} (allowed {TOLERANCE:.0e})"
    )
    if not difference <= TOLERANCE:
        raise SystemExit(1)


def write_dataset(path: Path, n_stocks: int, n_sessions: int) -> int:
    """Write random features by Date, Code, session by session; one row in fifty is missing. Returns the rows."""
    random = np.random.default_rng(0)
    calendar = TseCalendar.load()
    start = LAST_DAY - dt.timedelta(days=int(n_sessions * 1.6) + 30)
    codes = np.array([f"{number:04d}0" for number in range(1_000, 1_000 + n_stocks)])
    numbers = {name: pa.float32() for name in ("Close", "Volume", "TurnoverValue", *_names())}
    schema = pa.schema({"Date": pa.date32(), "Code": pa.string(), **numbers})
    waiting: list[pa.Table] = []
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for day in calendar.sessions(start, LAST_DAY)[-n_sessions:]:
            listed = codes[random.random(n_stocks) >= 0.02]
            values = random.standard_normal((len(numbers), len(listed)), dtype=np.float32)
            columns = [pa.array([day] * len(listed)), pa.array(listed), *map(pa.array, values)]
            waiting.append(pa.Table.from_arrays(columns, schema=schema))
            rows += len(listed)
            if sum(map(len, waiting)) >= ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(waiting), row_group_size=ROWS_PER_GROUP)
                waiting.clear()
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=ROWS_PER_GROUP)
    return rows


def as_of_days(months: int) -> list[dt.date]:
    """The last session, and the first session of each of the months before it."""
    days, month = [LAST_DAY], LAST_DAY.replace(day=1)
    while len(days) < months:
        days.append(TseCalendar.load().rebalance_session(month.year, month.month))
        month = (month - dt.timedelta(days=1)).replace(day=1)
    return days[::-1]


def score_plainly(dataset: Path, days: list[dt.date], seconds: Seconds) -> npt.NDArray[np.float32]:
    """v0.1.0's method, for the last session: everything loaded, Python loops, one batch."""
    import torch

    names = _names()
    with _timed("panel", seconds):
        data = pd.read_parquet(dataset, columns=["Date", "Code", *names])
        by_day = data.groupby("Date", sort=False)[names]
        std = by_day.transform("std")
        data[names] = (data[names] - by_day.transform("mean")) / std.where(std.abs() >= 1e-8, 1.0)
        data[names] = data[names].fillna(0.0).clip(-CLIP_SIGMA, CLIP_SIGMA).astype(np.float32)
        histories = {}
        for code, history in data.groupby("Code", sort=True):
            history = history.sort_values("Date")
            histories[code] = (history["Date"].to_numpy(), history[names].to_numpy())
        for day in days:
            windows = []
            for dates, features in histories.values():
                (found,) = np.nonzero(dates == day)
                if len(found) and found[0] + 1 >= LOOKBACK:
                    windows.append(features[found[0] + 1 - LOOKBACK : found[0] + 1])
            batch = torch.from_numpy(np.stack(windows))
    with _timed("scoring", seconds), torch.inference_mode():
        return _model()(batch).numpy()


def score_as_apex(dataset: Path, days: list[dt.date], seconds: Seconds) -> npt.NDArray[np.float32]:
    """This project's method, for the last session."""
    from apex_tasks.dataset.features.feature_plan import resolve_features
    from apex_tasks.dataset.judgement.judge import JudgedFeatures, judge_dataset
    from apex_tasks.dataset.panel import build_panel
    from apex_tasks.dataset.schema import open_dataset
    from apex_tasks.model.scoring import score_windows
    from apex_tasks.settings import FeaturesMode, FreshnessSettings, JudgementSettings, Normalization

    with _timed("panel", seconds):
        file = open_dataset(dataset)
        plan = resolve_features(FeatureList(tuple(_names())), {}, file.schema.names, FeaturesMode.STRICT)
        panel = build_panel(
            file,
            plan,
            days,
            lookback=LOOKBACK,
            normalization=Normalization.CSZ,
            clip_sigma=CLIP_SIGMA,
        )
        for day in days[:-1]:  # the plain method copies every session's windows; here only scoring would
            panel.rows[panel.windows[day].start[:, None] + np.arange(LOOKBACK)]
    with _timed(JUDGEMENT, seconds):
        judge_dataset(
            file,
            LAST_DAY,
            LOOKBACK,
            FreshnessSettings(),
            JudgementSettings(),
            TseCalendar.load(),
            JudgedFeatures(plan, panel.supply, FeaturesMode.STRICT),
        )
    with _timed("scoring", seconds):
        return score_windows(_model(), panel.rows, panel.windows[LAST_DAY].start, LOOKBACK)


def _model() -> PatchTSTRanker:
    import torch

    from apex_tasks.model.patchtst import ModelShape, PatchTSTRanker

    torch.manual_seed(0)
    return PatchTSTRanker(ModelShape(n_features=len(_names()), patch_multiplier=2)).eval()


def _names() -> list[str]:
    groups = packaged_feature_groups()["groups"].values()
    return list(dict.fromkeys(name for group in groups for name in group["include"]))


@contextmanager
def _timed(stage: str, seconds: Seconds) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[stage] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one method in this process."""
    import torch  # noqa: F401  # neither method is charged with the import

    seconds: Seconds = {}
    run = score_plainly if arguments.method == METHODS[0] else score_as_apex
    np.save(arguments.scores, run(arguments.dataset, as_of_days(arguments.months), seconds))
    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def _run(method: str, dataset: Path, scores: Path, months: int) -> dict[str, Any]:
    options = {"--method": method, "--dataset": dataset, "--scores": scores, "--months": months}
    command = [sys.executable, __file__, *(str(word) for option in options.items() for word in option)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def _table(results: dict[str, dict[str, Any]]) -> Table:
    from rich.table import Table

    plain, ours = (results[method] for method in METHODS)
    table = Table("", *METHODS, "ratio")

    def add(name: str, before: float, after: float, unit: str) -> None:
        table.add_row(name, f"{before:,.2f} {unit}", f"{after:,.2f} {unit}", f"{before / after:.1f} x")

    for kind, label in (("wall", ""), ("cpu", ", CPU time")):
        for stage in STAGES:
            add(f"{stage}{label}", plain["seconds"][stage][kind], ours["seconds"][stage][kind], "s")
        totals = [sum(result["seconds"][stage][kind] for stage in STAGES) for result in (plain, ours)]
        add(f"total{label}", totals[0], totals[1], "s")
    for kind, label in (("wall", ""), ("cpu", ", CPU time")):
        judged, built = (ours["seconds"][stage][kind] for stage in (JUDGEMENT, "panel"))
        table.add_row(f"judgement{label}", "none", f"{judged:,.2f} s", f"{judged / built:.1%} of the panel")
    add("peak memory", plain["peak_bytes"] / 2**30, ours["peak_bytes"] / 2**30, "GiB")
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stocks", type=int, default=3_863)
    parser.add_argument("--sessions", type=int, default=190, help="1250 for the longer history")
    parser.add_argument("--months", type=int, default=1, help="sessions whose windows are laid out")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--dataset", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scores", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
