"""What came out, on 80 columns."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.table import Table

LEGEND = (
    "% a year, gross: with the costs, and without. Sharpe: without a risk-free rate. DD: largest drawdown. T/O: mean "
    "one-way turnover of a rebalance after the first. Cost: % of the capital a year. In brackets: 95 % interval of "
    "the block bootstrap."
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
            f"{row['sharpe_ratio']:.2f} [{row['sharpe_low']:.2f}, {row['sharpe_high']:.2f}]",
            f"{row['max_drawdown']:.1f}",
            f"{100 * row['mean_turnover']:.1f}",
            f"{row['cost_pct_of_capital_per_year']:.2f}",
            f"{row['mean_positions']:.0f}",
        )
    console.print(table)
    console.print(LEGEND)


def show_differences(console: Console, differences: pd.DataFrame) -> None:
    """Print `performance.difference_table`."""
    table = _table("Less equal weight, same days", "% a year", "Sharpe", "P(ahead)", "P(deflated)")
    for row in differences.to_dict("records"):
        table.add_row(
            row["portfolio"],
            f"{row['excess']:+.1f} [{row['excess_low']:+.1f}, {row['excess_high']:+.1f}]",
            f"{row['sharpe_difference']:+.2f} "
            f"[{row['sharpe_difference_low']:+.2f}, {row['sharpe_difference_high']:+.2f}]",
            f"{row['probabilistic_sharpe']:.2f}",
            f"{row['deflated_sharpe']:.2f}",
        )
    console.print(table)


def show_rank_ics(console: Console, summary: pd.DataFrame) -> None:
    """Print `performance.rank_ic_summary`."""
    table = _table("Rank IC with the next 20 sessions", "months", "mean", "std", "t", "above 0")
    for row in summary.to_dict("records"):
        table.add_row(
            row["scores"],
            f"{row['months']:.0f}",
            f"{row['mean']:+.4f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            f"{row['std']:.3f}",
            f"{row['t']:+.2f}",
            f"{row['positive']:.0%}",
        )
    console.print(table)


def _table(title: str, *figures: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
