"""The ordered feature list of a model, and where a dataset supplies each feature.

The order of the names is the order of the model's input channels, so it is hashed and never sorted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Literal

from apex_tasks.dataset.features.feature_aliases import Alias
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.refusal import Refusal
from apex_tasks.settings import FeaturesMode, configs_folder
from apex_tasks.strict_yaml import parse_yaml_mapping

NEVER_FILLED = ("target_", "returns_", "label_")
_SHOWN = 5
_RETURN_PREFIXES = ("returns_", "ret_prev_")


@dataclass(frozen=True)
class FeatureList:
    """Feature names in model input order.

    Attributes
    ----------
    names : (n_features,)
        Unique names.
    """

    names: tuple[str, ...]

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the names joined by `|`."""
        return hashlib.sha256("|".join(self.names).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.names)


class SourceKind(StrEnum):
    """Where the values of a feature come from."""

    COLUMN = "column"
    ALIAS = "alias"
    ZERO = "zero"


class FeatureSource(FrozenModel):
    """Supply of one feature: `left`, or `left op right`, or 0.0 when `left` is None."""

    feature: str
    kind: SourceKind
    left: str | None = None
    op: Literal["+", "-"] | None = None
    right: str | None = None


class FeaturePlan(FrozenModel):
    """How to read every feature, in model input order, from one dataset schema."""

    sources: tuple[FeatureSource, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Dataset columns to read, each once, in order of first use."""
        used = (column for source in self.sources for column in (source.left, source.right))
        return tuple(dict.fromkeys(column for column in used if column is not None))

    @property
    def filled(self) -> tuple[str, ...]:
        """Features that are 0.0 because the dataset lacks them."""
        return tuple(source.feature for source in self.sources if source.kind is SourceKind.ZERO)


def features_from_groups(
    document: Mapping[str, Any],
    groups: Sequence[str],
    where: str,
    *,
    exclude: Collection[str] = (),
) -> FeatureList:
    """Join the named groups in the order given; a name's first appearance wins.

    Parameters
    ----------
    document
        `{groups: {name: {include: [feature, ...]}}}`.
    groups
        Groups to take.
    where
        Origin of the document, for messages.
    exclude
        Features to leave out.

    Raises
    ------
    Refusal
        A group is missing or is not a list of names, an excluded name is in no group, or nothing is left.
    """
    defined = document.get("groups")
    defined = defined if isinstance(defined, dict) else {}
    names: dict[str, None] = {}
    for group in groups:
        entry = defined.get(group)
        include = entry.get("include") if isinstance(entry, dict) else None
        if not isinstance(include, list) or not all(isinstance(name, str) and name for name in include):
            raise Refusal(
                f"feature group {group} is missing or is no list of names",
                expected=f"groups.{group}.include: [name, ...]",
                received=_some(str(name) for name in defined) if entry is None else type(include).__name__,
                where=where,
                remedy="Correct data.feature_groups in the bundle's config, or the groups file.",
            )
        names.update(dict.fromkeys(include))
    unknown = [name for name in exclude if name not in names]
    if unknown:
        raise Refusal(
            "data.exclude_features names features that no group holds",
            expected="names from the feature groups",
            received=_some(unknown),
            where=where,
            remedy="Correct data.exclude_features in the bundle's config.",
        )
    features = FeatureList(tuple(name for name in names if name not in exclude))
    if not len(features):
        raise Refusal(
            "the feature list is empty",
            expected="at least one feature",
            received=f"groups {', '.join(groups)}",
            where=where,
            remedy="Correct data.feature_groups in the bundle's config.",
        )
    return features


@cache
def packaged_feature_groups() -> dict[str, Any]:
    """The groups file that this package ships: the 89 features of APEX-Ranker v0.1.0."""
    return parse_yaml_mapping((configs_folder() / "feature_groups.yaml").read_bytes())


def resolve_features(
    features: FeatureList, aliases: Mapping[str, Alias], columns: Sequence[str], mode: FeaturesMode
) -> FeaturePlan:
    """Find the dataset columns that supply each feature.

    An alias whose operands all exist wins over a column of the feature's own name, as in v0.1.0. A name is
    looked up exactly, then without regard to case, then as `ret_prev_X` for `returns_X` and the reverse.

    Parameters
    ----------
    columns
        Column names of the dataset.
    mode
        What to do with features that neither an alias nor a column supplies.

    Raises
    ------
    Refusal
        A name matches several columns; a feature is missing in `strict` mode, or in `fill-zero` mode when
        it is a return, target or label; the mode is `drop-missing`.
    """
    if mode is FeaturesMode.DROP_MISSING:
        raise Refusal(
            "features mode drop-missing cannot feed a fixed checkpoint",
            expected=f"{FeaturesMode.FILL_ZERO} or {FeaturesMode.STRICT}",
            received=mode,
            where="ranking.features_mode",
            remedy=f"Set ranking.features_mode to {FeaturesMode.FILL_ZERO} (production).",
        )
    lookup = _ColumnLookup(columns)
    plan = FeaturePlan(sources=tuple(_source(name, aliases.get(name), lookup) for name in features.names))
    if mode is FeaturesMode.STRICT:
        refused = list(plan.filled)
        remedy = "Add the columns to the dataset, or set ranking.features_mode to fill-zero."
    else:
        refused = [name for name in plan.filled if any(part in name for part in NEVER_FILLED)]
        remedy = "Add the columns to the dataset: returns, targets and labels are never filled with zero."
    if refused:
        raise Refusal(
            f"dataset lacks {len(refused)} of {len(features)} features",
            expected=_some(refused),
            received="no such columns, nor all operands of an alias",
            where="dataset schema",
            remedy=remedy,
        )
    return plan


class _ColumnLookup:
    def __init__(self, columns: Sequence[str]) -> None:
        self._exact = frozenset(columns)
        self._folded: dict[str, list[str]] = {}
        for column in dict.fromkeys(columns):
            self._folded.setdefault(column.casefold(), []).append(column)

    def find(self, name: str) -> str | None:
        found = self._spelled(name)
        for prefix, other in (_RETURN_PREFIXES, _RETURN_PREFIXES[::-1]):
            if found is None and name.casefold().startswith(prefix):
                return self._spelled(other + name[len(prefix) :])
        return found

    def _spelled(self, name: str) -> str | None:
        if name in self._exact:
            return name
        matches = self._folded.get(name.casefold(), [])
        if len(matches) > 1:
            raise Refusal(
                f"feature {name} matches several columns when case is ignored",
                expected="one column",
                received=", ".join(matches),
                where="dataset schema",
                remedy=f"Name one of them exactly {name}.",
            )
        return matches[0] if matches else None


def _source(feature: str, alias: Alias | None, lookup: _ColumnLookup) -> FeatureSource:
    if alias is not None:
        left = lookup.find(alias.left)
        right = None if alias.right is None else lookup.find(alias.right)
        if left is not None and (right is not None or alias.right is None):
            return FeatureSource(feature=feature, kind=SourceKind.ALIAS, left=left, op=alias.op, right=right)
    column = lookup.find(feature)
    kind = SourceKind.ZERO if column is None else SourceKind.COLUMN
    return FeatureSource(feature=feature, kind=kind, left=column)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    rest = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + rest
