"""Step build-panel: the windows of one as-of session, and the prices that later steps need."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from apex_tasks.bundle import ResolvedBundle
from apex_tasks.bundle.supply import require_supply
from apex_tasks.dataset.code_histories import new_history_warning
from apex_tasks.dataset.features.feature_plan import FeaturePlan
from apex_tasks.dataset.freshness import check_freshness
from apex_tasks.dataset.judgement.faults import DatasetJudgement
from apex_tasks.dataset.judgement.feature_supply import filled_share
from apex_tasks.dataset.judgement.judge import JudgedFeatures, judge_dataset
from apex_tasks.dataset.keys import scan_keys
from apex_tasks.dataset.panel import Panel
from apex_tasks.dataset.panel import build_panel as build_windows
from apex_tasks.dataset.prices.daily_prices import check_units, read_prices
from apex_tasks.dataset.prices.earlier_prices import read_earlier_prices
from apex_tasks.dataset.prices.price_history import PRICE_HISTORY_DAYS
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.risk_factors import read_risk_factors
from apex_tasks.dataset.schema import CODE, DatasetFile, open_dataset
from apex_tasks.frozen_model import FrozenModel, StoredDocument
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.settings import (
    ApexSettings,
    FeaturesMode,
    FreshnessSettings,
    JudgementSettings,
    Normalization,
)
from apex_tasks.store import Artifact, ArtifactReference, FileWriter, Store, canonical_json, content_key
from apex_tasks.tables import parquet_bytes, read_table

PANELS = "panels"
ROWS, WINDOWS, PRICES, EARLIER_PRICES, NEW_HISTORIES, FACTORS = PANEL_FILES = (
    "rows.npy",
    "windows.parquet",
    "prices.parquet",
    "earlier_prices.parquet",
    "new_histories.json",
    "risk_factors.parquet",
)
WINDOW_START = "window_start"
PANEL_FORMAT = 2
"""Raised with every change of the code after which the same request gives another panel."""


class PanelReference(ArtifactReference):
    """A panel in the store and the supply it stands for.

    Attributes
    ----------
    dataset_sha256
        Hash of the dataset file it was built from.
    listed, eligible
        Stocks with a row on the as-of session, and those with a full window.
    median_rows
        Median rows of the sessions before.
    non_finite_cells, non_finite_features
        NaN and infinite cells treated as missing, and the features that have them.
    filled_features
        Features that the dataset lacks, fed as 0.
    warnings
        What a reader of the book must know of the data.
    synthetic
        The dataset says that it is made up.
    judgement
        What the dataset is worth for the as-of session.
    filled_share
        Share of the cells of the lookback's sessions that have no value and reach the model as 0.
    cached
        The panel was in the store already.
    """

    dataset_sha256: str
    listed: int
    eligible: int
    median_rows: float
    non_finite_cells: int
    non_finite_features: tuple[str, ...]
    filled_features: tuple[str, ...]
    warnings: tuple[str, ...]
    synthetic: bool
    judgement: DatasetJudgement
    filled_share: float
    cached: bool


class PanelRequest(FrozenModel):
    """All that decides what a panel holds, beside the content of the dataset file.

    Attributes
    ----------
    as_of
        Session whose windows are built.
    dataset
        Local parquet file.
    plan
        Where the dataset supplies each feature, in model input order.
    lookback
        Rows per window.
    normalization, clip_sigma
        How features reach the model, and the bound on z-scores in standard deviations.
    min_stocks_per_day
        Fewest eligible stocks that the bundle accepts.
    freshness, judgement
        When the as-of session counts as complete, and the dataset as sound.
    features_mode
        What happens to features that are missing.
    new_history_after_sessions
        When a code that comes back is another stock, see `dataset.code_histories`.
    """

    as_of: dt.date
    dataset: str
    plan: FeaturePlan
    lookback: int
    normalization: Normalization
    clip_sigma: float
    min_stocks_per_day: int
    freshness: FreshnessSettings
    judgement: JudgementSettings
    features_mode: FeaturesMode
    new_history_after_sessions: int

    @classmethod
    def of(cls, bundle: ResolvedBundle, dataset: str, as_of: dt.date, settings: ApexSettings) -> Self:
        """What a bundle needs of a dataset for one session."""
        return cls(
            as_of=as_of,
            dataset=dataset,
            plan=bundle.plan,
            lookback=bundle.lookback,
            normalization=settings.ranking.normalization,
            clip_sigma=bundle.clip_sigma,
            min_stocks_per_day=bundle.min_stocks_per_day,
            freshness=settings.freshness,
            judgement=settings.judgement,
            features_mode=bundle.features_mode,
            new_history_after_sessions=settings.ranking.new_history_after_sessions,
        )

    def key(self, dataset_sha256: str) -> str:
        """Key of the panel in the store."""
        return content_key(
            format=PANEL_FORMAT,
            dataset=dataset_sha256,
            as_of=self.as_of,
            lookback=self.lookback,
            plan=self.plan.model_dump(mode="json"),
            normalization=self.normalization,
            clip_sigma=self.clip_sigma,
            freshness=self.freshness.model_dump(mode="json"),
            judgement=self.judgement.model_dump(mode="json"),
            features_mode=self.features_mode,
            new_history_after_sessions=self.new_history_after_sessions,
            price_history_days=PRICE_HISTORY_DAYS,
            files=PANEL_FILES,
        )

    def require_supply(self, eligible: int) -> None:
        """Refuse a session with too few eligible stocks; see `bundle.supply.require_supply`."""
        require_supply(
            eligible,
            self.as_of,
            self.dataset,
            lookback=self.lookback,
            min_stocks_per_day=self.min_stocks_per_day,
            normalization=self.normalization,
        )


class PanelDetails(StoredDocument):
    """What the panel's manifest says of it: the fields of `PanelReference` that a later run finds there."""

    listed: int
    eligible: int
    median_rows: float
    non_finite_cells: int
    non_finite_features: tuple[str, ...]
    filled_features: tuple[str, ...]
    warnings: tuple[str, ...]
    synthetic: bool
    judgement: DatasetJudgement
    filled_share: float


