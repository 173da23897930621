"""The commands that replay a period: `apex backtest` and `apex compare`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from apex_tasks.cli.comparison import show_comparison
from apex_tasks.cli.display import print_json, progress_bars, show
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
    given_input,
    given_settings,
    write_result,
)
from apex_tasks.settings import Sessions, Timing

if TYPE_CHECKING:
    from apex_tasks.backtesting.backtest import BacktestRequest
    from apex_tasks.backtesting.result import BacktestResult

backtest_app = typer.Typer()

Out = Annotated[Path, typer.Option("--out", help="JSON file to write.")]
Capital = Annotated[float | None, typer.Option(help="Initial capital, JPY.")]
TimingOption = Annotated[
    Timing, typer.Option(help="live: as the monthly run trades; same_close: as v0.1.0 was measured.")
]
SessionsOption = Annotated[
    Sessions,
    typer.Option(help="Rebalance days of live timing: by the TSE calendar or the dataset's own dates."),
]
Hysteresis = Annotated[bool | None, typer.Option(help="A.3 instead of the gate.")]
Neutralisation = Annotated[bool | None, typer.Option(help="A.4 before ranking.")]


def replay_request(
    start: Day,
    end: Day,
    bundle: Bundle = None,
    dataset: Dataset = None,
    timing: TimingOption = Timing.LIVE,
    sessions: SessionsOption = Sessions.TSE,
    capital: Capital = None,
    top_k: TopK = None,
    horizon: Horizon = None,
    normalization: NormalizationOption = None,
    normalization_reason: NormalizationReason = None,
    features_mode: FeaturesModeOption = None,
    policy: PolicyOption = None,
    hysteresis: Hysteresis = None,
    neutralisation: Neutralisation = None,
) -> BacktestRequest:
    """The period and the settings of a replay; its parameters are the options of the commands."""
    from apex_tasks.backtesting.backtest import BacktestRequest

    settings = given_settings(
        top_k=top_k,
        horizon=horizon,
        normalization=normalization,
        normalization_reason=normalization_reason,
        features_mode=features_mode,
        policy=policy,
        capital=capital,
        hysteresis=hysteresis,
        neutralisation=neutralisation,
    )
    return BacktestRequest(
        bundle=given_input("bundle", bundle, settings.bundle),
        dataset=given_input("dataset", dataset, settings.dataset),
        start=start.date(),
        end=end.date(),
        timing=timing,
        sessions=sessions,
        settings=settings,
    )


VARIED = ("policy", "hysteresis", "neutralisation")
"""Options of `replay_request` that `apex compare` sets itself, one variant after the other."""


def _replay_command(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `replay_request`, and hand it the request in their place."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = [option for option in _options(replay_request) if option.name not in without]
        _, *own = _options(command)

        @functools.wraps(command)
        def run(**given: Any) -> None:
            request = replay_request(**{option.name: given.pop(option.name) for option in shared})
            command(request, **given)

        options = [*shared, *own]
        # Typer reads both.
        run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        run.__annotations__ = {option.name: option.annotation for option in options}
        return run

    return decorate


def _options(function: Callable[..., object]) -> list[inspect.Parameter]:
    hints = get_type_hints(function, localns={"BacktestRequest": object}, include_extras=True)
    return [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
    ]


@backtest_app.command("backtest")
@_replay_command()
def backtest_command(request: BacktestRequest, target: Out, as_json: Json = False) -> None:
    """Replay a period: rebalances, daily states and performance."""
    from apex_tasks.backtesting.backtest import backtest, open_market
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.store import canonical_json

    with progress_bars() as progress:
        result = backtest(open_market(request, TseCalendar.load(), progress))
    write_result(target, canonical_json(result.model_dump(mode="json")), "the backtest")
    show({"result": target, **_summary(result)}, as_json, f"Backtest {request.start} to {request.end}")


@backtest_app.command("compare")
@_replay_command(without=VARIED)
def compare_command(request: BacktestRequest, target: Out, as_json: Json = False) -> None:
    """Replay the same period with each policy and option, with differences to the baseline."""
    from apex_tasks.backtesting.backtest import open_market
    from apex_tasks.backtesting.compare import compare
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.store import canonical_json

    with progress_bars() as progress:
        comparison = compare(open_market(request, TseCalendar.load(), progress))
    document = comparison.model_dump(mode="json")
    write_result(target, canonical_json(document), "the comparison")
    if as_json:
        print_json(document)
    else:
        show_comparison(comparison, f"{request.start} to {request.end}, {request.timing}")


def _summary(result: BacktestResult) -> dict[str, Any]:
    return {
        **({"synthetic": True} if result.synthetic else {}),
        "sessions": f"{len(result.daily)} from {result.daily[0].date} to {result.daily[-1].date}",
        "rebalances": len(result.rebalances),
        "failed_attempts": len(result.failed_attempts),
        "delisted": len(result.delisted),
        **result.performance.model_dump(mode="json"),
        "warnings": list(result.warnings),
    }
