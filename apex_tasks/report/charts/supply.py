"""How the listed stocks become the held ones."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.figure import Figure

from apex_tasks.report.charts.drawing import BLUE, GREY, INK, SKY, draw


def supply_chart(stages: Sequence[tuple[str, int]]) -> Markup:
    """One line per stage, its length on a log scale, with the number and its share of the stage before.

    Parameters
    ----------
    stages
        Label and number of stocks, from all to the held.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        lengths = [max(number, 1) for _, number in stages]
        rows = range(len(stages))
        axes.set_xscale("log")
        axes.hlines(rows, 0.9, lengths, color=SKY, linewidth=5)
        axes.plot(lengths, rows, "o", color=BLUE, markersize=7, clip_on=False)
        for row, (_, number) in zip(rows, stages, strict=True):
            axes.annotate(
                f"{number:,}",
                (lengths[row], row),
                (9, 0),
                textcoords="offset points",
                va="center",
                weight="bold",
            )
            if row and (before := stages[row - 1][1]):
                share = axes.get_yaxis_transform()
                axes.text(
                    1.0, row, f"{number / before:.1%}", transform=share, ha="right", va="center", color=GREY
                )
        axes.text(
            1.0, -0.75, "of the stage before", transform=axes.get_yaxis_transform(), ha="right", color=GREY
        )
        axes.set_yticks(rows, [label for label, _ in stages], color=INK)
        axes.set_ylim(len(stages) - 0.5, -0.9)
        axes.set_xlim(0.9, max(lengths) * 12)
        axes.set_xticks([])
        axes.minorticks_off()
        axes.tick_params(length=0)
        axes.spines["bottom"].set_visible(False)

    says = "Supply of stocks: " + ", ".join(f"{label.lower()} {number:,}" for label, number in stages)
    return draw("supply", says, 0.36 * len(stages) + 0.3, paint)
