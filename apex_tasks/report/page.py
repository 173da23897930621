"""The page: tables and charts of a month put into the template."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from apex_tasks.dataset.schema import CODE
from apex_tasks.market.costs import BPS
from apex_tasks.market.sectors import sector_names
from apex_tasks.monitoring import alerts
from apex_tasks.portfolio.orders import Orders, Side
from apex_tasks.portfolio.selection import SCORE
from apex_tasks.published.run_document import RunDocument
from apex_tasks.report.changes import changes_of, market_index
from apex_tasks.report.charts.equity import drawdowns, equity_chart
from apex_tasks.report.charts.months import MonthBar, months_chart
from apex_tasks.report.charts.scores import RankMove, rank_chart, score_chart
from apex_tasks.report.charts.sectors import SectorWeight, sector_chart
from apex_tasks.report.charts.supply import supply_chart
from apex_tasks.report.month import ReportedMonth
from apex_tasks.report.verdict import count, verdict_of
from apex_tasks.store import Artifact, canonical_json

COST = "apex_daily_cost_bps"
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NONE = "–"


def render(run: RunDocument, plan: Artifact, parent: Artifact | None) -> bytes:
    """Render a month; see `apex_tasks.report.render_report`."""
    month = ReportedMonth.read(run, plan, parent)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            verdict=verdict_of(run),
            changes=changes_of(month),
            turnover=_turnover(run),
            supply=_supply(run),
            positions=_positions(month),
            orders=month.orders,
            order_totals=_order_totals(month.orders),
            score_chart=_score_chart(month),
            rank_chart=_rank_chart(month),
            sector_chart=_sector_chart(month),
            months=month.history.months,
            months_chart=_months_chart(month),
            curve=_curve(month),
        )
    )
    return page.encode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("apex_tasks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "whole": lambda value: _NONE if _missing(value) else f"{value:,.0f}",
        "number": lambda value, digits: _NONE if _missing(value) else f"{value:,.{digits}f}",
        "pct": lambda value: _NONE if _missing(value) else f"{value:.2%}",
        "change": lambda value: _NONE if _missing(value) else f"{value:+.2%}",
        "moved": lambda value: _NONE if _missing(value) else f"{value:+,d}" if value else "0",
        "day": _day,
        "count": count,
        "sector": sector_names().get,
        "document": lambda value: canonical_json(value.model_dump(mode="json")).decode(),
    }
    return environment


def _missing(value: float | None) -> bool:
    return value is None or value != value


def _day(text: object) -> str:
    day = dt.date.fromisoformat(str(text))
    return f"{_WEEKDAYS[day.weekday()]} {day}"


def _turnover(run: RunDocument) -> dict[str, str]:
    """The turnover against the policy's limit, which no threshold judges."""
    limit = run.settings.portfolio.turnover_limit
    if not limit or run.metrics.first_build:
        demand = (
            "the policy sets no limit" if not limit else f"no limit on a first build, {limit:.0%} after it"
        )
        return {"state": "plain", "word": "", "demand": demand}
    over = round(run.metrics.turnover, 4) > limit
    return {
        "state": "alert" if over else "ok",
        "word": "ABOVE" if over else "PASS",
        "demand": f"limit {limit:.0%}",
    }


def _order_totals(orders: Orders) -> list[tuple[str, dict[str, float]]]:
    """Number, value and cost of the buys, the sells and all."""
    groups = {
        "Buys": [row for row in orders.rows if row.side is Side.BUY],
        "Sells": [row for row in orders.rows if row.side is Side.SELL],
        "All": list(orders.rows),
    }
    totals = []
    for name, rows in groups.items():
        value, cost = math.fsum(row.value_jpy for row in rows), math.fsum(row.cost_jpy for row in rows)
        bps = cost / value * BPS if value else math.nan
        totals.append((name, {"orders": len(rows), "value_jpy": value, "cost_jpy": cost, "bps": bps}))
    return totals


def _supply(run: RunDocument) -> Markup:
    metrics = run.metrics
    return supply_chart(
        [
            ("Listed", metrics.listed_stocks),
            ("Eligible", metrics.eligible_stocks),
            ("Priced", metrics.priced_candidates),
            ("In the pool", metrics.pool_size),
            ("Candidates kept", metrics.apex_selected_count),
            ("Held", metrics.positions),
        ]
    )


