"""The commands of `apex`: those of one function here, the others from their modules.

Exit codes: 0 done, 1 a bug, 2 wrong use, 3 input refused, 4 an alert: a critical threshold is broken, the live
performance deviates from its benchmarks, or a check of the smoke test failed.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from apex_tasks.cli.backtest import backtest_app
from apex_tasks.cli.dataset import dataset_app
from apex_tasks.cli.display import err, out, print_json, progress_bars, show, show_month
from apex_tasks.cli.options import (
    Bundle,
    Dataset,
    Day,
    FeaturesModeOption,
    Horizon,
    Json,
    NormalizationOption,
    NormalizationReason,
    PolicyOption,
    TopK,
    approval_by,
    given_input,
    given_settings,
    user_name,
    write_result,
)
from apex_tasks.cli.performance import performance_app
from apex_tasks.cli.rehearsal import rehearsal_app
from apex_tasks.cli.serve import serve_app
from apex_tasks.demo.defaults import DEFAULT_END, DEFAULT_SEED, DEFAULT_SESSIONS, DEFAULT_STOCKS
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, load_settings

app = typer.Typer(
    help="Rank the Tokyo market, plan the month's trades, publish the portfolio.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
audit_app = typer.Typer(help="The audit trail of published portfolios.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
app.add_typer(dataset_app, name="dataset")
app.add_typer(backtest_app)
app.add_typer(performance_app)
app.add_typer(rehearsal_app)
app.add_typer(serve_app)


def main() -> None:
    """Run the command line; a refusal is one message on stderr and an exit code."""
    try:
        app(prog_name="apex")
    except Refusal as refusal:
        # Not through rich: its markup would eat brackets of the message.
        print(f"REFUSED {refusal}", file=sys.stderr)
        raise SystemExit(refusal.exit_code) from None


@app.command("demo-data")
def demo_data(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder, or one .parquet file.")],
    stocks: Annotated[int, typer.Option(min=1, help="Listed stocks.")] = DEFAULT_STOCKS,
    sessions: Annotated[int, typer.Option(min=1, help="TSE sessions.")] = DEFAULT_SESSIONS,
    seed: Annotated[int, typer.Option(help="Seed: same seed, same bytes.")] = DEFAULT_SEED,
    end: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="Last session.")] = dt.datetime(
        DEFAULT_END.year, DEFAULT_END.month, DEFAULT_END.day
    ),
    as_json: Json = False,
) -> None:
    """Make a SYNTHETIC market on real TSE sessions, with a planted signal."""
    from apex_tasks.demo.market import write_demo_data

    with progress_bars() as progress:
        made = write_demo_data(target, stocks, sessions, seed, end.date(), progress)
    show(made.__dict__, as_json, "Synthetic dataset")


@app.command("demo-bundle")
def demo_bundle(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder, or one .tar.gz file.")],
    dataset: Annotated[Path | None, typer.Option(help="Dataset of demo-data. Default: makes one.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and sample order.")] = DEFAULT_SEED,
    samples: Annotated[int | None, typer.Option(min=1, help="Windows shown in training.")] = None,
    as_json: Json = False,
) -> None:
    """Train the production architecture briefly on SYNTHETIC data and write a real bundle."""
    from apex_tasks.demo.bundle import SAMPLES, write_demo_bundle

    with progress_bars() as progress:
        made = write_demo_bundle(target, dataset, seed, samples or SAMPLES, progress)
    show(made.__dict__, as_json, "Synthetic bundle")


@app.command("validate-bundle")
def validate_bundle_command(
    bundle: Bundle = None,
    dataset: Dataset = None,
    horizon: Horizon = None,
    features_mode: FeaturesModeOption = None,
    as_json: Json = False,
) -> None:
    """Check a bundle against its manifest, itself and a dataset's schema."""
    from apex_tasks.monthly.validate_bundle import validate_bundle

    settings = given_settings(horizon=horizon, features_mode=features_mode)
    resolved = validate_bundle(
        given_input("bundle", bundle, settings.bundle),
        given_input("dataset", dataset, settings.dataset),
        settings,
    )
    if as_json:
        derived = {"effective_dim": resolved.effective_dim, "feature_hash": resolved.feature_hash}
        print_json({**resolved.model_dump(mode="json"), **derived})
    else:
        print(resolved.settings_block())


