"""SYNTHETIC: how often the judgements of the live performance alarm on nothing, and how often on something real.

    make false-alarms
    python scripts/false_alarms.py drift

Everything is drawn from seeds. The first column says what is judged, `nothing` that nothing has changed: these rates
should be the stated ones. The figures are in docs/statistics.md.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from apex_tasks.performance.benchmarks import Benchmarks, Metric
from apex_tasks.performance.checks.drift import measure_drift, sessions_wanted
from apex_tasks.performance.checks.regime import market_changes
from apex_tasks.performance.deviation import DeviationVerdict, compare_with_benchmarks
from apex_tasks.performance.intervals import expected_intervals
from apex_tasks.settings import PerformanceSettings
from apex_tasks.statistics.bootstrap import bootstrap_interval
from apex_tasks.statistics.performance import Performance, annualized_sharpe, measure_performance

Array = npt.NDArray[np.float64]

SHARPE, VOLATILITY_PCT = 1.439, 1.0
BENCHMARK_SESSIONS = 442
BURN_IN = 500
FEATURES, STOCKS, FACTORS = 25, 200, 6


def independent(random: np.random.Generator, sessions: int) -> Array:
    """Normal returns of variance 1 without a mean."""
    return random.standard_normal(sessions)


def correlated(random: np.random.Generator, sessions: int) -> Array:
    """Student's t of 5 degrees of freedom, neighbors correlated by 0.2."""
    shocks = random.standard_t(5, sessions + BURN_IN) / math.sqrt(5 / 3)
    return np.asarray(lfilter([math.sqrt(1 - 0.2**2)], [1, -0.2], shocks)[BURN_IN:])


def clustered(random: np.random.Generator, sessions: int) -> Array:
    """GARCH(1, 1) with 0.06 and 0.92, Student's t of 8 degrees of freedom: calm and wild months."""
    shocks = random.standard_t(8, sessions + BURN_IN) / math.sqrt(8 / 6)
    found, variance = np.empty_like(shocks), 1.0
    for t, shock in enumerate(shocks):
        found[t] = math.sqrt(variance) * shock
        variance = 0.02 + 0.06 * found[t] ** 2 + 0.92 * variance
    return found[BURN_IN:]


LAWS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "independent": independent,
    "correlated": correlated,
    "clustered": clustered,
}


@dataclass(frozen=True)
class Rate:
    """How often something was judged to have changed."""

    judged: str
    truth: str
    law: str
    sessions: str
    alarms: int
    trials: int
    note: str = ""

    @property
    def share(self) -> float:
        """Alarms over trials."""
        return self.alarms / self.trials


def performance_of(returns_pct: Array) -> Performance:
    """Figures of a book with these returns after its first session."""
    values = 1e7 * np.concatenate([[1.0], np.cumprod(1 + returns_pct / 100)])
    return measure_performance(values, initial_capital_jpy=1e7, total_trades=0, total_cost_jpy=0.0)


def benchmarks_of(figures: Performance) -> Benchmarks:
    """Benchmarks of a period after the training."""
    return Benchmarks(
        {
            Metric.SHARPE: figures.sharpe_ratio or 0.0,
            Metric.RETURN: figures.total_return,
            Metric.DRAWDOWN: figures.max_drawdown,
            Metric.WIN_RATE: (figures.win_rate or 0.0) * 100,
        },
        dict.fromkeys((Metric.COSTS,), "none"),
        BENCHMARK_SESSIONS,
        "",
        "",
        (),
    )


