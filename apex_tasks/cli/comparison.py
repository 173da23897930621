"""How the command line shows a comparison: figures, and each one's difference to the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from apex_tasks.cli.display import out

if TYPE_CHECKING:
    from apex_tasks.backtesting.compare import PolicyComparison, VariantRow
    from apex_tasks.statistics.bootstrap import Interval

_FIGURES = (
    ("Sharpe", "sharpe_ratio", ".2f"),
    ("Ret %", "total_return", ".1f"),
    ("DD %", "max_drawdown", ".1f"),
    ("Cost", "avg_daily_cost_bps", ".2f"),
)
_MEANS = (("T/O %", "mean_turnover", 100), ("Names", "mean_positions", 1), ("Cash %", "mean_cash_share", 100))
_INTERVAL = "Sharpe, 95 %"
LEGEND = (
    "Ret: total return. DD: largest drawdown. Cost: bps of the initial capital a session. T/O: mean one-way "
    "turnover of a rebalance after the first. Second lines: difference to the baseline."
)


def show_comparison(comparison: PolicyComparison, period: str) -> None:
    """Print the table, one line of figures and one of differences a variant."""
    synthetic = " (SYNTHETIC)" if comparison.synthetic else ""
    table = Table(
        title=f"Variants, {period}{synthetic}", title_justify="left", box=None, padding=(0, 1, 0, 0)
    )
    table.add_column("Variant", no_wrap=True)
    for heading, *_ in (*_FIGURES, *_MEANS):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(_INTERVAL, justify="right", no_wrap=True)
    base = comparison.variants[0]
    for row in comparison.variants:
        table.add_row(row.name, *_cells(row), _shown(row.sharpe_interval, ".2f"))
        if row is not base:
            difference = _shown(row.sharpe_difference, "+.2f")
            table.add_row("  difference", *_differences(row, base), difference, style="dim", end_section=True)
    out.print(table)
    out.print(LEGEND)
    if comparison.best is not None and comparison.deflated_sharpe is not None:
        out.print(
            f"Best Sharpe: {comparison.best}. Probability that it is more than the luck of "
            f"{len(comparison.variants)} tries: {comparison.deflated_sharpe:.0%}"
        )
    for warning in comparison.warnings:
        out.print(f"Note: {escape(warning)}")


def _cells(row: VariantRow) -> list[str]:
    figures = [_number(getattr(row.performance, name), style) for _, name, style in _FIGURES]
    return figures + [_number(_scaled(row, name, factor), ".1f") for _, name, factor in _MEANS]


def _differences(row: VariantRow, base: VariantRow) -> list[str]:
    figures = [
        _difference(getattr(row.performance, name), getattr(base.performance, name), style)
        for _, name, style in _FIGURES
    ]
    return figures + [
        _difference(_scaled(row, name, factor), _scaled(base, name, factor), ".1f")
        for _, name, factor in _MEANS
    ]


def _scaled(row: VariantRow, name: str, factor: float) -> float | None:
    value: float | None = getattr(row, name)
    return None if value is None else value * factor


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


def _difference(value: float | None, base: float | None, style: str) -> str:
    return "-" if value is None or base is None else format(value - base, f"+{style}")


def _shown(interval: Interval | None, style: str) -> str:
    return "-" if interval is None else f"{interval.low:{style}}, {interval.high:{style}}"
