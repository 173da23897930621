"""Whether the features that the model reads have values: by session, and at all."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apex_tasks.dataset.features.feature_plan import NEVER_FILLED, FeaturePlan, SourceKind
from apex_tasks.dataset.judgement.faults import FoundFault, shown
from apex_tasks.dataset.price_features.definitions import PRICE_FEATURES
from apex_tasks.settings import Fault, FeaturesMode, JudgementSettings

MARKET_FEATURES = re.compile(r"(mkt|market|topix|nikkei)_|.*_days_since")
"""Names of features that have one value for all stocks by nature: of the market, and days since a publication."""


@dataclass(frozen=True)
class FeatureSupply:
    """How many stocks have a finite value of each feature, session by session.

    Attributes
    ----------
    stocks
        Session -> rows.
    present : session -> (n_features,) int64
        Rows with a finite value, in the order of the plan.
    varies : (n_features,) bool
        Whether two stocks differ on any of these sessions.
    """

    stocks: Mapping[dt.date, int]
    present: Mapping[dt.date, npt.NDArray[np.int64]]
    varies: npt.NDArray[np.bool_]


class SupplyCounts:
    """Counts a supply while the days of a panel pass by."""

    def __init__(self, n_features: int) -> None:
        self._stocks: dict[dt.date, int] = {}
        self._present: dict[dt.date, npt.NDArray[np.int64]] = {}
        self._varies = np.zeros(n_features, dtype=np.bool_)

    def add(self, day: dt.date, features: npt.NDArray[np.floating]) -> None:
        """Count one day's values, ``(n_features, n_stocks)``, missing ones NaN or infinite."""
        finite = np.isfinite(features)
        self._stocks[day] = features.shape[1]
        self._present[day] = np.count_nonzero(finite, axis=1)
        # Nearly all features are known to vary after the first day; only the others are compared again.
        same = np.flatnonzero(~self._varies & (self._present[day] > 1))
        if len(same):
            values, there = features[same], finite[same]
            first = values[np.arange(len(same)), there.argmax(axis=1)]
            self._varies[same] = ((values != first[:, None]) & there).any(axis=1)

    def supply(self) -> FeatureSupply:
        """What was counted so far."""
        return FeatureSupply(self._stocks, self._present, self._varies)


def judge_features(
    supply: FeatureSupply,
    plan: FeaturePlan,
    sessions: Sequence[dt.date],
    mode: FeaturesMode,
    settings: JudgementSettings,
) -> Iterator[FoundFault]:
    """Compare the null share of every feature on the as-of session, the last, with the sessions before it.

    A feature without a value, or with one for all stocks, on every session is missing as if its column were: `strict`
    refuses it, and in `fill-zero` mode a return, target or label.
    """
    days = [day for day in sessions if supply.stocks.get(day)]
    if not days:
        return
    names = np.array([source.feature for source in plan.sources])
    supplied = np.array([source.kind is not SourceKind.ZERO for source in plan.sources])
    present = np.stack([supply.present[day] for day in days])
    null_share = 1 - present / np.array([[supply.stocks[day]] for day in days])
    yield from _empty(names, supplied, present.sum(axis=0), supply.varies, mode)
    yield from _sparse(
        names, supplied, present.sum(axis=0), sum(supply.stocks[day] for day in days), settings
    )
    if len(days) < 2:
        return
    usual = np.median(null_share[:-1], axis=0)
    rise = (null_share - usual) * supplied
    late = rise[-1] > settings.max_null_rise
    if days[-1] == sessions[-1] and late.any():
        yield FoundFault(
            fault=Fault.FEATURES_LATE,
            count=int(late.sum()),
            stops=True,
            told=f"{int(late.sum())} features are null for more stocks on {days[-1]} than before: "
            + shown(
                f"{name} {now:.0%}, usually {before:.0%}"
                for name, now, before in zip(names[late], null_share[-1][late], usual[late], strict=True)
            ),
        )
    gaps = rise[:-1] > settings.max_null_rise
    if gaps.any():
        cells, affected = np.argwhere(gaps), int(gaps.any(axis=0).sum())
        yield FoundFault(
            fault=Fault.FEATURES_THIN,
            count=int(gaps.any(axis=1).sum()),
            stops=False,
            told=f"{int(gaps.any(axis=1).sum())} earlier sessions lack values of {affected} features "
            f"that others have: {shown(f'{names[feature]} on {days[day]}' for day, feature in cells[:6])}",
        )


def _sparse(
    names: npt.NDArray[np.str_],
    supplied: npt.NDArray[np.bool_],
    present: npt.NDArray[np.int64],
    rows: int,
    settings: JudgementSettings,
) -> Iterator[FoundFault]:
    """Prices have few nulls, so what follows from them has; columns of statements and margins have many by nature."""
    from_prices = np.isin(names, [feature.name for feature in PRICE_FEATURES])
    nulls = 1 - present / rows
    sparse = np.flatnonzero(
        supplied & from_prices & (present > 0) & (nulls > settings.max_price_feature_nulls)
    )
    if len(sparse):
        sparse = sparse[np.argsort(-nulls[sparse], kind="stable")]
        yield FoundFault(
            fault=Fault.FEATURES_SPARSE,
            count=len(sparse),
            stops=False,
            told=f"{len(sparse)} features that follow from prices are null, and fed as 0, in more than "
            f"{settings.max_price_feature_nulls:.0%} of the rows: "
            + shown(f"{names[at]} {nulls[at]:.0%}" for at in sparse),
        )


def filled_share(supply: FeatureSupply) -> float:
    """Share of the cells of all these sessions that have no value and reach the model as 0."""
    cells = sum(len(supply.varies) * stocks for stocks in supply.stocks.values())
    there = sum(int(present.sum()) for present in supply.present.values())
    return 1 - there / cells if cells else 0.0


def _empty(
    names: npt.NDArray[np.str_],
    supplied: npt.NDArray[np.bool_],
    present: npt.NDArray[np.int64],
    varies: npt.NDArray[np.bool_],
    mode: FeaturesMode,
) -> Iterator[FoundFault]:
    of_the_market = np.array([MARKET_FEATURES.match(name) is not None for name in names])
    without, constant = supplied & (present == 0), supplied & (present > 0) & ~varies & ~of_the_market
    missing = without | constant
    if not missing.any():
        return
    never_filled = [name for name in names[missing] if any(part in name for part in NEVER_FILLED)]
    yield FoundFault(
        fault=Fault.FEATURES_EMPTY,
        count=int(missing.sum()),
        stops=mode is FeaturesMode.STRICT or bool(never_filled),
        told=f"{int(without.sum())} features have no value and {int(constant.sum())} the same for all stocks on "
        f"every session that the model reads: {shown(never_filled or names[missing])}"
        + ("; returns, targets and labels are never filled with zero" if never_filled else ""),
    )
