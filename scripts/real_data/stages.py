"""The stages of the evaluation, each kept in the cache by the content of all that determines it."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import tempfile
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import torch

from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.price_features import write_dataset
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.parameters import with_parameters
from apex_tasks.settings import ApexSettings, FeaturesMode, Normalization, load_settings
from apex_tasks.store import Artifact, Store, canonical_json, content_key, file_sha256
from apex_tasks.tables import csv_bytes, parquet_bytes
from real_data.benchmarks import momentum_scores
from real_data.fetch import SDIST_SHA256, read_files
from real_data.portfolios import END, PORTFOLIOS, START, replay_portfolios, trading_settings
from real_data.prices import parse_panel, price_table
from real_data.rank_ics import AS_OF, HORIZON, month_ends, month_scores, rank_ic_table
from real_data.training import SEED, SETTINGS, TRAIN_END, sessions_of, write_evaluation_bundle

DATASETS, BUNDLES, RANK_ICS, BACKTESTS = "datasets", "bundles", "rank_ics", "backtests"
DATASET, TRAINING = "dataset.parquet", "training.parquet"
BUNDLE = "apex_real_data_evaluation.tar.gz"
SCORES, RANK_IC = "scores.parquet", "rank_ic.csv"
PERFORMANCE, DIFFERENCES, RANK_IC_SUMMARY = "performance.csv", "differences.csv", "rank_ic_summary.csv"
EQUITY, CHART = "equity.csv", "equity.svg"
FIRST_AS_OF, LAST_AS_OF = TRAIN_END, dt.date(2016, 11, 30)
"""The months judged: none of their returns was seen in training, and all of them end in the data."""

_REPO = Path(__file__).resolve().parents[2]
_PRICES_CODE = ("scripts/real_data/fetch.py", "scripts/real_data/prices.py", "apex_tasks/dataset")
_TRAINING_CODE = (
    "scripts/real_data/training.py",
    "apex_tasks/model/bundle_export.py",
    "apex_tasks/bundle",
    "apex_tasks/dataset",
    "apex_tasks/model",
    "configs/feature_groups.yaml",
    "configs/feature_aliases.yaml",
)
_JUDGING_CODE = (
    "scripts/real_data/rank_ics.py",
    "scripts/real_data/benchmarks.py",
    "apex_tasks/backtesting/forecaster.py",
    "apex_tasks/monthly/infer.py",
    "apex_tasks/bundle",
    "apex_tasks/dataset",
    "apex_tasks/model",
    "apex_tasks/statistics/rank_ic.py",
)
_BACKTEST_CODE = (
    "scripts/real_data/portfolios.py",
    "scripts/real_data/measures.py",
    "scripts/real_data/rank_ic_summary.py",
    "scripts/real_data/chart.py",
    *_JUDGING_CODE,
    "apex_tasks/backtesting",
    "apex_tasks/market",
    "apex_tasks/portfolio",
    "apex_tasks/statistics",
)


def make_datasets(store: Store, sdist: Path, progress: ReportProgress | None = None) -> Artifact:
    """`dataset.parquet` of all sessions, and `training.parquet` of prices cut at `TRAIN_END`.

    Both by `apex features`. The second is made of cut prices, so that no feature in it can know more.

    Raises
    ------
    Refusal
        The archive is not the pinned one.
    """
    key = content_key(source=SDIST_SHA256, train_end=TRAIN_END, code=_code_hash(*_PRICES_CODE))
    if (found := store.find(DATASETS, key)) is not None:
        return found
    panel = parse_panel(*read_files(sdist))

    def write(last: dt.date | None, name: str, out: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="apex-real-") as folder:
            prices = Path(folder) / "prices.parquet"
            pq.write_table(price_table(panel, last), prices)
            write_dataset(prices, out, lambda done: progress(name, done, 1.0) if progress else None)

    return store.write(
        DATASETS,
        key,
        files={
            TRAINING: lambda out: write(TRAIN_END, TRAINING, out),
            DATASET: lambda out: write(None, DATASET, out),
        },
        details={
            "stocks": panel.returns.shape[1],
            "sessions": len(panel.sessions),
            "first": panel.sessions[0].date(),
            "last": panel.sessions[-1].date(),
        },
    )


def make_bundle(store: Store, datasets: Artifact, progress: ReportProgress | None = None) -> Artifact:
    """The bundle trained on `training.parquet`, and on nothing else of the panel."""
    key = content_key(
        training=datasets.sha256(TRAINING),
        settings=repr(SETTINGS),
        seed=SEED,
        torch=torch.__version__,
        code=_code_hash(*_TRAINING_CODE),
    )
    if (found := store.find(BUNDLES, key)) is not None:
        return found
    with tempfile.TemporaryDirectory(prefix="apex-real-") as folder:
        with datasets.local_file(TRAINING) as training:
            made = write_evaluation_bundle(
                Path(folder) / BUNDLE, training, settings=SETTINGS, seed=SEED, progress=progress
            )
        return store.write(
            BUNDLES,
            key,
            files={BUNDLE: made.path.read_bytes()},
            details={
                "manifest_sha256": made.manifest_sha256,
                "train_dates": [str(day) for day in made.train_dates],
                "candidates": made.candidates,
                "filled": list(made.filled),
            },
        )


def make_rank_ics(
    store: Store, datasets: Artifact, bundle: Artifact, progress: ReportProgress | None = None
) -> Artifact:
    """`scores.parquet` and `rank_ic.csv` of the months out of sample."""
    key = content_key(
        dataset=datasets.sha256(DATASET),
        bundle=bundle.sha256(BUNDLE),
        months=(FIRST_AS_OF, LAST_AS_OF),
        torch=torch.__version__,
        code=_code_hash(*_JUDGING_CODE),
    )
    if (found := store.find(RANK_ICS, key)) is not None:
        return found
    with datasets.local_file(DATASET) as dataset_file, bundle.local_file(BUNDLE) as bundle_file:
        dataset = open_dataset(dataset_file)
        months = month_ends(sessions_of(scan_keys(dataset, dt.date.max)), FIRST_AS_OF, LAST_AS_OF)
        scores = month_scores(bundle_file, dataset, months, evaluation_settings(), progress)
        table = rank_ic_table(dataset, scores, momentum_scores(dataset, months))
    return store.write(
        RANK_ICS, key, files={SCORES: parquet_bytes(scores), RANK_IC: csv_bytes(table)}, details={}
    )


def make_backtests(
    store: Store,
    datasets: Artifact,
    bundle: Artifact,
    rank_ics: Artifact,
    progress: ReportProgress | None = None,
) -> Artifact:
    """The portfolios out of sample: each one's backtest, and the tables and the chart of all."""
    settings = trading_settings(evaluation_settings())
    key = content_key(
        dataset=datasets.sha256(DATASET),
        bundle=bundle.sha256(BUNDLE),
        rank_ic=rank_ics.sha256(RANK_IC),
        period=(START, END),
        settings={name: getattr(settings, name) for name in ("schedule", "ranking", "portfolio", "enhanced")},
        libraries=[version(name) for name in ("torch", "arch", "matplotlib")],
        code=_code_hash(*_BACKTEST_CODE),
    )
    if (found := store.find(BACKTESTS, key)) is not None:
        return found
    # Imported here: arch and matplotlib take seconds, and a finished stage needs neither.
    from real_data.chart import equity_chart
    from real_data.measures import (
        difference_table,
        equity_table,
        performance_table,
    )
    from real_data.rank_ic_summary import rank_ic_summary, shortest_spacing

    table = read_table_csv(rank_ics, RANK_IC)
    with datasets.local_file(DATASET) as dataset_file, bundle.local_file(BUNDLE) as bundle_file:
        results = replay_portfolios(bundle_file, dataset_file, settings, progress=progress)
        sessions = sessions_of(scan_keys(open_dataset(dataset_file), dt.date.max))
    shortest = shortest_spacing(sessions, [dt.date.fromisoformat(day) for day in table[AS_OF]])
    equity = equity_table(results)
    return store.write(
        BACKTESTS,
        key,
        files={
            **{
                backtest_file(name): canonical_json(results[name].model_dump(mode="json"))
                for name in PORTFOLIOS
            },
            PERFORMANCE: csv_bytes(performance_table(results)),
            DIFFERENCES: csv_bytes(difference_table(results)),
            RANK_IC_SUMMARY: csv_bytes(rank_ic_summary(table, shortest)),
            EQUITY: csv_bytes(equity),
            CHART: equity_chart(equity, settings.portfolio.initial_capital_jpy),
        },
        details={"shortest_month": shortest},
    )


def backtest_file(portfolio: str) -> str:
    """Name of the file that holds one portfolio's backtest, as `apex backtest` writes it."""
    return f"backtest_{portfolio}.json"


def read_table_csv(artifact: Artifact, name: str) -> pd.DataFrame:
    """A table of a stage, checked against its manifest."""
    return pd.read_csv(io.BytesIO(artifact.read_bytes(name)))


def evaluation_settings() -> ApexSettings:
    """The settings in force, with the ranking that the bundle was trained for."""
    return with_parameters(
        load_settings(),
        {
            "horizon": HORIZON,
            "normalization": Normalization.CSZ,
            "features_mode": FeaturesMode.FILL_ZERO,
        },
    )


def _code_hash(*places: str) -> str:
    """SHA-256 over the files of the checkout that make a stage: changed code makes it again."""
    paths = [_REPO / place for place in places]
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    lines = [f"{file.relative_to(_REPO)} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
