"""The portfolios' values and drawdowns as one picture."""

from __future__ import annotations

import io

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from real_data.portfolios import EQUAL_WEIGHT, MODEL, MOMENTUM

STYLES = {
    EQUAL_WEIGHT: ("equal weight", "#000000", (0, (4, 2))),
    MOMENTUM: ("12-1 momentum", "#D55E00", (0, (1, 1))),
    MODEL: ("model", "#0072B2", "solid"),
}
"""Label, color and dash of each: colors that color-blind eyes tell apart (Okabe and Ito 2008)."""


def equity_chart(equity: pd.DataFrame, capital_jpy: float) -> bytes:
    """SVG, the same bytes for the same values: 100 is the capital, drawdowns in percent below.

    By the week, which a fifth of the bytes can show: the last value, and the deepest drawdown.

    Parameters
    ----------
    equity
        See `performance.equity_table`.
    capital_jpy
        Cash before the first fill.
    """
    daily = equity.set_index(pd.to_datetime(equity["date"]))
    # A fixed salt and no date: matplotlib would draw random ids and stamp the time.
    with mpl.rc_context({"svg.hashsalt": "apex", "font.size": 9, "axes.spines.top": False}):
        figure = Figure(figsize=(7.6, 4.8), layout="constrained", facecolor="white")
        value, fall = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        for name, (label, color, dash) in STYLES.items():
            index = 100 * daily[name] / capital_jpy
            drawdown = 100 * (index / index.cummax().clip(lower=100) - 1)
            weeks, deepest = index.resample("W-FRI").last(), drawdown.resample("W-FRI").min()
            line = {"color": color, "linestyle": dash, "linewidth": 1.4}
            value.plot(weeks.index, weeks, label=f"{label}, {index.iloc[-1]:.0f}", **line)
            fall.plot(deepest.index, deepest, **line)
        value.set_yscale("log")
        value.set_yticks([100, 125, 150, 175, 200, 225, 250])
        value.yaxis.set_major_formatter(ScalarFormatter())
        value.yaxis.set_minor_formatter(NullFormatter())
        value.set_ylabel("value after costs, start = 100 (log)")
        value.set_title("431 US stocks that survived, rebalanced monthly", loc="left", fontsize=10)
        value.legend(frameon=False, loc="upper left")
        fall.set_ylabel("drawdown, %")
        for axes in (value, fall):
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.spines["right"].set_visible(False)
            axes.margins(x=0.01)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
