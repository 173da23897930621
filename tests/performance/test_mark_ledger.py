"""The ledger against a loop by hand, over a market with a split, a dividend, a delisting and an unfilled buy."""

from __future__ import annotations

import datetime as dt
import io
import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.performance.mark_ledger import LedgerReference, mark_ledger
from apex_tasks.performance.request import PerformanceRequest
from apex_tasks.performance.stored_ledgers import LEDGERS
from apex_tasks.refusal import Refusal
from apex_tasks.store import Artifact, Store
from tests.support import oracle_portfolio
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    CALENDAR,
    JULY,
    LAST_SESSION,
    OCTOBER,
    SEPTEMBER,
    SmallMarket,
    home_after,
    portfolio,
    replaced,
    run,
    small_settings,
    write_table,
)

pytestmark = pytest.mark.slow

SPLIT_DAY, DIVIDEND_DAY, LAST_ROW = dt.date(2025, 7, 15), dt.date(2025, 7, 22), dt.date(2025, 8, 8)
YIELD = 0.01


def request(dataset: Path, until: dt.date = LAST_SESSION) -> PerformanceRequest:
    return PerformanceRequest(
        bundle=None, dataset=str(dataset), until=until, due=until, settings=small_settings("unused")
    )


def mark(home: Path, dataset: Path, until: dt.date = LAST_SESSION) -> tuple[LedgerReference, Artifact]:
    store = Store(home)
    reference = mark_ledger(request(dataset, until), store)
    return reference, store.get(LEDGERS, reference.name)


def table(artifact: Artifact, name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(artifact.read_bytes(name)), dtype={"code": str}, keep_default_na=False)


def orders(home: Path, rebalance: dt.date) -> list[dict[str, Any]]:
    return list(portfolio(home, rebalance).read_json("book.json")["orders"]["rows"])


# --- the eventful market ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Eventful:
    """Two published months, July and August, and what happens to four of their names."""

    home: Path
    dataset: Path
    split: str
    paying: str
    unfilled: str
    delisted: str
    dividend_jpy: float


@pytest.fixture(scope="module")
def eventful(market: SmallMarket, chain: Path, tmp_path_factory: pytest.TempPathFactory) -> Eventful:
    home = home_after(chain, tmp_path_factory.mktemp("eventful"), JULY)
    split, paying, unfilled = (row["code"] for row in orders(home, JULY)[:3])
    dates, codes = market.dates, market.codes
    close, adjusted = market.values("Close"), market.values("AdjustmentClose")
    after_split = (codes == split) & (dates >= SPLIT_DAY)
    close[after_split] /= 2
    adjusted[codes == split] = np.where(dates >= SPLIT_DAY, close, close / 2)[codes == split]
    cum = (codes == paying) & (dates == CALENDAR.previous_session(DIVIDEND_DAY))
    dividend = YIELD * float(close[cum][0])
    before = (codes == paying) & (dates < DIVIDEND_DAY)
    adjusted[before] = close[before] * (1 - YIELD)
    no_close = (codes == unfilled) & (dates == JULY)
    close[no_close] = adjusted[no_close] = math.nan
    changed = replaced(market.table, Close=close, AdjustmentClose=adjusted)
    dataset = write_table(changed, home / "dataset.parquet")
    run(market, home, AUGUST, dataset=str(dataset))
    held = portfolio(home, AUGUST).read_json("book.json")["orders"]["book"]["positions"]
    delisted = next(code for code in held if code not in (split, paying, unfilled))
    gone = (codes == delisted) & (dates > LAST_ROW)
    dataset = write_table(changed.filter(pa.array(~gone)), home / "dataset.parquet")
    return Eventful(home, dataset, split, paying, unfilled, delisted, dividend)


@dataclass
class ByHand:
    """A book kept in plain numbers."""

    cash: float = 10_000_000.0
    shares: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def value(self) -> float:
        return self.cash + sum(self.shares[code] * self.last[code] for code in sorted(self.shares))

    def fill(self, rows: list[dict[str, Any]], prices: dict[str, Any]) -> tuple[float, list[str]]:
        """Trade at the closes of the day: cost, and the buys that had none."""
        paid, missed = 0.0, []
        for row in rows:
            code, number = row["code"], row["shares"]
            close = prices.get(code, {}).get("Close", math.nan)
            if math.isnan(close) and row["side"] == "BUY":
                missed.append(code)
                continue
            price = self.last[code] if math.isnan(close) else close
            volume = prices.get(code, {}).get("TurnoverValue", math.nan)
            fee = oracle_portfolio.cost(
                number * price, oracle_portfolio.volume(code, number * price, {code: volume})
            )
            sign = 1 if row["side"] == "BUY" else -1
            self.shares[code] = self.shares.get(code, 0.0) + sign * number
            self.cash -= sign * number * price + fee
            self.last[code] = price
            paid += fee
            if self.shares[code] <= 1e-6:
                del self.shares[code]
        return paid, missed