def deviation_rate(
    law: str, sessions: int, trials: int, settings: PerformanceSettings, *, live_sharpe: float = SHARPE
) -> tuple[Rate, Rate]:
    """Books whose benchmark is another stretch of a law: any figure outside its interval, and any beyond 20 %."""
    random = np.random.default_rng([1, sessions, *law.encode()])
    draw, alarms, large = LAWS[law], 0, 0
    for _ in range(trials):
        past = VOLATILITY_PCT * (draw(random, BENCHMARK_SESSIONS) + SHARPE / math.sqrt(252))
        now = VOLATILITY_PCT * (draw(random, sessions) + live_sharpe / math.sqrt(252))
        benchmarks = benchmarks_of(performance_of(past))
        expected = expected_intervals(now, benchmarks, settings.false_alarm_rate)
        found = compare_with_benchmarks(performance_of(now), sessions, benchmarks, expected, settings)
        alarms += any(one.verdict is DeviationVerdict.DEVIATES for one in found)
        large += any(bool(one.large) for one in found)
    truth = "nothing" if live_sharpe == SHARPE else f"Sharpe ratio {live_sharpe:g} for {SHARPE:g}"
    stated = f"{settings.false_alarm_rate:.0%}"
    return (
        Rate("benchmarks, interval", truth, law, str(sessions), alarms, trials, stated),
        Rate("benchmarks, 20 % rule", truth, law, str(sessions), large, trials),
    )


def bootstrap_rate(law: str, sessions: int, trials: int, false_alarm_rate: float) -> Rate:
    """Percentile intervals of a book's Sharpe ratio that miss the true one: why nothing is judged by them."""
    random = np.random.default_rng([5, sessions, *law.encode()])
    alarms = 0
    for _ in range(trials):
        now = LAWS[law](random, sessions) + SHARPE / math.sqrt(252)
        found = bootstrap_interval(
            now, annualized_sharpe, seed=1, level=1 - false_alarm_rate, repetitions=1_000
        )
        alarms += not found.low <= SHARPE <= found.high
    stated = f"{false_alarm_rate:.0%}"
    return Rate("Sharpe ratio, bootstrap", "nothing", law, str(sessions), alarms, trials, stated)


def alarm_within_a_year(law: str, trials: int, settings: PerformanceSettings) -> Rate:
    """Books without any change that alarm on at least one of the sessions 60, 70 … 250."""
    random = np.random.default_rng([2, *law.encode()])
    draw, alarms = LAWS[law], 0
    for _ in range(trials):
        past = VOLATILITY_PCT * (draw(random, BENCHMARK_SESSIONS) + SHARPE / math.sqrt(252))
        now = VOLATILITY_PCT * (draw(random, 250) + SHARPE / math.sqrt(252))
        benchmarks = benchmarks_of(performance_of(past))
        alarms += any(
            found.verdict is DeviationVerdict.DEVIATES
            for until in range(60, 251, 10)
            for found in compare_with_benchmarks(
                performance_of(now[:until]),
                until,
                benchmarks,
                expected_intervals(now[:until], benchmarks, settings.false_alarm_rate),
                settings,
            )
        )
    return Rate("benchmarks, interval", "nothing", law, "any of 60 to 250", alarms, trials)


def regime_rate(
    law: str,
    before: int,
    sessions: int,
    trials: int,
    settings: PerformanceSettings,
    *,
    volatility: float = 1.0,
    sharpe: float = 0.5,
) -> Rate:
    """Markets that go on, with another volatility or mean return, or as before."""
    random = np.random.default_rng([3, before, sessions, *law.encode()])
    alarms = 0
    for _ in range(trials):
        returns = LAWS[law](random, before + sessions) + 0.5 / math.sqrt(252)
        returns[before:] = volatility * (returns[before:] + (sharpe - 0.5) / math.sqrt(252))
        alarms += bool(market_changes(returns[before:] / 100, returns[:before] / 100, settings))
    truth = "nothing"
    if volatility != 1:
        truth = f"volatility x {volatility:g}"
    elif sharpe != 0.5:
        truth = f"Sharpe ratio {sharpe:g} for 0.5"
    stated = f"{settings.check_false_alarm_rate:.0%}"
    return Rate("market regime", truth, law, f"{sessions} after {before}", alarms, trials, stated)


def cross_sections(
    random: np.random.Generator, sessions: int, persistence: float, features: int = FEATURES
) -> list[Array]:
    """Sessions of ``(n_stocks, n_features)``: a common move per session and feature, and the stocks about it.

    Moves follow a few common factors and persist from month to month; some features hardly move, and some by more
    than their stocks differ.
    """
    loadings = random.standard_normal((FACTORS, features))
    size = 0.5 * np.exp(random.standard_normal(features))
    shocks = random.standard_normal((sessions + 60, FACTORS)) @ loadings / math.sqrt(FACTORS)
    shocks += 0.5 * random.standard_normal(shocks.shape)
    moves = lfilter([math.sqrt(1 - persistence**2)], [1, -persistence], shocks, axis=0)[60:]
    return [move * size + random.standard_normal((STOCKS, features)) for move in moves]


