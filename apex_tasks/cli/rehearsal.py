"""The command of day zero: `apex smoke-test`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from apex_tasks.cli.display import out, print_json, progress_bars
from apex_tasks.cli.options import Bundle, Dataset, Json
from apex_tasks.settings import load_settings

if TYPE_CHECKING:
    from apex_tasks.rehearsal.day_zero import RehearsalReport
    from apex_tasks.rehearsal.replay import MonthlyRehearsal
    from apex_tasks.rehearsal.smoke_test import SmokeReport

rehearsal_app = typer.Typer()

Part = TypeVar("Part")


@rehearsal_app.command("smoke-test")
def smoke_test_command(
    bundle: Bundle = None,
    dataset: Dataset = None,
    sessions: Annotated[int, typer.Option(min=1, max=60, help="Newest sessions to score twice.")] = 5,
    months: Annotated[int, typer.Option(min=1, max=120, help="Newest rebalances to rehearse.")] = 3,
    today: Annotated[
        dt.datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="Day that the checklist is for. Default: the date in Tokyo.",
        ),
    ] = None,
    handshake_only: Annotated[
        bool, typer.Option("--handshake-only", help="Only validate the bundle and print the settings.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Try a deployment without publishing: handshake, scores twice, months rehearsed, checklist."""
    from apex_tasks.market.calendar import TseCalendar, tokyo_date
    from apex_tasks.rehearsal.day_zero import DayZero
    from apex_tasks.rehearsal.request import resolve_rehearsal

    request = resolve_rehearsal(
        {"bundle": bundle, "dataset": dataset, "sessions": sessions, "months": months},
        today=tokyo_date(dt.datetime.now(dt.UTC)) if today is None else today.date(),
        settings=load_settings(),
    )
    calendar = TseCalendar.load()

    def play(part: Callable[[DayZero], Part], show: Callable[[Part], None]) -> Part:
        """Each part is shown as soon as it is over: a refusal in the next one must not hide it."""
        with progress_bars() as progress:
            outcome = part(DayZero(request, calendar, log=lambda _: None, progress=progress))
        if not as_json:
            show(outcome)
        return outcome

    resolved = play(DayZero.handshake, lambda bundle: print(bundle.settings_block()))
    settings = {
        **resolved.model_dump(mode="json"),
        "effective_dim": resolved.effective_dim,
        "feature_hash": resolved.feature_hash,
    }
    if handshake_only:
        if as_json:
            print_json({"settings": settings})
        return
    smoke = play(DayZero.smoke_test, _show_smoke_test)
    rehearsed = play(DayZero.monthly_rehearsal, _show_months)
    report = play(lambda day_zero: day_zero.report(smoke, rehearsed), _show_report)
    if as_json:
        print_json({"settings": settings, **report.model_dump(mode="json")})
    report.require_passed()


def _show_smoke_test(smoke: SmokeReport) -> None:
    table = Table(
        "Session",
        "Stocks",
        f"Best {smoke.top_k} names",
        "Largest score difference",
        "Ties",
        title=f"Smoke test {smoke.verdict}",
        caption=f"first: {smoke.first.how}; second: {smoke.second.how}",
        title_justify="left",
        caption_justify="left",
    )
    for session in smoke.sessions:
        difference = session.difference
        table.add_row(
            f"{session.session:%Y-%m-%d}",
            str(session.stocks),
            "equal"
            if difference is None
            else f"rank {difference.rank}: {difference.first or '-'} / {difference.second or '-'}",
            f"{session.largest_score_difference:.1e}",
            str(session.ties),
        )
    out.print(table)
    _say(smoke.problems)


def _show_months(months: MonthlyRehearsal) -> None:
    table = Table(
        "Rebalance",
        "As-of",
        "Positions",
        "Kept",
        "Turnover",
        "Cost, bps",
        "Remarks",
        title=f"Monthly rehearsal {months.verdict}: {len(months.expected)} rebalances expected",
        title_justify="left",
    )
    for month in months.months:
        table.add_row(
            f"{month.rebalance_date:%Y-%m-%d}",
            f"{month.as_of:%Y-%m-%d}",
            str(month.positions),
            str(month.candidate_kept),
            f"{month.turnover:.2%}",
            f"{month.cost_bps:.2f}",
            escape("; ".join(month.remarks)) or "-",
        )
    out.print(table)
    _say(months.problems)
    _say([f"WARNING {warning}" for warning in months.warnings])


def _show_report(report: RehearsalReport) -> None:
    from apex_tasks.rehearsal.day_zero import MARKS

    print(f"Checklist for {report.today}" + (", SYNTHETIC data or bundle" if report.synthetic else ""))
    for finding in report.checklist:
        print(f"{MARKS[finding.state]} {finding.title}: {finding.evidence}")
    print(f"Rehearsal {report.verdict}")


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)
