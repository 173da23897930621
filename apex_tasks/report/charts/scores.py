"""The scores of all stocks, and how the best ranks moved since last month."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from apex_tasks.report.charts.drawing import BLUE, GREY, INK, PALE, VERMILLION, draw, grid, plain

BINS = 50
NAMED = 3
"""Stocks whose code stands beside their rank change: those that moved most."""


class RankMove(NamedTuple):
    """A stock's rank last month and now, and whether it is held after the trades, leaves, or does neither."""

    code: str
    before: int
    now: int
    held: bool
    left: bool


def score_chart(
    scores: npt.NDArray[np.float64], held: npt.NDArray[np.bool_], cutoff: float | None, cutoff_label: str
) -> Markup:
    """Histogram of all scores with the held stocks in front of it.

    Parameters
    ----------
    scores : (n,)
        Of all eligible stocks.
    held : (n,)
        Which of them are in the new book.
    cutoff, cutoff_label
        Score of the last candidate, and what to call it.
    """
    edges = np.histogram_bin_edges(scores, BINS).tolist()

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        everything, _, _ = axes.hist(scores, edges, color=PALE, label=f"all {len(scores):,} eligible")
        axes.hist(
            scores[held],
            edges,
            color=BLUE,
            hatch="////",
            edgecolor="white",
            linewidth=0,
            label=f"{int(held.sum())} held",
        )
        top = float(np.max(everything))
        if cutoff is not None:
            axes.axvline(cutoff, color=VERMILLION, linestyle=(0, (4, 2)), linewidth=1.3, ymax=0.86)
            side = "right" if cutoff > edges[0] + 0.6 * (edges[-1] - edges[0]) else "left"
            axes.text(cutoff, top * 1.02, f" {cutoff_label} ", color=VERMILLION, ha=side, va="bottom")
        axes.set_ylim(0, top * 1.18)
        axes.set_xlabel("score")
        axes.set_ylabel("stocks")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
        grid(axes, "y")

    says = (
        f"Distribution of {len(scores):,} scores from {scores.min():.4f} to {scores.max():.4f}, median "
        f"{np.median(scores):.4f}; the {int(held.sum())} held stocks are marked."
    )
    return draw("scores", says, 2.9, paint)


def rank_chart(moves: Sequence[RankMove]) -> Markup:
    """Rank last month against rank now, both on log scales: above the diagonal a stock rose."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        worst = max(max(move.before, move.now) for move in moves) * 1.6
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.plot([0.8, worst], [0.8, worst], color=PALE, linewidth=1)
        others = [move for move in moves if not move.held and not move.left]
        for group, style, label in (
            (others, {"marker": "o", "mfc": "white", "mec": GREY}, "candidate, not held"),
            ([move for move in moves if move.left], {"marker": "x", "mec": VERMILLION}, "sold"),
            ([move for move in moves if move.held], {"marker": "o", "mfc": BLUE, "mec": "white"}, "held"),
        ):
            if group:
                axes.plot(
                    [move.before for move in group],
                    [move.now for move in group],
                    linestyle="",
                    markersize=5.5,
                    label=label,
                    clip_on=False,
                    **style,  # type: ignore[arg-type]
                )
        for move in _farthest(moves, worst):
            left = move.before > worst**0.5
            axes.annotate(
                plain(move.code),
                (move.before, move.now),
                (-6 if left else 6, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                color=INK,
            )
        axes.set_xlim(0.8, worst)
        axes.set_ylim(worst, 0.8)  # the best at the top
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda rank, _: f"{rank:,.0f}"))
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel("rank last month (1 = best)")
        axes.set_ylabel("rank now")
        axes.grid()
        axes.tick_params(length=0)
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside upper left",
            ncols=3,
            handletextpad=0.1,
            columnspacing=1.2,
        )

    rose = sum(move.now < move.before for move in moves)
    says = f"Rank last month and now of {len(moves)} stocks: {rose} rose, {len(moves) - rose} did not."
    return draw("ranks", says, 2.9, paint)


def _farthest(moves: Sequence[RankMove], worst: float) -> list[RankMove]:
    """The largest moves whose labels stand apart from each other."""
    found: list[RankMove] = []
    apart = np.log(worst / 0.8) / 12
    for move in sorted(moves, key=lambda move: (-abs(np.log(move.now / move.before)), move.code)):
        if all(abs(np.log(move.now / other.now)) > apart for other in found):
            found.append(move)
        if len(found) == NAMED:
            break
    return found
