"""The command that judges a dataset: `apex dataset check`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from apex_tasks.cli.display import out, print_json, progress_bars, show
from apex_tasks.cli.options import Bundle, Dataset, Json, given_input, given_settings

if TYPE_CHECKING:
    from apex_tasks.dataset.judgement.faults import DatasetJudgement

dataset_app = typer.Typer(help="The dataset that months are made of.", no_args_is_help=True)


@dataset_app.callback()
def _group() -> None:
    """Keep `check` a command of its own, though it is the only one so far."""


@dataset_app.command("check")
def check_command(
    dataset: Dataset = None,
    bundle: Bundle = None,
    as_of: Annotated[
        dt.datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="Session to judge. Default: the newest with a close.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a dataset as a month would; exit 3 where it is refused. A bundle has its features judged too."""
    from apex_tasks.dataset.schema import open_dataset
    from apex_tasks.dataset.session_days import last_session
    from apex_tasks.market.calendar import tokyo_date

    settings = given_settings()
    file = open_dataset(given_input("dataset", dataset, settings.dataset))
    today = tokyo_date(dt.datetime.now(dt.UTC))
    day = as_of.date() if as_of is not None else last_session(file, today) or today
    with progress_bars() as progress:
        from apex_tasks.monthly.check_dataset import check_dataset

        judgement = check_dataset(file, day, bundle or settings.bundle, settings, progress)
    if as_json:
        print_json(judgement.model_dump(mode="json"))
    else:
        _show(judgement, str(file.path))
    judgement.require_sound(file.path)


def _show(judgement: DatasetJudgement, path: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    refused, told = len(judgement.stopping), len(judgement.warnings)
    show(
        {
            "Dataset": path,
            "As-of": judgement.as_of,
            "Sessions judged": judgement.sessions,
            "Rows, closes, volumes": f"{judgement.rows}, {judgement.priced}, {judgement.traded}",
            "Verdict": f"refused for {refused} faults"
            if refused
            else f"told of {told} faults"
            if told
            else "sound",
        },
        False,
        "Dataset",
    )
    if judgement.faults:
        table = Table("Fault", "Verdict", "Count", "What", title="Faults", title_justify="left")
        for fault in judgement.faults:
            verdict = "refused" if fault.stops else "told"
            table.add_row(fault.fault, verdict, str(fault.count), escape(fault.told))
        out.print(table)
