"""A backtest: a period replayed with a bundle and a dataset."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from apex_tasks.backtesting.forecaster import Forecaster
from apex_tasks.backtesting.result import BacktestResult, summarize
from apex_tasks.backtesting.schedule import Rebalance, monthly_schedule, require_sessions
from apex_tasks.backtesting.scores import SessionScores
from apex_tasks.backtesting.simulation import Plan, Simulation, simulate_live, simulate_same_close
from apex_tasks.bundle import ResolvedBundle, read_bundle, resolve_bundle
from apex_tasks.bundle.checkpoint import load_checkpoint
from apex_tasks.dataset.features.feature_plan import SourceKind
from apex_tasks.dataset.judgement.judge import judge_prices
from apex_tasks.dataset.price_features.origin import LEVEL_FEATURES
from apex_tasks.dataset.prices.daily_prices import ADJUSTMENT, ADV, check_units, read_prices
from apex_tasks.dataset.prices.price_history import PRICE_HISTORY_DAYS, PriceHistory
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.dataset.risk_factors import RiskFactors
from apex_tasks.dataset.schema import ADJUSTMENT_CLOSE, CLOSE, CODE, DatasetFile, open_dataset
from apex_tasks.frozen_model import FrozenModel
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.portfolio.book import Book
from apex_tasks.portfolio.delisting import DELISTED_AFTER_SESSIONS
from apex_tasks.portfolio.monthly_plan import MonthlyPlan, Session, plan_month
from apex_tasks.portfolio.splits import MIN_SPLIT
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, SelectionSettings, Sessions, Timing


class BacktestRequest(FrozenModel):
    """What to replay.

    Attributes
    ----------
    bundle, dataset
        Paths or URLs of the inputs.
    start, end
        First and last day, both inclusive.
    timing
        `live`: decided at the as-of close, filled at the close of the rebalance day; `same_close`: v0.1.0's.
    sessions
        Whose calendar sets the rebalance days of `live`.
    settings
        Ranking, policy, options and initial capital.
    """

    bundle: str
    dataset: str
    start: dt.date
    end: dt.date
    timing: Timing = Timing.LIVE
    sessions: Sessions = Sessions.TSE
    settings: ApexSettings


@dataclass(frozen=True)
class Market:
    """What every variant of a backtest shares: the scores and prices of the period.

    Attributes
    ----------
    request
        The period and its inputs.
    bundle
        The resolved bundle.
    dataset
        The opened file.
    scores
        Whose opinion is traded: the bundle's, computed when it is first asked for, or any other.
    rule
        The candidate gate.
    calendar
        TSE sessions.
    progress
        Called with (description, done, total).
    """

    request: BacktestRequest
    bundle: ResolvedBundle
    dataset: DatasetFile
    scores: SessionScores
    rule: SelectionSettings
    calendar: TseCalendar
    progress: ReportProgress | None

    @cached_property
    def dataset_sha256(self) -> str:
        """Hash of the dataset file, the same for every variant."""
        return self.dataset.sha256

    @cached_property
    def days(self) -> list[dt.date]:
        """Dates of the dataset within the period."""
        return require_sessions(self.scores.days, self.request.start, self.request.end, self.dataset.path)

    @cached_property
    def schedule(self) -> list[Rebalance]:
        """Rebalances of live timing.

        Raises
        ------
        Refusal
            There is none.
        """
        request = self.request
        found = monthly_schedule(
            self.scores.days,
            request.start,
            request.end,
            sessions=request.sessions,
            calendar=self.calendar,
            nth_session=request.settings.schedule.nth_session,
        )
        if not found:
            raise Refusal(
                "the period has no rebalance day",
                expected="at least one, with the session before it in the dataset",
                received=f"{request.start} to {request.end}, dataset up to {self.scores.days[-1]}",
                where=self.dataset.path,
                remedy="Choose a longer period; `apex calendar` lists the rebalance days.",
            )
        return found

    @cached_property
    def risk_factors(self) -> RiskFactors:
        """Sectors and volatilities, read when they are first asked for."""
        return RiskFactors(self.dataset, self.bundle.plan)

    @cached_property
    def history(self) -> PriceHistory:
        """Prices of the period and of the days before it that the first rebalance looks back to."""
        first = self.days[0] - dt.timedelta(days=PRICE_HISTORY_DAYS)
        return PriceHistory(read_prices(self.dataset, first, self.days[-1]))

    def with_scores(self, scores: SessionScores, rule: SelectionSettings | None = None) -> Market:
        """The same market under another opinion, and another gate where one is given.

        Period, prices, costs, orders, fills and ledger stay what they are.
        """
        return replace(self, scores=scores, rule=rule or self.rule)


def open_market(
    request: BacktestRequest, calendar: TseCalendar, progress: ReportProgress | None = None
) -> Market:
    """Validate bundle and dataset, and find the sessions of the period.

    Raises
    ------
    Refusal
        Bundle or dataset are refused, or the dataset has no session in the period.
    """
    files = read_bundle(request.bundle, request.settings.bundle_limits)
    bundle = resolve_bundle(files, request.dataset, request.settings)
    checkpoint = load_checkpoint(files.contents[bundle.checkpoint_path], bundle.checkpoint_path)
    dataset = open_dataset(request.dataset, numeric=bundle.plan.columns)
    live = request.timing is Timing.LIVE
    forecaster = Forecaster(
        bundle,
        checkpoint.state_dict,
        dataset,
        request.end,
        request.settings,
        progress,
        new_history_after=request.settings.ranking.new_history_after_sessions if live else None,
    )
    return Market(request, bundle, dataset, forecaster, bundle.selection, calendar, progress)


def backtest(market: Market, settings: ApexSettings | None = None) -> BacktestResult:
    """Replay the period.

    Parameters
    ----------
    settings
        Policy and options of a variant; by default the request's own. Normalization, horizon and features stay
        the request's.

    Raises
    ------
    Refusal
        In live timing, a rebalance that cannot be planned; in both, a period without a single state.
    """
    request = market.request
    settings = settings or request.settings
    capital = settings.portfolio.initial_capital_jpy
    simulation = replay(market, settings)
    return summarize(
        simulation,
        capital_jpy=capital,
        synthetic=market.bundle.synthetic or market.dataset.synthetic,
        warnings=_warnings(market, simulation),
        settings={
            "start": str(request.start),
            "end": str(request.end),
            "timing": request.timing,
            "sessions": request.sessions if request.timing is Timing.LIVE else Sessions.DATASET,
            "capital_jpy": capital,
            **{
                name: getattr(settings, name).model_dump(mode="json")
                for name in ("schedule", "ranking", "portfolio", "enhanced")
            },
            "selection": market.rule.model_dump(mode="json"),
        },
        hashes={"dataset": market.dataset_sha256, **market.scores.hashes},
    )


def replay(market: Market, settings: ApexSettings) -> Simulation:
    """Trade the period with these settings, in the timing of the request; refuses what `backtest` refuses."""
    return _live(market, settings) if market.request.timing is Timing.LIVE else _same_close(market, settings)


def _live(market: Market, settings: ApexSettings) -> Simulation:
    end = market.days[-1]
    schedule = market.schedule
    _prepare(market, settings, [rebalance.as_of for rebalance in schedule])
    return simulate_live(
        schedule,
        _planner(market, settings),
        market.history,
        capital_jpy=settings.portfolio.initial_capital_jpy,
        end=end,
        on_month=_counter(market.progress, "Rebalancing", len(schedule)),
    )


def _same_close(market: Market, settings: ApexSettings) -> Simulation:
    days = market.days
    _prepare(market, settings, _first_of_months(days[:-1]))
    return simulate_same_close(
        days,
        _planner(market, settings),
        market.history,
        capital_jpy=settings.portfolio.initial_capital_jpy,
        on_session=_counter(market.progress, "Trading", len(days)),
    )


def _prepare(market: Market, settings: ApexSettings, sessions: Sequence[dt.date]) -> None:
    market.scores.prepare(sessions)
    if settings.enhanced.neutralisation:
        market.risk_factors.prepare(sessions)


def _first_of_months(days: Sequence[dt.date]) -> list[dt.date]:
    """The first date of each month: where a rebalance will be tried."""
    months: dict[tuple[int, int], dt.date] = {}
    for day in days:
        months.setdefault((day.year, day.month), day)
    return list(months.values())


def _planner(market: Market, settings: ApexSettings) -> Plan:
    def plan(book: Book, rebalance: Rebalance, known: PriceHistory) -> MonthlyPlan:
        session = Session(
            market.scores.ranked(rebalance.as_of),
            known.on(rebalance.as_of, CLOSE),
            known.on(rebalance.as_of, ADV),
            market.risk_factors.on(rebalance.as_of) if settings.enhanced.neutralisation else None,
        )
        return plan_month(book, session, settings, market.rule, rebalance.date)

    return plan


def _counter(progress: ReportProgress | None, description: str, total: int) -> Callable[[int], None]:
    return lambda done: progress(description, done, total) if progress else None


def _warnings(market: Market, simulation: Simulation) -> list[str]:
    """What a reader must know of the data before believing the figures."""
    warnings = check_units(market.history.frame, market.days[-1], market.dataset.path)
    last, end = market.days[-1], market.request.end
    if end > last and (missing := market.calendar.sessions(last + dt.timedelta(days=1), end)):
        warnings.append(f"the dataset ends on {last}, {len(missing)} TSE sessions before {end}")
    warnings += market.scores.warnings
    warnings += _dataset_warnings(market)
    warnings += _level_warnings(market)
    unfilled = [str(done.rebalance.date) for done in simulation.rebalances if done.fills is None]
    if unfilled:
        warnings.append(f"no closes in the dataset, orders count as estimated: {', '.join(unfilled)}")
    if delisted := simulation.delisted:
        live = market.request.timing is Timing.LIVE
        warnings.append(
            f"{len(delisted)} held names had no row for {DELISTED_AFTER_SESSIONS} sessions and "
            f"{'count as cash' if live else 'stay positions, as in v0.1.0,'} at their last price: "
            f"{_list((name.code, name.counted_as_cash_on) for name in delisted)}"
        )
    if splits := simulation.unadjusted_splits:
        warnings.append(
            f"{len(splits)} splits of held names are not adjusted for in same_close timing, as in v0.1.0: "
            f"{_list((code, day) for day, code in splits)}"
        )
    return warnings


def _dataset_warnings(market: Market) -> list[str]:
    """What the judgement says of the whole period; a backtest is told, and refused only what cannot be read."""
    first, last = market.days[0], market.days[-1]
    sessions = len(market.calendar.sessions(first, last))
    judgement = judge_prices(market.dataset, last, market.request.settings, market.calendar, sessions)
    return [str(fault) for fault in judgement.faults]


def _level_warnings(market: Market) -> list[str]:
    """Whether the scores may know splits that came after their dates: a file of today has them in its past."""
    levels = [
        source.feature
        for source in market.bundle.plan.sources
        if source.feature in LEVEL_FEATURES and source.kind is not SourceKind.ZERO
    ]
    scored_by_bundle = market.scores.hashes.get("checkpoint") == market.bundle.checkpoint_sha256
    if not levels or not scored_by_bundle:
        return []
    if market.dataset.has(ADJUSTMENT_CLOSE):
        frame = market.history.frame
        adjusted = frame.loc[(frame[ADJUSTMENT] - 1).abs() >= MIN_SPLIT, CODE].nunique()
        evidence = f"{adjusted} stocks have closes in the period that were adjusted later"
        if not adjusted:
            return []
    else:
        evidence = "the dataset has no AdjustmentClose to tell which stocks are concerned"
    return [
        f"{len(levels)} features are levels of adjusted closes ({', '.join(levels)}), and {evidence}: scores may "
        "know of splits after their date, which nobody knew live, and be better than they were"
    ]


def _list(dated_codes: Iterable[tuple[str, dt.date]]) -> str:
    return ", ".join(f"{code} ({day})" for code, day in dated_codes)
