"""Options that several commands share, and how they become settings and files."""

from __future__ import annotations

import datetime as dt
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, FeaturesMode, Normalization, Policy, load_settings

if TYPE_CHECKING:
    from apex_tasks.monthly.approval import ApprovalAnswer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Bundle = Annotated[str | None, typer.Option(help="Bundle: folder or tar.gz. Default: APEX_BUNDLE.")]
Dataset = Annotated[str | None, typer.Option(help="Dataset: parquet file. Default: APEX_DATASET.")]
Horizon = Annotated[int | None, typer.Option(help="Forecast horizon in sessions: 1, 5, 10 or 20.")]
TopK = Annotated[int | None, typer.Option(help="Names to hold.")]
NormalizationOption = Annotated[Normalization | None, typer.Option(help="csz (production) or raw.")]
NormalizationReason = Annotated[
    str | None, typer.Option(help="Why features are normalized otherwise than in training.")
]
FeaturesModeOption = Annotated[FeaturesMode | None, typer.Option(help="What to do with missing features.")]
PolicyOption = Annotated[Policy | None, typer.Option(help="How weights follow from candidates.")]
Day = Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")]


def given_settings(**parameters: object) -> ApexSettings:
    """Settings in force, with the options that were given applied.

    Raises
    ------
    Refusal
        A value is out of range.
    """
    from apex_tasks.parameters import with_parameters

    return with_parameters(
        load_settings(), {name: value for name, value in parameters.items() if value is not None}
    )


def given_input(name: str, given: str | None, setting: str | None) -> str:
    """Path of the bundle or dataset: the option, else the setting.

    Raises
    ------
    Refusal
        Neither names one.
    """
    from apex_tasks.parameters import required_input

    return required_input(name, given or setting)


def approval_by(given: str) -> ApprovalAnswer:
    """The approval of `NAME` or `NAME: WHY`.

    Raises
    ------
    typer.BadParameter
        The name is empty.
    """
    from apex_tasks.monthly.approval import ApprovalAnswer, ApprovalOutcome, Person

    name, _, note = (part.strip() for part in given.partition(":"))
    if not name:
        raise typer.BadParameter("an approval needs a name", param_hint="--approve")
    return ApprovalAnswer(
        outcome=ApprovalOutcome.APPROVED, by=Person(id=name, name=name), at=dt.datetime.now(dt.UTC), note=note
    )


def user_name() -> str:
    """Name of the user who runs the command; the number where the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def write_result(target: Path, content: bytes, what: str) -> None:
    """Write a result file, all of it or none.

    Raises
    ------
    Refusal
        The place cannot be written.
    """
    from upath import UPath

    from apex_tasks.store import write_file

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(UPath(target), content)
    except OSError as error:
        raise Refusal(
            f"{what} cannot be written",
            expected="a writable place",
            received=error.strerror or type(error).__name__,
            where=target,
            remedy="Choose another --out.",
        ) from None
