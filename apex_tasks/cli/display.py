"""How the command line shows results: tables for people, JSON for machines, bars for those who wait."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from apex_tasks.dataset.progress import ReportProgress

if TYPE_CHECKING:
    from apex_tasks.monthly.summary import MonthSummary

out = Console()
err = Console(stderr=True)


def print_json(value: object) -> None:
    """Print JSON, and nothing else, to stdout."""
    print(json.dumps(value, default=str, indent=1, ensure_ascii=False, allow_nan=False))


def show(values: Mapping[str, Any], as_json: bool, title: str) -> None:
    """Print named values."""
    if as_json:
        print_json(values)
        return
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in values.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        table.add_row(name, escape(shown))
    out.print(table)


def show_month(month: MonthSummary, as_json: bool) -> None:
    """Print the summary of a month."""
    if as_json:
        print_json(month.model_dump(mode="json"))
        return
    values = {
        "Rebalance": month.rebalance_date,
        "As-of": month.as_of,
        "Verdict": month.verdict,
        "Positions": month.positions,
        "Turnover": f"{month.turnover:.2%}",
        "Cost": f"{month.cost_jpy:,.0f} JPY ({month.cost_bps:.2f} bps)",
        "Value": f"{month.portfolio_value_jpy:,.0f} JPY",
        "Starts from": month.parent or "cash",
        **({"Off-cycle": month.off_cycle} if month.off_cycle else {}),
        **({"Overrides": month.overrides} if month.overrides else {}),
        "Folder": month.folder or "-",
        "Notes": f"{len(month.alerts)} alerts, {len(month.warnings)} warnings",
    }
    show(values, False, f"Month {month.rebalance_date}")
    names = Table("Rank", "Code", "Sector", "Weight", "Score", title="Best names", title_justify="left")
    for name in month.top:
        names.add_row(
            "-" if name.rank is None else str(name.rank),
            name.code,
            name.sector or "-",
            f"{name.weight:.2%}",
            "-" if name.score is None else f"{name.score:.4f}",
        )
    out.print(names)


class _Rate(ProgressColumn):
    """Units done per second."""

    def render(self, task: Task) -> Text:
        """Show the speed once it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s", style="progress.data.speed")


@contextmanager
def progress_bars() -> Iterator[ReportProgress]:
    """Bars on stderr, one per description, only where someone watches."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
    )
    tasks: dict[str, TaskID] = {}

    def report(description: str, done: float, total: float) -> None:
        if description not in tasks:
            for earlier in bars.tasks:  # a part that does not count its end is over when the next begins
                bars.update(earlier.id, completed=earlier.total)
            tasks[description] = bars.add_task(description, total=total)
        bars.update(tasks[description], completed=done, total=total)

    with bars:
        yield report
