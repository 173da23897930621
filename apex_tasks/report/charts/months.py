"""Turnover and cost of every month."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apex_tasks.report.charts.drawing import BLUE, SKY, VERMILLION, draw, grid, month_ticks

MOST_MONTHS = 36
MOST_NUMBERS = 12


class MonthBar(NamedTuple):
    """One-way turnover in percent and expected cost in bps of a month, with the bound of each in force, if any."""

    label: str
    turnover: float
    turnover_bound: float | None
    cost_bps: float
    cost_bound: float | None


def months_chart(months: Sequence[MonthBar]) -> Markup:
    """Bars by month, this one hatched, the bounds as broken lines; the newest `MOST_MONTHS`."""
    shown = months[-MOST_MONTHS:]

    def paint(figure: Figure) -> None:
        turnover, cost = figure.subplots(2, 1, sharex=True)
        turnover.set_title("One-way turnover, %")
        _bars(
            turnover, [month.turnover for month in shown], [month.turnover_bound for month in shown], "limit"
        )
        cost.set_title("Expected cost, bps of the portfolio")
        _bars(cost, [month.cost_bps for month in shown], [month.cost_bound for month in shown], "alert above")
        month_ticks(cost, [float(i) for i in range(len(shown))], [month.label for month in shown])
        cost.set_xlim(-0.7, max(len(shown), 4) - 0.3)

    last = shown[-1]
    says = (
        f"Turnover and expected cost of {len(shown)} months, the last {last.turnover:.1f} % and "
        f"{last.cost_bps:.2f} bps."
    )
    return draw("months", says, 3.5, paint)


def _bars(axes: Axes, values: Sequence[float], bounds: Sequence[float | None], word: str) -> None:
    last = len(values) - 1
    axes.bar(range(last), values[:-1], width=0.7, color=SKY)
    axes.bar([last], values[-1:], width=0.7, color=BLUE, hatch="////", edgecolor="white", linewidth=0)
    if len(values) <= MOST_NUMBERS:
        for position, value in enumerate(values):
            axes.annotate(
                f"{value:.1f}",
                (position, value),
                (0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
            )
    known = [(position, bound) for position, bound in enumerate(bounds) if bound is not None]
    for position, bound in known:
        axes.hlines(
            bound, position - 0.5, position + 0.5, color=VERMILLION, linestyle=(0, (3, 1.5)), linewidth=1.3
        )
    if known:
        position, bound = known[-1]
        axes.annotate(
            f"{word} {bound:g}",
            (position + 0.5, bound),
            (0, 2),
            textcoords="offset points",
            ha="right" if position else "left",
            va="bottom",
            color=VERMILLION,
        )
    axes.set_ylim(0, 1.22 * max([*values, *(bound for _, bound in known), 1e-9]))
    grid(axes, "y")
    axes.tick_params(axis="x", length=0)