def build_panel(
    request: PanelRequest,
    store: Store,
    progress: ReportProgress | None = None,
    dataset: DatasetFile | None = None,
) -> PanelReference:
    """Build the as-of session's panel, or find it in the store.

    Parameters
    ----------
    dataset
        The request's dataset where the caller has opened, and perhaps hashed, it already.

    Raises
    ------
    Refusal
        The dataset lacks the as-of session, has duplicate or null keys, holds ranks for amounts, or leaves
        fewer eligible stocks than the bundle's `min_stocks_per_day`; or its judgement stops the month.
    """
    dataset = dataset or open_dataset(request.dataset)
    reference = find_panel(request, store, dataset.sha256)
    if reference is None:
        key = request.key(dataset.sha256)
        built = _build(request, dataset, store, key, progress)
        reference = _reference(key, built, dataset.sha256, cached=False)
    reference.judgement.require_sound(request.dataset)
    request.require_supply(reference.eligible)
    return reference


def find_panel(request: PanelRequest, store: Store, dataset_sha256: str) -> PanelReference | None:
    """The as-of session's panel if it is in the store, whatever its supply."""
    key = request.key(dataset_sha256)
    artifact = store.find(PANELS, key)
    return None if artifact is None else _reference(key, artifact, dataset_sha256, cached=True)


def read_windows(artifact: Artifact) -> pd.DataFrame:
    """Eligible stocks of a stored panel: `Code` and `window_start`, by Code."""
    return read_table(artifact, WINDOWS)


def read_panel_prices(artifact: Artifact) -> pd.DataFrame:
    """Prices of a stored panel, as `dataset.prices.daily_prices.read_prices` gives them."""
    return read_table(artifact, PRICES)


def read_panel_earlier_prices(artifact: Artifact) -> pd.DataFrame:
    """Last rows before these prices, as `dataset.prices.earlier_prices.read_earlier_prices` gives them."""
    return read_table(artifact, EARLIER_PRICES)


