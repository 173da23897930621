"""What came out, on 80 columns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

LEGEND = (
    "% a year: after costs; gross: before. Sharpe: risk-free rate 0; in brackets the 95 % interval of the block "
    "bootstrap. DD: largest drawdown. T/O: mean one-way turnover of a rebalance after the first. Cost: % of the "
    "initial capital a year."
)


def show_portfolios(console: Console, performance: pd.DataFrame) -> None:
    """Print `performance.performance_table`."""
    first, last = performance["first"].min(), performance["last"].max()
    table = _table(
        f"Portfolios, {first} to {last}", "% a year", "gross", "Sharpe", "DD %", "T/O %", "Cost", "Names"
    )
    for row in performance.to_dict("records"):
        table.add_row(
            row["portfolio"],
            f"{row['annualized_return']:.1f}",
            f"{row['annualized_return_before_costs']:.1f}",
            _with_interval(row, "sharpe_ratio", ".2f"),
            f"{row['max_drawdown']:.1f}",
            f"{100 * row['mean_turnover']:.1f}",
            f"{row['cost_pct_of_capital_per_year']:.2f}",
            f"{row['mean_positions']:.0f}",
        )
    console.print(table)
    console.print(LEGEND)


def show_differences(console: Console, differences: pd.DataFrame) -> None:
    """Print `performance.difference_table`."""
    table = _table("Against equal weight, same days", "% a year", "Sharpe", "beta", "alpha % a year")
    for row in differences.to_dict("records"):
        table.add_row(
            row["portfolio"],
            _with_interval(row, "excess", "+.1f"),
            _with_interval(row, "sharpe_difference", "+.2f"),
            f"{row['beta']:.2f}",
            _with_interval(row, "alpha", "+.1f"),
        )
    console.print(table)
    for row in differences.to_dict("records"):
        console.print(
            f"P({row['portfolio']} is ahead of equal weight): {row['probabilistic_sharpe']:.2f}; beyond the luck of "
            f"{len(differences)} tries: {row['deflated_sharpe']:.2f}",
            soft_wrap=True,
        )


def show_rank_ics(console: Console, summary: pd.DataFrame) -> None:
    """Print `performance.rank_ic_summary`."""
    table = _table("Rank IC with the next 20 sessions", "months", "mean", "std", "t", "above 0")
    for row in summary.to_dict("records"):
        table.add_row(
            row["scores"],
            f"{row['months']:.0f}",
            _with_interval(row, "mean", "+.3f"),
            f"{row['std']:.3f}",
            f"{row['t']:+.2f}",
            f"{row['positive']:.0%}",
        )
    console.print(table)


def _with_interval(row: Mapping[Hashable, Any], name: str, style: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:{style}} [{low:{style}}, {high:{style}}]"


def _table(title: str, *figures: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
