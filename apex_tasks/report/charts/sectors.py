"""What the book holds of each sector, beside what there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from apex_tasks.report.charts.drawing import BLUE, GREY, INK, draw, grid, plain


class SectorWeight(NamedTuple):
    """A sector's weight in the book, and its share of the eligible stocks, both fractions."""

    label: str
    book: float
    universe: float


def sector_chart(sectors: Sequence[SectorWeight]) -> Markup:
    """A bar per sector for the book and a tick for the universe, with the weight and its distance in points."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        rows = range(len(sectors))
        axes.barh(rows, [sector.book for sector in sectors], height=0.6, color=BLUE, label="book, by weight")
        axes.plot(
            [sector.universe for sector in sectors],
            rows,
            "|",
            color=INK,
            markersize=11,
            markeredgewidth=2,
            label="universe, by number of eligible stocks",
        )
        beside: dict[str, Any] = {
            "transform": axes.get_yaxis_transform(),
            "ha": "right",
            "va": "center",
            "color": GREY,
        }
        for row, sector in zip(rows, sectors, strict=True):
            axes.text(0.85, row, f"{sector.book:.1%}", **beside)
            axes.text(1.0, row, f"{100 * (sector.book - sector.universe):+.1f}", **beside)
        axes.text(0.85, -0.9, "weight", **beside)
        axes.text(1.0, -0.9, "± pts", **beside)
        axes.set_yticks(rows, [plain(sector.label) for sector in sectors], color=INK)
        axes.set_ylim(len(sectors) - 0.4, -1.2)
        widest = max(max(sector.book, sector.universe) for sector in sectors)
        axes.set_xlim(0, widest * 1.5)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        grid(axes, "x")
        axes.tick_params(axis="y", length=0)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside upper left", ncols=2)

    says = "Sector weights of the book against the universe: " + ", ".join(
        f"{sector.label} {sector.book:.1%} against {sector.universe:.1%}" for sector in sectors
    )
    return draw("sectors", says, 0.21 * len(sectors) + 0.8, paint)