@app.command("features")
def features_command(
    prices: Annotated[
        Path, typer.Option(help="Parquet: Date, Code, Close, Volume, TurnoverValue, sector33_code.")
    ],
    target: Annotated[Path, typer.Option("--out", help="Dataset to write.")],
    as_json: Json = False,
) -> None:
    """Compute the features that follow from prices and write a dataset."""
    from apex_tasks.dataset.price_features import write_dataset

    with progress_bars() as progress:
        summary = write_dataset(prices, target, lambda done: progress("Computing features", done, 1.0))
    show({**summary.__dict__, "dataset": target}, as_json, "Dataset")


@app.command("score")
def score_command(
    as_of: Day,
    target: Annotated[Path, typer.Option("--out", help="scores.parquet to write: Code, Score, Rank.")],
    bundle: Bundle = None,
    dataset: Dataset = None,
    horizon: Horizon = None,
    normalization: NormalizationOption = None,
    normalization_reason: NormalizationReason = None,
    features_mode: FeaturesModeOption = None,
    as_json: Json = False,
) -> None:
    """Score and rank every eligible stock of one session."""
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.monthly.admission import require_known_close
    from apex_tasks.monthly.score import score
    from apex_tasks.tables import parquet_bytes

    require_known_close(as_of.date(), dt.datetime.now(dt.UTC), TseCalendar.load())
    settings = given_settings(
        horizon=horizon,
        normalization=normalization,
        normalization_reason=normalization_reason,
        features_mode=features_mode,
    )
    with progress_bars() as progress:
        ranked = score(
            given_input("bundle", bundle, settings.bundle),
            given_input("dataset", dataset, settings.dataset),
            as_of.date(),
            settings,
            progress,
        )
    _tell_of_dataset(given_input("dataset", dataset, settings.dataset), as_of.date(), settings)
    write_result(target, parquet_bytes(ranked), "scores")
    best = ranked["Code"].head(5).tolist()
    show({"scores": target, "as_of": as_of.date(), "stocks": len(ranked), "best": best}, as_json, "Scores")


def _tell_of_dataset(path: str, as_of: dt.date, settings: ApexSettings) -> None:
    """What a month would be refused or told: `apex score` reproduces v0.1.0, so it only tells."""
    from apex_tasks.dataset.judgement.judge import judge_prices
    from apex_tasks.dataset.schema import open_dataset
    from apex_tasks.market.calendar import TseCalendar

    for fault in judge_prices(open_dataset(path), as_of, settings, TseCalendar.load()).faults:
        err.print(f"WARNING {fault}", markup=False, soft_wrap=True)


