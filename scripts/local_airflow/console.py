"""One line of the console per step of a script."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape


@dataclass
class Step:
    """One line of the console: a spinner while it lasts, then what came of it and how long it took."""

    tell: Callable[[str, float, float], None]
    result: str = ""


@contextmanager
def step(console: Console, title: str) -> Iterator[Step]:
    """Show one step; the block sets `result` and may tell its progress."""
    begin = time.monotonic()
    with console.status(title) as status:

        def tell(description: str, done: float, total: float) -> None:
            status.update(f"{title}: {description} {done / total:.0%}")

        running = Step(tell)
        try:
            yield running
        except BaseException:
            console.print(f"[red]✘[/] {title}")
            raise
    taken = time.monotonic() - begin
    console.print(f"[green]✔[/] {title:<24} {taken:6.1f} s  [dim]{escape(running.result)}[/]", soft_wrap=True)
