"""What differs between two published months: names, metrics, and everything that went into them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apex_tasks.frozen_model import StoredDocument
from apex_tasks.published.portfolio import PORTFOLIO_FILE, SCORES_FILE, PublishedPortfolio
from apex_tasks.published.run_document import RunDocument
from apex_tasks.refusal import Refusal
from apex_tasks.statistics.rank_ic import rank_ic
from apex_tasks.store import Artifact, damaged

HOLDING_COLUMNS = ("code", "sector", "weight")


@dataclass(frozen=True)
class Holding:
    """A name in a book after its trades.

    Attributes
    ----------
    sector
        None where the dataset has none.
    weight
        Fraction of the portfolio's value.
    """

    sector: str | None
    weight: float


@dataclass(frozen=True)
class MonthContent:
    """What two months are compared by.

    Attributes
    ----------
    name
        `<rebalance date>/v<version>`.
    run
        Content of run.json.
    holdings
        Code -> holding.
    scores
        Code -> score of every eligible stock.
    ranks
        Code -> rank of every eligible stock, 1 is best.
    """

    name: str
    run: RunDocument
    holdings: Mapping[str, Holding]
    scores: Mapping[str, float]
    ranks: Mapping[str, int]


@dataclass(frozen=True)
class NameChange:
    """One name of either book.

    Attributes
    ----------
    sector
        From the later month where it has one.
    weight_before, weight_after
        Fractions; 0 where it is not held.
    rank_before, rank_after
        Among all eligible stocks; None where it was not eligible.
    """

    code: str
    sector: str | None
    weight_before: float
    weight_after: float
    rank_before: int | None
    rank_after: int | None

    @property
    def weight_change(self) -> float:
        """After minus before, as a fraction of the portfolio."""
        return self.weight_after - self.weight_before


@dataclass(frozen=True)
class MetricChange:
    """One metric of run.json; None where a month has no value of it."""

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """After minus before, where both are there."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class Difference:
    """A fact of run.json that differs, as text; None where a month does not have it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class MonthComparison:
    """What differs between two months.

    Attributes
    ----------
    before, after
        Names of the two.
    entered, left, kept
        Names held only after, only before, in both; by their rank after, then by their rank before, then by code.
    metrics
        Every metric of either month, by name.
    inputs, settings, versions
        What differs in the inputs' hashes and origin, the resolved settings, the library versions, by name.
    scored_in_both
        Stocks that were eligible in both.
    score_rank_correlation
        Spearman correlation of their scores; None for fewer than two, or when all scores of a month are equal.
    """

    before: str
    after: str
    entered: tuple[NameChange, ...]
    left: tuple[NameChange, ...]
    kept: tuple[NameChange, ...]
    metrics: tuple[MetricChange, ...]
    inputs: tuple[Difference, ...]
    settings: tuple[Difference, ...]
    versions: tuple[Difference, ...]
    scored_in_both: int
    score_rank_correlation: float | None


def read_month(portfolio: PublishedPortfolio) -> MonthContent:
    """Read what a published month is compared by, checked against its manifest.

    Raises
    ------
    Refusal
        A file is not what was published, or cannot be read as what it should be.
    """
    from apex_tasks.tables import read_table

    artifact, name = portfolio.artifact, PORTFOLIO_FILE
    try:
        holdings = _holdings(artifact)
        name = SCORES_FILE
        scores = read_table(artifact, SCORES_FILE)
        codes = [str(code) for code in scores["Code"]]
        score_of = dict(zip(codes, (float(score) for score in scores["Score"]), strict=True))
        rank_of = dict(zip(codes, (int(rank) for rank in scores["Rank"]), strict=True))
    except (OSError, LookupError, ValueError) as error:
        raise damaged(artifact, name, error) from None
    return MonthContent(portfolio.name, portfolio.run(), holdings, score_of, rank_of)


def _holdings(artifact: Artifact) -> dict[str, Holding]:
    rows = csv.DictReader(io.StringIO(artifact.read_bytes(PORTFOLIO_FILE).decode()))
    if not set(HOLDING_COLUMNS) <= set(rows.fieldnames or ()):
        raise Refusal(
            "a published book lacks columns",
            expected=", ".join(HOLDING_COLUMNS),
            received=rows.fieldnames,
            where=artifact.folder / PORTFOLIO_FILE,
            remedy="Run `apex audit verify`; bring the folder back from a backup.",
        )
    return {row["code"]: Holding(row["sector"] or None, float(row["weight"])) for row in rows}


def compare_months(before: MonthContent, after: MonthContent) -> MonthComparison:
    """Compare two months, or two versions of one."""
    names = [
        _name_change(code, before, after) for code in sorted(before.holdings.keys() | after.holdings.keys())
    ]
    names.sort(key=_by_rank)
    in_both = sorted(before.scores.keys() & after.scores.keys())
    correlation = rank_ic([before.scores[code] for code in in_both], [after.scores[code] for code in in_both])
    return MonthComparison(
        before=before.name,
        after=after.name,
        entered=tuple(name for name in names if name.code not in before.holdings),
        left=tuple(name for name in names if name.code not in after.holdings),
        kept=tuple(name for name in names if name.code in before.holdings and name.code in after.holdings),
        metrics=_metric_changes(before.run.metrics.by_name(), after.run.metrics.by_name()),
        inputs=_differences(_inputs(before.run), _inputs(after.run)),
        settings=_differences(_json(before.run.settings), _json(after.run.settings)),
        versions=_differences(before.run.versions, after.run.versions),
        scored_in_both=len(in_both),
        score_rank_correlation=correlation if math.isfinite(correlation) else None,
    )


def _name_change(code: str, before: MonthContent, after: MonthContent) -> NameChange:
    then, now = before.holdings.get(code), after.holdings.get(code)
    return NameChange(
        code=code,
        sector=(now and now.sector) or (then and then.sector) or None,
        weight_before=then.weight if then else 0.0,
        weight_after=now.weight if now else 0.0,
        rank_before=before.ranks.get(code),
        rank_after=after.ranks.get(code),
    )


def _by_rank(name: NameChange) -> tuple[float, float, str]:
    after, before = (math.inf if rank is None else rank for rank in (name.rank_after, name.rank_before))
    return after, before, name.code


def _metric_changes(
    before: Mapping[str, float | None], after: Mapping[str, float | None]
) -> tuple[MetricChange, ...]:
    return tuple(
        MetricChange(name, before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())
    )


def _inputs(run: RunDocument) -> dict[str, Any]:
    """What a month was made of, without what only says when it was."""
    return {
        "hashes": run.hashes,
        "bundle": {name: getattr(run.bundle, name) for name in ("bundle_version", "git_tag", "created")},
        "synthetic": run.synthetic,
        "parent": run.parent and run.parent.portfolio,
    }


def _json(document: StoredDocument) -> dict[str, Any]:
    return document.model_dump(mode="json")


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    then, now = dict(_leaves(before)), dict(_leaves(after))
    return tuple(
        Difference(name, then.get(name), now.get(name))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every single value with its dotted name; thresholds are told apart by their metric and severity."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            label = " ".join(str(inner[key]) for key in ("metric", "severity") if key in inner)
            yield from _leaves(inner, f"{name}[{label or number}]")
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