@app.command("run")
def run_command(
    date: Annotated[
        dt.datetime, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Rebalance day.")
    ],
    bundle: Bundle = None,
    dataset: Dataset = None,
    top_k: TopK = None,
    horizon: Horizon = None,
    normalization: NormalizationOption = None,
    normalization_reason: NormalizationReason = None,
    features_mode: FeaturesModeOption = None,
    policy: PolicyOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but publish.")] = False,
    cold_start: Annotated[
        bool, typer.Option("--cold-start", help="Start from cash when last month is not published.")
    ] = False,
    approve: Annotated[
        str | None,
        typer.Option(metavar="'NAME: WHY'", help="Who has read the month's report and approves it, and why."),
    ] = None,
    republish_reason: Annotated[
        str | None,
        typer.Option(help="Why a published month may get a new version, or an older one may be added."),
    ] = None,
    off_cycle: Annotated[
        str | None,
        typer.Option(
            metavar="WHY",
            help="Why a book is made for a day that is no rebalance day; no month starts from it.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run one month without Airflow: the same steps on the same store."""
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.monthly.request import resolve_request
    from apex_tasks.monthly.run import MonthlyRun, run_month
    from apex_tasks.monthly.summary import summarize_month
    from apex_tasks.store import Store

    if approve is not None and dry_run:
        raise typer.BadParameter(
            "a dry run publishes nothing, so there is nothing to approve", param_hint="--approve"
        )
    calendar = TseCalendar.load()
    parameters = {
        "as_of": calendar.as_of(date.date()),
        "off_cycle": off_cycle,
        "bundle": bundle,
        "dataset": dataset,
        "top_k": top_k,
        "horizon": horizon,
        "normalization": normalization,
        "normalization_reason": normalization_reason,
        "features_mode": features_mode,
        "policy": policy,
        "dry_run": dry_run,
        "approval": None if approve is None else True,
        "cold_start": cold_start,
        "republish_reason": republish_reason,
    }
    moment = calendar.rebalance_instant(date.date())
    now = dt.datetime.now(dt.UTC)
    request = resolve_request(parameters, moment=moment, now=now, settings=load_settings(), calendar=calendar)
    who = f"{user_name()} by apex run"  # no time: who reads a report and then approves it runs twice
    store = Store(request.settings.home)
    with progress_bars() as progress:
        plan, published = run_month(
            MonthlyRun(
                request,
                store,
                calendar,
                run_id=f"cli__{now.isoformat(timespec='seconds')}",
                log=lambda message: print(message, file=sys.stderr),
                progress=progress,
                triggered_by=who,
            ),
            None if approve is None else approval_by(approve),
        )
    show_month(summarize_month(request, plan, published, store, who), as_json)


@app.command("calendar")
def calendar_command(
    start: Annotated[dt.datetime, typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")],
    end: Annotated[dt.datetime, typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")],
    as_json: Json = False,
) -> None:
    """List the rebalance days of a period, and each one's as-of session."""
    from apex_tasks.market.calendar import TseCalendar

    calendar, nth = TseCalendar.load(), load_settings().schedule.nth_session
    days = calendar.sessions(start.date(), end.date())
    rebalances = calendar.rebalance_sessions(start.date(), end.date(), nth)
    rows = [
        {
            "rebalance": day,
            "as_of": calendar.as_of(day),
            "instant": calendar.rebalance_instant(day).isoformat(),
        }
        for day in rebalances
    ]
    if as_json:
        print_json({"sessions": days, "rebalances": rows})
        return
    table = Table("Rebalance", "As-of", "Runs at", title=f"{len(days)} sessions, {len(rows)} rebalances")
    for row in rows:
        table.add_row(f"{row['rebalance']:%Y-%m-%d %a}", f"{row['as_of']:%Y-%m-%d %a}", str(row["instant"]))
    out.print(table)


@app.command("settings")
def settings_command(as_json: Json = False) -> None:
    """Print the settings in force, and the environment variable that sets each."""
    from apex_tasks.cli.settings_table import setting_rows

    settings = load_settings()
    if as_json:
        print_json(settings.model_dump(mode="json"))
        return
    table = Table("Setting", "Value", "Environment variable")
    for row in setting_rows(settings):
        table.add_row(row.name, row.value, row.variable)
    out.print(table)


@audit_app.command("verify")
def audit_verify(as_json: Json = False) -> None:
    """Check the audit trail and every published file against it; exit 3 when anything was changed."""
    from apex_tasks.published import audit
    from apex_tasks.store import Store

    store = Store(load_settings().home)
    report = audit.verify(store)
    if as_json:
        print_json({"records": report.records, "problems": report.problems})
    if report.problems:
        raise Refusal(
            f"the audit trail and the published portfolios disagree in {len(report.problems)} points",
            expected=f"{report.records} records that match what is published",
            received="; ".join(report.problems),
            where=store.root,
            remedy="Restore the named files from backup and find out who changed them.",
        )
    if not as_json:
        print(f"{report.records} records, everything as published: {store.root}")
