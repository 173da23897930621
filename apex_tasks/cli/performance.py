"""The command that looks at the live performance: `apex performance`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apex_tasks.cli.display import out, print_json, show
from apex_tasks.cli.options import Bundle, Dataset, Json, given_settings

if TYPE_CHECKING:
    from apex_tasks.performance.deviation import BenchmarkComparison
    from apex_tasks.performance.report import PerformanceReport

DEVIATES = 4
"""Exit code where a live figure deviates from its benchmark."""

LEAST_ROUNDED = 1_000
"""Figures from here on are shown without decimals."""

performance_app = typer.Typer()


@performance_app.command("performance")
def performance_command(
    until: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last day to mark. Default: today."),
    ] = None,
    bundle: Bundle = None,
    dataset: Dataset = None,
    store: Annotated[str | None, typer.Option(help="Store: folder or URL. Default: APEX_HOME.")] = None,
    as_json: Json = False,
) -> None:
    """Mark the published book, compare it with the benchmarks; exit 4 where it deviates."""
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.performance.request import resolve_performance_request
    from apex_tasks.performance.run import PerformanceRun, log_to_stderr, run_performance
    from apex_tasks.store import Store

    settings, calendar = given_settings(), TseCalendar.load()
    request = resolve_performance_request(
        {"bundle": bundle, "dataset": dataset, "until": until and until.date()},
        moment=dt.datetime.now(dt.UTC),
        settings=settings,
        calendar=calendar,
    )
    quiet = PerformanceRun(
        request, Store(store or settings.home), calendar, log=log_to_stderr if as_json else lambda _: None
    )
    report = run_performance(quiet)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _show(report)
    if report.deviating:
        raise typer.Exit(DEVIATES)


def _show(report: PerformanceReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    show(_figures(report), False, f"Live performance up to {report.last_marked or report.last_session}")
    deviations = Table(
        "Figure",
        "Live",
        "Benchmark",
        "Deviation",
        "Verdict",
        title="Against the benchmarks",
        title_justify="left",
    )
    for found in report.comparisons:
        deviations.add_row(
            found.measure,
            _number(found.live),
            _number(found.benchmark),
            _deviation(found),
            escape("; ".join(filter(None, (str(found.verdict), found.reason, _allowed(found))))),
        )
    out.print(deviations)
    checks = Table("Check", "Verdict", "Finding", "First", title="Four checks", title_justify="left")
    for check in report.checks:
        checks.add_row(check.name, check.verdict, escape(check.finding), escape(check.remedy))
    out.print(checks)
    for warning in report.warnings:
        out.print(f"WARNING {warning}", markup=False)


def _figures(report: PerformanceReport) -> dict[str, Any]:
    figures = report.performance
    return {
        **({"synthetic": True} if report.synthetic else {}),
        "newest month": report.portfolio,
        "sessions": f"{report.sessions} from {report.first_marked} to {report.last_marked}"
        if report.sessions
        else "none marked yet",
        **({} if figures is None else {name: _number(value) for name, value in figures}),
        "turnover per rebalance": [
            f"{month.portfolio} {'not filled' if month.turnover is None else f'{month.turnover:.2%}'}"
            for month in report.turnovers
        ],
        "mean turnover": "-" if report.mean_turnover is None else f"{report.mean_turnover:.2%}",
        "benchmarks of": f"bundle {report.benchmarks_of}, period {report.backtest_period or 'not given'}",
        "trained on": "; validation ".join(
            filter(None, (report.training_period or "not given", report.validation))
        ),
        "ledger": report.ledger,
    }


def _number(figure: float | None) -> str:
    if figure is None:
        return "-"
    return f"{figure:,.0f}" if abs(figure) >= LEAST_ROUNDED else f"{figure:.4g}"


def _allowed(found: BenchmarkComparison) -> str:
    return "" if found.interval is None else "chance allows {:.3g} to {:.3g}".format(*found.interval)


def _deviation(found: BenchmarkComparison) -> str:
    if found.deviation is None:
        return "-"
    return f"{found.deviation:.1%}, {'better' if found.better else 'worse'}{', large' if found.large else ''}"