def _positions(month: ReportedMonth) -> list[dict[str, Any]]:
    """Rows of the book with the change of rank, better is above 0; None where either rank is missing."""
    rows: list[dict[str, Any]] = []
    records: list[dict[Any, Any]] = month.positions.to_dict("records")
    for row in records:
        code = row["code"]
        before, now = month.parent_ranks.get(code), month.ranks.get(code)
        rows.append(
            {
                **row,
                "sector": row["sector"] if isinstance(row["sector"], str) else "",
                "rank_change": None if before is None or now is None else before - now,
                "is_new": code not in month.before.positions,
            }
        )
    return rows


def _score_chart(month: ReportedMonth) -> Markup:
    scores = month.scores[SCORE].to_numpy(dtype=np.float64)
    held = month.scores[CODE].isin(list(month.held)).to_numpy()
    candidates = scores[month.scores[CODE].isin(month.run.selection.candidates).to_numpy()]
    cutoff = float(candidates.min())
    return score_chart(scores, held, cutoff, f"last candidate {cutoff:.4f}".replace("-", "\N{MINUS SIGN}"))


def _rank_chart(month: ReportedMonth) -> Markup | None:
    codes = {*month.run.selection.candidates, *month.held, *month.before.positions}
    left = month.before.positions.keys() - month.held.keys()
    moves = [
        RankMove(code, month.parent_ranks[code], month.ranks[code], code in month.held, code in left)
        for code in sorted(codes)
        if code in month.parent_ranks and code in month.ranks
    ]
    return rank_chart(moves) if moves else None


def _sector_chart(month: ReportedMonth) -> Markup:
    """The sectors of the book by weight, and the others as one."""
    weights: dict[str, float] = {}
    for code, weight in zip(month.positions["sector"], month.positions["weight"].tolist(), strict=True):
        sector = code if isinstance(code, str) else ""
        weights[sector] = weights.get(sector, 0.0) + weight
    counts: Mapping[str, int] = month.run.eligible_by_sector
    total = sum(counts.values())
    rows = [
        SectorWeight(_sector_label(sector), weight, counts.get(sector, 0) / total)
        for sector, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    ]
    others = [number for sector, number in sorted(counts.items()) if sector not in weights]
    if others:
        rows.append(SectorWeight(f"{count(len(others), 'sector')} not held", 0.0, sum(others) / total))
    return sector_chart(rows)


def _sector_label(sector: str) -> str:
    if not sector:
        return "sector unknown"
    name = sector_names().get(sector)
    return f"{sector} {name.english}" if name else sector


def _months_chart(month: ReportedMonth) -> Markup:
    settings = month.run.settings
    limit = settings.portfolio.turnover_limit
    cost = next(
        (
            threshold
            for threshold in settings.thresholds
            if threshold.metric == COST and threshold.comparison in (">", ">=")
        ),
        None,
    )

    def cost_bound(first_build: bool) -> float | None:
        if cost is None:
            return None
        hysteresis = bool(month.run.metrics.hysteresis)
        return alerts.effective_bound(cost, settings.ranking.top_k, first_build, hysteresis)

    return months_chart(
        [
            MonthBar(
                f"{found.rebalance_date:%Y-%m}",
                100 * found.turnover,
                100 * limit if limit and not found.first_build else None,
                found.cost_bps,
                cost_bound(found.first_build),
            )
            for found in month.history.months
        ]
    )


def _curve(month: ReportedMonth) -> dict[str, Any] | None:
    """The equity curve and its figures; None for a first month, which has no session behind it."""
    history = month.history
    if len(history.sessions) < 2:
        return None
    portfolio, market = np.array(history.portfolio_value_jpy), market_index(history)
    return {
        "chart": equity_chart(history.sessions, portfolio, market),
        "first": history.sessions[0],
        "sessions": len(history.sessions) - 1,
        "returns": [float(values[-1] / values[0] - 1) for values in (portfolio, market)],
        "drawdowns": [float(drawdowns(values).min()) for values in (portfolio, market)],
        "gaps": sum(change is None for change in history.market_returns[1:]),
    }
