"""The portfolio's value and drawdown beside the market's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from apex_tasks.report.charts.drawing import BLUE, INK, SKY, draw, grid, month_ticks

MOST_POINTS = 260
"""More sessions are drawn in groups: the last value of each, and its deepest drawdown."""
LEAST_GAP = 0.07
"""Of the height of the axes, between the two labels at the end of the lines."""


def equity_chart(
    sessions: Sequence[dt.date], portfolio: npt.NDArray[np.float64], market: npt.NDArray[np.float64]
) -> Markup:
    """Values with 100 at the start, the drawdowns below.

    Parameters
    ----------
    sessions : (n,)
        At least two.
    portfolio, market : (n,)
        Values in any unit.
    """
    lines = [
        ("portfolio", 100 * portfolio / portfolio[0], BLUE, "solid", 1.8),
        ("market", 100 * market / market[0], INK, (0, (4, 1.5)), 1.2),
    ]
    starts = _starts(len(sessions))
    ends = np.append(starts[1:], len(sessions)) - 1

    def paint(figure: Figure) -> None:
        value, fall = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        for name, index, color, dash, width in lines:
            style = {"color": color, "linestyle": dash, "linewidth": width}
            value.plot(ends, index[ends], label=name, **style)
            deepest = 100 * np.minimum.reduceat(drawdowns(index), starts)
            fall.plot(ends, deepest, **style)
            if name == "portfolio":
                fall.fill_between(ends, deepest, 0, color=SKY, alpha=0.35, linewidth=0)
        low, high = value.get_ylim()
        places = _apart([index[-1] for _, index, *_ in lines], LEAST_GAP * (high - low))
        for (name, index, color, *_), place in zip(lines, places, strict=True):
            value.annotate(
                f"{name} {index[-1]:.1f}",
                (1.0, place),
                (4, 0),
                xycoords=value.get_yaxis_transform(),
                textcoords="offset points",
                va="center",
                color=color,
                weight="bold" if name == "portfolio" else "normal",
            )
        value.set_title("Value after costs, start = 100")
        fall.set_title("Drawdown, %")
        months = [i for i, day in enumerate(sessions) if not i or day.month != sessions[i - 1].month]
        months = months[1:] if len(months) > 2 else months
        month_ticks(fall, [float(i) for i in months], [f"{sessions[i]:%Y-%m}" for i in months], most=6)
        for axes in (value, fall):
            axes.set_xlim(0, len(sessions) - 1)
            grid(axes, "y")

    falls = [abs(100 * drawdowns(index).min()) for _, index, *_ in lines]
    says = (
        f"From {sessions[0]} to {sessions[-1]} the portfolio went from 100 to {lines[0][1][-1]:.1f} with a largest "
        f"drawdown of {falls[0]:.1f} %, the market to {lines[1][1][-1]:.1f} with one of {falls[1]:.1f} %."
    )
    return draw("equity", says, 3.5, paint)


def drawdowns(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Fall from the highest value so far, as a fraction, 0 or below."""
    return values / np.maximum.accumulate(values) - 1


def _starts(sessions: int) -> npt.NDArray[np.int64]:
    """First session of each group; the start of the curve stays a point of its own."""
    if sessions <= MOST_POINTS:
        return np.arange(sessions)
    size = -(-(sessions - 1) // MOST_POINTS)
    return np.append(0, np.arange(1, sessions, size))


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Two places for labels: the values, pushed apart where they are closer than the gap."""
    first, second = values
    if (missing := gap - abs(first - second)) > 0:
        push = missing / 2 if first >= second else -missing / 2
        first, second = first + push, second - push
    return [first, second]
