"""The commands that play a period through: `apex backtest` and `apex compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    PolicyOption,
    TopK,
    given_input,
    given_settings,
    write_result,
)
from apex_tasks.settings import ApexSettings, Sessions, Timing

if TYPE_CHECKING:
    import datetime as dt

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


@backtest_app.command("backtest")
def backtest_command(
    start: Day,
    end: Day,
    target: Out,
    bundle: Bundle = None,
    dataset: Dataset = None,
    timing: TimingOption = Timing.LIVE,
    sessions: SessionsOption = Sessions.TSE,
    policy: PolicyOption = None,
    capital: Capital = None,
    top_k: TopK = None,
    horizon: Horizon = None,
    normalization: NormalizationOption = None,
    features_mode: FeaturesModeOption = None,
    hysteresis: Hysteresis = None,
    neutralisation: Neutralisation = None,
    as_json: Json = False,
) -> None:
    """Play a period through: rebalances, daily states and performance."""
    from apex_tasks.backtesting.backtest import backtest, open_market
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.store import canonical_json

    settings = given_settings(
        top_k=top_k,
        horizon=horizon,
        normalization=normalization,
        features_mode=features_mode,
        policy=policy,
        capital=capital,
        hysteresis=hysteresis,
        neutralisation=neutralisation,
    )
    request = _request(bundle, dataset, start, end, timing, sessions, settings)
    with progress_bars() as progress:
        result = backtest(open_market(request, TseCalendar.load(), progress))
    write_result(target, canonical_json(result.model_dump(mode="json")), "the backtest")
    show({"result": target, **_summary(result)}, as_json, f"Backtest {request.start} to {request.end}")


@backtest_app.command("compare")
def compare_command(
    start: Day,
    end: Day,
    target: Out,
    bundle: Bundle = None,
    dataset: Dataset = None,
    timing: TimingOption = Timing.LIVE,
    sessions: SessionsOption = Sessions.TSE,
    capital: Capital = None,
    top_k: TopK = None,
    horizon: Horizon = None,
    normalization: NormalizationOption = None,
    features_mode: FeaturesModeOption = None,
    as_json: Json = False,
) -> None:
    """Play the policies and options through the same period, with differences to the baseline."""
    from apex_tasks.backtesting.backtest import open_market
    from apex_tasks.backtesting.compare import compare
    from apex_tasks.market.calendar import TseCalendar
    from apex_tasks.store import canonical_json

    settings = given_settings(
        top_k=top_k,
        horizon=horizon,
        normalization=normalization,
        features_mode=features_mode,
        capital=capital,
    )
    request = _request(bundle, dataset, start, end, timing, sessions, settings)
    with progress_bars() as progress:
        comparison = compare(open_market(request, TseCalendar.load(), progress))
    document = comparison.model_dump(mode="json")
    write_result(target, canonical_json(document), "the comparison")
    if as_json:
        print_json(document)
    else:
        show_comparison(comparison, f"{request.start} to {request.end}, {timing}")


def _request(
    bundle: str | None,
    dataset: str | None,
    start: dt.datetime,
    end: dt.datetime,
    timing: Timing,
    sessions: Sessions,
    settings: ApexSettings,
) -> BacktestRequest:
    from apex_tasks.backtesting.backtest import BacktestRequest

    return BacktestRequest(
        bundle=given_input("bundle", bundle, settings.bundle),
        dataset=given_input("dataset", dataset, settings.dataset),
        start=start.date(),
        end=end.date(),
        timing=timing,
        sessions=sessions,
        settings=settings,
    )


def _summary(result: BacktestResult) -> dict[str, Any]:
    return {
        **({"synthetic": True} if result.synthetic else {}),
        "sessions": f"{len(result.daily)} from {result.daily[0].date} to {result.daily[-1].date}",
        "rebalances": len(result.rebalances),
        "failed_attempts": len(result.failed_attempts),
        **result.performance.model_dump(mode="json"),
        "warnings": list(result.warnings),
    }