def read_panel_new_histories(artifact: Artifact) -> dict[str, dt.date]:
    """Code -> first day of its newest history, of the codes that have an earlier one."""
    return {code: dt.date.fromisoformat(day) for code, day in artifact.read_json(NEW_HISTORIES).items()}


def read_panel_risk_factors(artifact: Artifact) -> pd.DataFrame:
    """Risk factors of a stored panel, as `dataset.risk_factors.read_risk_factors` gives them."""
    return read_table(artifact, FACTORS)


def _reference(key: str, artifact: Artifact, dataset_sha256: str, *, cached: bool) -> PanelReference:
    details = PanelDetails.model_validate(artifact.details)
    return PanelReference(
        key=key,
        content_hash=artifact.content_hash,
        dataset_sha256=dataset_sha256,
        cached=cached,
        **{name: getattr(details, name) for name in PanelDetails.model_fields},
    )


def _build(
    request: PanelRequest, dataset: DatasetFile, store: Store, key: str, progress: ReportProgress | None
) -> Artifact:
    as_of = request.as_of
    dataset.require_columns(request.plan.columns)
    freshness = check_freshness(dataset, as_of, request.freshness)
    if freshness.rows == 0:
        raise freshness.refusal()
    first = as_of - dt.timedelta(days=PRICE_HISTORY_DAYS)
    prices = read_prices(dataset, first, as_of)
    warnings = check_units(prices, as_of, request.dataset)
    if not freshness.ready:
        gap = freshness.refusal()
        warnings.append(f"{gap.what}: expected {gap.expected}, received {gap.received}")
    keys = scan_keys(dataset, as_of, new_history_after=request.new_history_after_sessions)
    if begun_again := keys.begun_again(as_of, request.lookback):
        warnings.append(
            new_history_warning(begun_again, request.new_history_after_sessions, request.lookback)
        )
    panel = build_windows(
        dataset,
        request.plan,
        [as_of],
        lookback=request.lookback,
        normalization=request.normalization,
        clip_sigma=request.clip_sigma,
        keys=keys,
        progress=progress,
    )
    names = [source.feature for source in request.plan.sources]
    non_finite = [name for name, count in zip(names, panel.non_finite, strict=True) if count]
    if non_finite:
        warnings.append(
            f"{int(panel.non_finite.sum())} NaN or infinite cells in {len(non_finite)} features were treated "
            f"as missing: {', '.join(non_finite[:5])}{' …' if len(non_finite) > 5 else ''}"
        )
    if request.plan.filled:
        warnings.append(
            f"{len(request.plan.filled)} features are not in the dataset and were fed as 0: "
            f"{', '.join(request.plan.filled[:5])}{' …' if len(request.plan.filled) > 5 else ''}"
        )
    window = panel.windows[as_of]
    judgement = judge_dataset(
        dataset,
        as_of,
        request.lookback,
        request.freshness,
        request.judgement,
        TseCalendar.load(),
        JudgedFeatures(request.plan, panel.supply, request.features_mode),
    )
    warnings += judgement.warnings
    return store.write(
        PANELS,
        key,
        files={
            ROWS: _npy_writer(panel),
            WINDOWS: parquet_bytes(pd.DataFrame({CODE: window.codes, WINDOW_START: window.start})),
            PRICES: parquet_bytes(prices),
            EARLIER_PRICES: parquet_bytes(read_earlier_prices(dataset, keys, prices, first)),
            NEW_HISTORIES: canonical_json({code: str(day) for code, day in keys.new_histories().items()}),
            FACTORS: parquet_bytes(read_risk_factors(dataset, request.plan, [as_of])),
        },
        details=PanelDetails(
            listed=freshness.rows,
            eligible=len(window.codes),
            median_rows=freshness.median_rows,
            non_finite_cells=int(panel.non_finite.sum()),
            non_finite_features=tuple(non_finite),
            filled_features=tuple(request.plan.filled),
            warnings=tuple(warnings),
            synthetic=dataset.synthetic,
            judgement=judgement,
            filled_share=filled_share(panel.supply),
        ).model_dump(mode="json"),
    )


def _npy_writer(panel: Panel) -> FileWriter:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, panel.rows, allow_pickle=False)

    return write