def test_every_session_is_that_of_a_loop_by_hand(eventful: Eventful) -> None:
    reference, artifact = mark(eventful.home, eventful.dataset)
    rows = pq.read_table(eventful.dataset, columns=["Date", "Code", "Close", "TurnoverValue"]).to_pylist()
    days: dict[dt.date, dict[str, Any]] = {}
    for row in rows:
        days.setdefault(row["Date"], {})[row["Code"]] = row
    book, expected, missed, delisted_since = ByHand(), [], [], None
    for number, day in enumerate(sorted(day for day in days if day >= JULY)):
        prices = days[day]
        if day == SPLIT_DAY:
            book.shares[eventful.split] *= 2
            book.last[eventful.split] /= 2
        dividends = eventful.dividend_jpy * book.shares[eventful.paying] if day == DIVIDEND_DAY else 0.0
        book.cash += dividends
        for code in book.shares:
            if code in prices:
                book.last[code] = prices[code]["Close"]
                book.seen[code] = number
        paid, unfilled = book.fill(orders(eventful.home, day), prices) if day in (JULY, AUGUST) else (0.0, [])
        for code in book.shares:
            if code in prices:
                book.seen[code] = number
        missed += unfilled
        absent = number - book.seen.get(eventful.delisted, number)
        cash = book.cash
        if absent >= 20:
            delisted_since = delisted_since or day
            cash += book.shares[eventful.delisted] * book.last[eventful.delisted]
        expected.append((str(day), book.value(), cash, paid, dividends, len(book.shares) - (absent >= 20)))

    daily = table(artifact, "daily.csv")
    assert reference.sessions == len(daily) == len(expected) == 70
    found = daily[["date", "portfolio_value", "cash", "cost_jpy", "dividends_jpy", "positions"]]
    for mine, theirs in zip(expected, found.itertuples(index=False), strict=True):
        assert mine[0] == theirs[0]
        assert list(theirs[1:]) == pytest.approx(list(mine[1:]), rel=1e-9, abs=1e-6)
    values = [row[1] for row in expected]
    returns = [0.0, *((now / then - 1) * 100 for then, now in pairwise(values))]
    assert daily["daily_return"].tolist() == pytest.approx(returns, rel=1e-6, abs=1e-9)

    assert missed == [eventful.unfilled]
    assert expected[-1][4] == 0.0
    assert delisted_since == dt.date(2025, 9, 8)
    ledger = artifact.read_json("ledger.json")
    [gone] = ledger["delisted"]
    assert (gone["code"], gone["counted_as_cash_on"], gone["last_price_date"]) == (
        eventful.delisted,
        str(delisted_since),
        str(LAST_ROW),
    )
    assert gone["value_jpy"] == pytest.approx(book.shares[eventful.delisted] * book.last[eventful.delisted])
    performance = ledger["performance"]
    assert performance["total_return"] == pytest.approx((expected[-1][1] / 1e7 - 1) * 100)
    assert performance["total_cost_jpy"] == pytest.approx(sum(row[3] for row in expected))
    assert ledger["dividends_jpy"] == pytest.approx(sum(row[4] for row in expected))


def test_the_events_are_noted(eventful: Eventful) -> None:
    _, artifact = mark(eventful.home, eventful.dataset)
    daily = table(artifact, "daily.csv").set_index("date")
    assert daily.loc[str(SPLIT_DAY), "split_codes"] == eventful.split
    assert (daily["split_codes"] != "").sum() == 1
    assert daily.loc["2025-09-08":, "delisted"].eq(eventful.delisted).all()
    assert daily.loc[:"2025-09-05", "delisted"].eq("").all()
    assert set(daily.loc[: str(AS_OF[AUGUST]), "portfolio"]) == {"2025-07-01/v1"}
    assert set(daily.loc[str(AUGUST) :, "portfolio"]) == {"2025-08-01/v1"}
    ledger = artifact.read_json("ledger.json")
    assert ledger["warnings"] == [
        f"2025-07-01/v1: not filled, no close that day: {eventful.unfilled}",
        f"{eventful.delisted} had no row for 20 sessions and counts as cash at its last price of 2025-08-08, "
        f"{ledger['delisted'][0]['last_price_jpy']:g} JPY",
    ]


def test_fills_and_months_add_up(eventful: Eventful) -> None:
    _, artifact = mark(eventful.home, eventful.dataset)
    fills, months = table(artifact, "fills.csv"), table(artifact, "months.csv")
    daily = table(artifact, "daily.csv").set_index("date")
    assert months["portfolio"].tolist() == ["2025-07-01/v1", "2025-08-01/v1"]
    assert months["filled_on"].tolist() == ["2025-07-01", "2025-08-01"]
    assert months["unfilled_buys"].tolist() == [eventful.unfilled, ""]
    for month in months.itertuples(index=False):
        mine = fills[fills["portfolio"] == month.portfolio]
        assert set(mine["date"]) == {month.filled_on}
        assert month.trades == len(mine)
        assert month.cost_jpy == pytest.approx(mine["cost_jpy"].sum())
        assert month.cost_jpy == pytest.approx(daily.loc[month.filled_on, "cost_jpy"])
        assert month.turnover == pytest.approx(mine["value_jpy"].sum() / month.value_before_jpy / 2)
    assert eventful.unfilled not in set(fills.loc[fills["date"] == "2025-07-01", "code"])


