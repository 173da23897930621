"""A seeded, synthetic Tokyo market: prices on real TSE sessions, listings, splits, and a known signal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from apex_tasks.market.calendar import TseCalendar
from apex_tasks.market.price_limits import daily_limit_jpy
from apex_tasks.refusal import Refusal

Floats = NDArray[np.float64]

# TSE 33-sector codes with the rough number of companies listed in each, which sets how often one is drawn.
SECTORS: dict[str, int] = {
    "0050": 12, "1050": 6, "2050": 160, "3050": 125, "3100": 50, "3150": 25, "3200": 210, "3250": 75,
    "3300": 10, "3350": 18, "3400": 55, "3450": 42, "3500": 34, "3550": 92, "3600": 225, "3650": 240,
    "3700": 90, "3750": 50, "3800": 110, "4050": 28, "5050": 62, "5100": 12, "5150": 5, "5200": 37,
    "5250": 620, "6050": 310, "6100": 340, "7050": 80, "7100": 40, "7150": 15, "7200": 37, "8050": 150,
    "9050": 560,
}  # fmt: skip

# Price steps of the exchange: up to this price (JPY), in steps of this many JPY.
TICKS: tuple[tuple[float, float], ...] = (
    (3_000, 1), (5_000, 5), (30_000, 10), (50_000, 50), (300_000, 100), (500_000, 500),
    (np.inf, 1_000),
)  # fmt: skip

ALPHA_HALF_LIFE_SESSIONS = 90
ALPHA_DAILY_DRIFT = 0.08
"""Drift per session of a stock whose alpha is 1, in units of its own idiosyncratic volatility."""

LIMIT_USED = 0.98
"""Share of the daily limit that a move may take; the rest is room for ticks."""

MIN_STOCKS, MAX_STOCKS = 10, 6_000
MIN_SESSIONS, MAX_SESSIONS = 30, 5_000
LOT_SHARES = 100
_FIRST_LETTERED_CODES = date(2024, 1, 1)


@dataclass(frozen=True)
class SyntheticMarket:
    """One simulated market; every matrix is `(n_sessions, n_stocks)`, stocks in Code order.

    Attributes
    ----------
    sessions
        The TSE sessions, ascending.
    codes, sectors
        5-character code and 33-sector code, `(n_stocks,)`.
    listed
        True where the stock has a row: listed, not suspended, traded.
    open_jpy, close_jpy
        Prices as quoted, on the exchange's ticks.
    adjustment_close_jpy
        Close divided by all later split ratios.
    volume_shares
        Shares, whole lots of 100.
    turnover_jpy
        Volume times the mean of open and close.
    alpha
        The planted signal: the drift of the *next* session's return, standard normal across stocks.
    """

    sessions: tuple[date, ...]
    codes: NDArray[np.str_]
    sectors: NDArray[np.str_]
    listed: NDArray[np.bool_]
    open_jpy: Floats
    close_jpy: Floats
    adjustment_close_jpy: Floats
    volume_shares: Floats
    turnover_jpy: Floats
    alpha: Floats


def simulate_market(stocks: int, sessions: int, seed: int, end: date) -> SyntheticMarket:
    """Simulate a market that ends on `end`.

    A stock's log return is `beta * market + sector + own`, each fat-tailed (Student t) and together within the
    exchange's daily price limit, plus the drift
    `ALPHA_DAILY_DRIFT * own volatility * alpha` of the session before. `alpha` is a first-order
    autoregression with a half-life of `ALPHA_HALF_LIFE_SESSIONS`. About 5 % of the stocks list and 3 % leave
    during the simulation, 4 % are suspended once for 3 to 30 sessions, and one row in 2,000 is missing for
    want of a trade.

    Parameters
    ----------
    stocks, sessions
        Number of codes (those listed later and those that leave included) and of TSE sessions.
    seed
        The same arguments make the same market.
    end
        The last session.

    Raises
    ------
    Refusal
        A size out of range, a negative seed, or `end` is no TSE session.
    """
    _require_within("number of stocks", stocks, MIN_STOCKS, MAX_STOCKS)
    _require_within("number of sessions", sessions, MIN_SESSIONS, MAX_SESSIONS)
    _require_within("seed", seed, 0, 2**63 - 1)
    days = _sessions_up_to(end, sessions)
    # One independent stream per subject: a change in one does not reshuffle the others.
    listing, returns, quotes, latent = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)
    )
    first, last = _listing_spans(listing, stocks, sessions)
    codes, order = _codes(listing, np.array(days, dtype="datetime64[D]")[first], first)
    first, last = first[order], last[order]
    listed = _listed(listing, first, last, sessions)
    weights = np.array(list(SECTORS.values()), dtype=float)
    sector = listing.choice(len(SECTORS), size=stocks, p=weights / weights.sum())

    alpha = _autoregression(latent, sessions, stocks)
    own_volatility = 0.016 * np.exp(0.35 * listing.standard_normal(stocks))
    log_returns = (
        listing.normal(1.0, 0.25, stocks) * (0.0003 + 0.010 * _fat_tailed(returns, (sessions, 1)))
        + 0.005 * _fat_tailed(returns, (sessions, len(SECTORS)))[:, sector]
        + own_volatility * _fat_tailed(returns, (sessions, stocks))
    )
    log_returns[1:] += ALPHA_DAILY_DRIFT * own_volatility * alpha[:-1]

    # Levels are anchored at the first session: anchored later, an early price would reveal later returns.
    start_jpy = np.maximum(300.0, 1_600.0 * np.exp(0.8 * quotes.standard_normal(stocks)))
    later_splits = _later_splits(quotes, start_jpy * np.exp(log_returns[0]), sessions)
    log_returns = _within_daily_limits(log_returns, start_jpy, later_splits)
    path = np.log(start_jpy) + np.cumsum(log_returns, axis=0)
    close = _on_tick(np.exp(path) * later_splits)
    gap = 0.4 * log_returns + 0.3 * own_volatility * quotes.standard_normal((sessions, stocks))
    open_ = _on_tick(np.exp(path - log_returns + gap) * later_splits)

    adv_jpy = 10.0 ** np.clip(quotes.normal(8.4, 0.55, stocks), 7.2, 9.7)
    excitement = np.abs(log_returns) / own_volatility
    turnover = adv_jpy * np.exp(0.4 * quotes.standard_normal((sessions, stocks)) + 0.3 * (excitement - 0.9))
    average_price = (open_ + close) / 2
    volume = np.maximum(1.0, np.round(turnover / average_price / LOT_SHARES)) * LOT_SHARES
    return SyntheticMarket(
        sessions=days,
        codes=codes,
        sectors=np.array(list(SECTORS))[sector],
        listed=listed,
        open_jpy=open_,
        close_jpy=close,
        adjustment_close_jpy=close / later_splits,
        volume_shares=volume,
        turnover_jpy=volume * average_price,
        alpha=alpha,
    )


def _sessions_up_to(end: date, count: int) -> tuple[date, ...]:
    calendar = TseCalendar.load()
    calendar.require_session(end)
    days = [end]
    while len(days) < count:
        days.append(calendar.previous_session(days[-1]))
    return tuple(reversed(days))


def _listing_spans(
    rng: np.random.Generator, stocks: int, sessions: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last session index of each stock: never both in the middle, at least one of each."""
    first = np.zeros(stocks, dtype=np.int64)
    last = np.full(stocks, sessions - 1, dtype=np.int64)
    changing = rng.permutation(stocks)
    arriving, leaving = np.split(changing[: max(2, round(0.08 * stocks))], [max(1, round(0.05 * stocks))])
    first[arriving] = rng.integers(sessions // 10, sessions * 9 // 10, len(arriving))
    last[leaving] = rng.integers(sessions // 4, sessions * 9 // 10, len(leaving))
    return first, last


def _codes(
    rng: np.random.Generator, listing_day: NDArray[np.datetime64], first: NDArray[np.int64]
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Codes in order and the permutation that sorts the stocks by them; listings since 2024 have a letter."""
    stocks = len(first)
    lettered = (first > 0) & (listing_day >= np.datetime64(_FIRST_LETTERED_CODES))
    numbers = rng.choice(np.arange(1301, 9998), size=stocks, replace=False)
    codes = np.char.add(numbers.astype("U4"), "0")
    by_listing = np.flatnonzero(lettered)[np.argsort(first[lettered], kind="stable")]
    codes[by_listing] = np.char.add(np.arange(130, 130 + len(by_listing)).astype("U3"), "A0")
    order = np.argsort(codes, kind="stable")
    return codes[order], order


def _listed(
    rng: np.random.Generator, first: NDArray[np.int64], last: NDArray[np.int64], sessions: int
) -> NDArray[np.bool_]:
    at = np.arange(sessions)[:, None]
    stocks = len(first)
    suspended = rng.permutation(stocks)[: max(1, round(0.04 * stocks))]
    start = np.full(stocks, sessions)
    # A suspension ends before the last session, so that the as-of cross-section is a full one.
    start[suspended] = rng.integers(sessions // 5, sessions - 1, len(suspended))
    resume = np.minimum(start + rng.integers(3, 31, stocks), sessions - 1)
    traded = rng.random((sessions, stocks)) >= 0.0005
    return np.asarray((at >= first) & (at <= last) & ((at < start) | (at >= resume)) & traded)


def _autoregression(rng: np.random.Generator, sessions: int, stocks: int) -> Floats:
    persistence = 0.5 ** (1 / ALPHA_HALF_LIFE_SESSIONS)
    series = rng.standard_normal((sessions, stocks))
    series[1:] *= np.sqrt(1 - persistence**2)
    for session in range(1, sessions):
        series[session] += persistence * series[session - 1]
    return series


def _fat_tailed(rng: np.random.Generator, shape: tuple[int, int], degrees: float = 5.0) -> Floats:
    """Student t draws scaled to unit variance."""
    return rng.standard_t(degrees, shape) * np.sqrt((degrees - 2) / degrees)


def _within_daily_limits(log_returns: Floats, start_jpy: Floats, later_splits: Floats) -> Floats:
    """The same returns, none of them further than the exchange lets a price move in one session."""
    within = log_returns.copy()
    price = start_jpy * np.exp(within[0])
    for session in range(1, len(within)):
        base = price * later_splits[session]  # as the shares trade: on an ex-date adjusted for the split
        room = LIMIT_USED * daily_limit_jpy(base) / base
        within[session] = np.clip(within[session], np.log1p(-np.minimum(room, 0.9)), np.log1p(room))
        price *= np.exp(within[session])
    return within


def _later_splits(rng: np.random.Generator, first_price: Floats, sessions: int) -> Floats:
    """Product of the split ratios after each session; the dearest stocks split, one in sixty, once."""
    stocks = len(first_price)
    count = max(2, stocks // 60)
    dearest = np.argsort(-first_price, kind="stable")[: 3 * count]
    splitting = rng.choice(dearest, size=count, replace=False)
    effective = rng.integers(sessions // 3, sessions - 5, count)
    ratio = rng.choice([2.0, 3.0, 5.0], size=count)
    later = np.ones((sessions, stocks))
    later[:, splitting] = np.where(np.arange(sessions)[:, None] < effective, ratio, 1.0)
    return later


def _on_tick(price_jpy: Floats) -> Floats:
    bounds = [bound for bound, _ in TICKS]
    tick = np.array([step for _, step in TICKS])[np.searchsorted(bounds, price_jpy)]
    return np.asarray(np.maximum(tick, np.round(price_jpy / tick) * tick))


def _require_within(what: str, received: int, low: int, high: int) -> None:
    if not low <= received <= high:
        raise Refusal(
            f"{what} of the synthetic market is out of range",
            expected=f"{low} to {high}",
            received=received,
            where="demo data",
            remedy="Ask for a size within the range.",
        )
