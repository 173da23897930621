"""Out of sample: the model's portfolio and two benchmarks, through the same engine."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from apex_tasks.backtesting.backtest import BacktestRequest, Market, backtest, open_market
from apex_tasks.backtesting.result import BacktestResult
from apex_tasks.backtesting.scores import GivenScores
from apex_tasks.dataset.progress import ReportProgress
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.parameters import with_parameters
from apex_tasks.settings import (
    ApexSettings,
    MarketRules,
    Policy,
    PortfolioSettings,
    SelectionSettings,
    Sessions,
)
from apex_tasks.tables import csv_bytes
from real_data.benchmarks import equal_scores, momentum_scores

MODEL, MOMENTUM, EQUAL_WEIGHT = "model", "momentum", "equal_weight"
PORTFOLIOS = (MODEL, MOMENTUM, EQUAL_WEIGHT)
START, END = dt.date(2012, 1, 1), dt.date(2016, 12, 30)
"""The first fill is on the first session after START, decided at the close that ends the training."""
NAMES = 35
CAPITAL_JPY = 100_000_000.0
"""One million USD at the panel's rate: ten times production's, so that least commissions weigh little on 35 names."""
EVERYBODY = SelectionSettings(k_ratio=1.0, k_min=1)
"""A gate that lets all pass."""


def trading_settings(settings: ApexSettings) -> ApexSettings:
    """Production's policy, with the size and capital of the evaluation and every option off; US data, no limits."""
    generic = settings.judgement.model_copy(update={"market": MarketRules.GENERIC})
    return with_parameters(
        settings.model_copy(update={"judgement": generic}),
        {
            "top_k": NAMES,
            "policy": Policy.BASELINE,
            "capital": CAPITAL_JPY,
            "hysteresis": False,
            "neutralisation": False,
        },
    )


def equal_weight_settings(settings: ApexSettings, names: int) -> ApexSettings:
    """The settings under which the same policy holds all names at equal weights: no limit keeps it from that.

    Raises
    ------
    Refusal
        There are more names than a portfolio may have.
    """
    free = {"candidate_multiplier": 1.0, "min_weight": 0.0, "turnover_limit": 0.0}
    portfolio = PortfolioSettings(**{**settings.portfolio.model_dump(), **free})
    return with_parameters(settings, {"top_k": names}).model_copy(update={"portfolio": portfolio})


def replay_portfolios(
    bundle: Path,
    dataset: Path,
    settings: ApexSettings,
    *,
    start: dt.date = START,
    end: dt.date = END,
    progress: ReportProgress | None = None,
) -> dict[str, BacktestResult]:
    """Replay the period with model, momentum and equal weight, monthly, in live timing, on the data's own sessions.

    Parameters
    ----------
    settings
        Of the model and of momentum, whose only difference are the scores; equal weight has
        `equal_weight_settings` of them.

    Returns
    -------
    dict
        By the names of `PORTFOLIOS`.
    """
    request = BacktestRequest(
        bundle=str(bundle),
        dataset=str(dataset),
        start=start,
        end=end,
        sessions=Sessions.DATASET,
        settings=settings,
    )
    market = open_market(request, TseCalendar.load(), progress)
    as_of_dates = [rebalance.as_of for rebalance in market.schedule]
    momentum = momentum_scores(market.dataset, as_of_dates)
    equal = equal_scores(market.dataset, as_of_dates)
    names = max(len(table) for table in equal.values())
    return {
        MODEL: backtest(market),
        MOMENTUM: backtest(_under(market, momentum)),
        EQUAL_WEIGHT: backtest(_under(market, equal, EVERYBODY), equal_weight_settings(settings, names)),
    }


def _under(
    market: Market, scores: Mapping[dt.date, pd.DataFrame], rule: SelectionSettings | None = None
) -> Market:
    hashes = [hashlib.sha256(csv_bytes(table)).hexdigest() for table in scores.values()]
    digest = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return market.with_scores(GivenScores(scores, market.scores.days, hashes={"scores": digest}), rule)