def drift_rate(
    persistence: float,
    trials: int,
    settings: PerformanceSettings,
    *,
    features: int = FEATURES,
    move: float = 0.0,
) -> Rate:
    """Datasets in which any feature drifts; `move` shifts the newest session's steadiest feature, in its spreads."""
    random = np.random.default_rng([4, round(persistence * 100), features])
    names, alarms = [f"f{number}" for number in range(features)], 0
    for _ in range(trials):
        *earlier, now = cross_sections(random, sessions_wanted(settings) + 1, persistence, features)
        spread = np.std([session.mean(axis=0) for session in earlier], axis=0)
        now[:, int(spread.argmin())] += move
        alarms += bool(measure_drift(names, earlier, now, settings).drifted.any())
    truth = f"one feature moves by {move:g} spreads" if move else "nothing"
    law = f"moves persist by {persistence:g}"
    stated = f"{settings.check_false_alarm_rate:.0%}"
    return Rate(
        f"drift of {features}", truth, law, f"after {sessions_wanted(settings)}", alarms, trials, stated
    )


def benchmark_rates(settings: PerformanceSettings) -> Iterator[Rate]:
    """Rows of the deviations from benchmarks."""
    frequent = settings.model_copy(update={"false_alarm_rate": 0.05})
    for law in LAWS:
        for sessions in (60, 120, 250):
            yield from deviation_rate(law, sessions, 1_000, settings)
        yield alarm_within_a_year(law, 100, settings)
    for sessions in (60, 250):
        yield deviation_rate("clustered", sessions, 500, frequent)[0]
    for sessions in (60, 250):
        yield bootstrap_rate("independent", sessions, 500, settings.false_alarm_rate)
    for live_sharpe in (-1.0, -3.0, 6.0):
        for sessions in (60, 250):
            yield deviation_rate("clustered", sessions, 200, settings, live_sharpe=live_sharpe)[0]


def regime_rates(settings: PerformanceSettings) -> Iterator[Rate]:
    """Rows of the market regime."""
    for law in LAWS:
        for before, sessions in ((250, 60), (1_000, 60), (1_000, 250)):
            yield regime_rate(law, before, sessions, 500, settings)
    for volatility, sharpe in ((2.0, 0.5), (3.0, 0.5), (1.0, -4.0)):
        for sessions in (60, 250):
            yield regime_rate(
                "clustered", 1_000, sessions, 200, settings, volatility=volatility, sharpe=sharpe
            )


def drift_rates(settings: PerformanceSettings) -> Iterator[Rate]:
    """Rows of the drift of features."""
    for persistence in (0.0, 0.5, 0.9):
        yield drift_rate(persistence, 300, settings)
    for move in (1.0, 2.0):
        yield drift_rate(0.5, 20, settings, move=move)


TABLE = {"benchmarks": benchmark_rates, "regime": regime_rates, "drift": drift_rates}


def main() -> None:
    """Print the table, or the parts of it that are named."""
    wanted = sys.argv[1:] or list(TABLE)
    print("SYNTHETIC: shares of seeded trials that alarm, with the binomial standard error")
    print(f"{'judged':24}{'changed':30}{'law':24}{'sessions':22}{'stated':>7}{'alarms':>16}")
    for rate in itertools.chain.from_iterable(TABLE[part](PerformanceSettings()) for part in wanted):
        error = math.sqrt(max(rate.share * (1 - rate.share), 1 / rate.trials) / rate.trials)
        shown = f"{rate.share:.1%} +- {error:.1%}"
        print(
            f"{rate.judged:24}{rate.truth:30}{rate.law:24}{rate.sessions:22}{rate.note:>7}{shown:>16}",
            flush=True,
        )


if __name__ == "__main__":
    main()
