"""The command of the API: `apex serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apex_tasks.cli.options import Dataset, Horizon, given_input, given_settings
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings

if TYPE_CHECKING:
    from apex_tasks.web.predictions.inputs import InputSource

serve_app = typer.Typer()


@serve_app.command("serve")
def serve_command(
    model: Annotated[
        str | None,
        typer.Option(
            envvar="APEX_MODEL",
            help="Bundle: folder, tar.gz, or the checkpoint inside an unpacked one. Default: APEX_BUNDLE.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(envvar="APEX_CONFIG", help="Config that the bundle must hold, byte for byte."),
    ] = None,
    dataset: Dataset = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(envvar="PANEL_CACHE_DIR", help="Folder of panels and scores. Default: serve.cache_dir."),
    ] = None,
    use_cache: Annotated[
        bool,
        typer.Option(
            "--cache/--no-cache",
            envvar="USE_CACHE",
            help="--no-cache (USE_CACHE=0) builds the panel for every request and keeps nothing.",
        ),
    ] = True,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: serve.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0: a free one. Default: serve.port.")
    ] = None,
    horizon: Horizon = None,
) -> None:
    """Serve predictions and published months over HTTP: /docs shows how to ask."""
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.web.predictions.inputs import InputSource
    from apex_tasks.web.server import serve

    settings = _with_options(
        given_settings(horizon=horizon),
        host=host,
        port=port,
        cache_dir=None if cache_dir is None else str(cache_dir),
    )
    source = InputSource(
        Path(given_input("bundle", model, settings.bundle)),
        Path(given_input("dataset", dataset, settings.dataset)),
        settings,
        TseCalendar.load(),
        config,
    )
    _require_config(source)
    serve(source, settings, use_cache=use_cache)


def _with_options(settings: ApexSettings, **given: object) -> ApexSettings:
    changes = {name: value for name, value in given.items() if value is not None}
    return settings.model_copy(update={"serve": settings.serve.model_copy(update=changes)})


def _require_config(source: InputSource) -> None:
    """End at once for a named model or config that is not the bundle's; other faults may be fixed while serving."""
    from apex_tasks.bundle import read_bundle
    from apex_tasks.web.predictions.inputs import bundle_of, require_named

    try:
        files = read_bundle(bundle_of(source.model), source.settings.bundle_limits)
    except Refusal as refusal:
        print(f"REFUSED {refusal}", file=sys.stderr)
        return
    require_named(files, source.model, source.config)