# --- the store ----------------------------------------------------------------------------------------------


def test_the_same_inputs_find_the_same_ledger_and_leave_the_same_bytes(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    months = (JULY, AUGUST, SEPTEMBER, OCTOBER)
    one, two = home_after(chain, tmp_path / "1", *months), home_after(chain, tmp_path / "2", *months)
    first, made = mark(one, market.dataset)
    copy = tmp_path / "delivered again.parquet"
    copy.write_bytes(market.dataset.read_bytes())
    again, _ = mark(one, copy, LAST_SESSION + dt.timedelta(days=3))  # a holiday and a weekend later
    elsewhere, other = mark(two, market.dataset)
    assert (first.cached, again.cached, elsewhere.cached) == (False, True, False)
    assert {first.name, again.name, elsewhere.name} == {f"{LAST_SESSION}-{first.name[-64:]}"}
    assert Store(one).names(LEDGERS) == [first.name]
    for file in (*made.manifest.files, "manifest.json"):
        assert (made.folder / file).read_bytes() == (other.folder / file).read_bytes()
    earlier, _ = mark(one, market.dataset, LAST_SESSION - dt.timedelta(days=1))
    assert (earlier.last_session, earlier.sessions) == (dt.date(2025, 10, 9), first.sessions - 1)


def test_a_republished_month_makes_another_ledger(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    home = home_after(chain, tmp_path, JULY, AUGUST)
    before, _ = mark(home, market.dataset)
    run(market, home, JULY, cold_start=True, top_k=30, republish_reason="smaller")
    after, artifact = mark(home, market.dataset)
    assert after.name != before.name
    [warning] = artifact.read_json("ledger.json")["warnings"]
    assert "it started from 2025-07-01/v1, and 2025-07-01/v2 was published later" in warning


def test_revised_prices_are_told(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    home = home_after(chain, tmp_path, JULY, AUGUST)
    closes = market.values("Close")
    closes[market.dates == AS_OF[AUGUST]] *= 1.01
    revised = market.changed(tmp_path / "revised.parquet", Close=closes, AdjustmentClose=closes)
    _, artifact = mark(home, revised)
    [warning] = artifact.read_json("ledger.json")["warnings"]
    assert warning.startswith("2025-08-01/v1 was published from a book of ")
    assert warning.endswith("the dataset has been revised since")


# --- months that are not filled -----------------------------------------------------------------------------


def test_a_month_published_this_morning_is_not_filled_yet(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path, JULY, AUGUST)
    reference, artifact = mark(home, cut(market, tmp_path, AS_OF[AUGUST]), AUGUST)
    assert (reference.last_session, reference.months) == (AS_OF[AUGUST], 2)
    ledger = artifact.read_json("ledger.json")
    assert ledger["last_marked"] == str(AS_OF[AUGUST])
    assert ledger["warnings"] == ["2025-08-01/v1: no closes of its day yet, its orders are not filled"]
    months = table(artifact, "months.csv")
    assert months["turnover"].tolist()[1] == ""
    assert ledger["performance"]["total_trades"] == float(months["trades"].tolist()[0])


def test_before_the_first_fill_there_is_nothing_to_measure(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path, JULY)
    reference, artifact = mark(home, cut(market, tmp_path, AS_OF[JULY]), JULY)
    assert (reference.sessions, reference.months) == (0, 1)
    ledger = artifact.read_json("ledger.json")
    assert (ledger["performance"], ledger["first_marked"]) == (None, None)
    assert len(table(artifact, "daily.csv")) == len(table(artifact, "fills.csv")) == 0


def test_a_fill_day_that_the_data_never_had_counts_as_estimated(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path, JULY)
    closes = market.values("Close")
    closes[market.dates == JULY] = math.nan
    dataset = market.changed(tmp_path / "d.parquet", Close=closes)
    _, artifact = mark(home, dataset, dt.date(2025, 7, 31))
    ledger, months = artifact.read_json("ledger.json"), table(artifact, "months.csv")
    assert ledger["warnings"] == ["2025-07-01/v1: no closes of its day, its orders count as estimated"]
    estimate = portfolio(home, JULY).read_json("book.json")["orders"]
    assert ledger["first_marked"] == "2025-07-02"
    assert ledger["performance"]["total_cost_jpy"] == pytest.approx(estimate["total_cost_jpy"])
    assert (months["filled_on"].tolist(), months["turnover"].tolist()) == ([""], [estimate["turnover"]])


@pytest.mark.parametrize("until", [AS_OF[JULY], dt.date(2000, 1, 4)])
def test_nothing_published_is_refused(market: SmallMarket, chain: Path, until: dt.date) -> None:
    with pytest.raises(Refusal, match="nothing is published"):
        mark(chain, market.dataset, until)


def cut(market: SmallMarket, folder: Path, last: dt.date) -> Path:
    """The dataset as it was after a session."""
    return write_table(market.table.filter(pa.array(market.dates <= last)), folder / f"to {last}.parquet")
