"""The book that a month starts from: what the one before really became."""

from __future__ import annotations

import datetime as dt
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.backtesting.backtest import BacktestRequest, open_market, replay
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.published.ledger import read_published_ledger
from apex_tasks.published.portfolio import last_published_before, published_dates
from apex_tasks.refusal import DatasetUnsound, Refusal, ThresholdBroken
from apex_tasks.settings import Fault, JudgementSettings, PortfolioSettings
from apex_tasks.store import Store
from tests.support import oracle_portfolio
from tests.support.month_reading import book, run_document, table
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    CALENDAR,
    JULY,
    LAST_SESSION,
    OCTOBER,
    REBALANCES,
    SEPTEMBER,
    SmallMarket,
    home_after,
    portfolio,
    published_bytes,
    replaced,
    run,
    small_settings,
    write_table,
)


def settled_by_hand(market: SmallMarket, previous: dict, fill: dt.date, as_of: dt.date) -> tuple[dict, float]:
    """Shares and cash after the ordered shares were traded at the fill day's closes, and the value at as-of."""
    shares = {code: held["shares"] for code, held in previous["before"]["positions"].items()}
    cash = previous["before"]["cash_jpy"]
    for order in previous["orders"]["rows"]:
        row = market.prices.loc[(fill, order["code"])]
        value = order["shares"] * row["Close"]
        cost = oracle_portfolio.cost(value, row["TurnoverValue"])
        if order["side"] == "BUY":
            shares[order["code"]] = shares.get(order["code"], 0.0) + order["shares"]
            cash -= value + cost
        else:
            shares[order["code"]] -= order["shares"]
            cash += value - cost
            if shares[order["code"]] < 1e-6:
                del shares[order["code"]]
    values = {code: number * market.prices.loc[(as_of, code)]["Close"] for code, number in shares.items()}
    total = cash + sum(values.values())
    return {code: value / total for code, value in values.items()}, total


@pytest.mark.parametrize(("before", "now"), list(pairwise(REBALANCES)))
def test_weights_before_are_the_parents_book_settled_by_hand(
    market: SmallMarket, chain: Path, before: dt.date, now: dt.date
) -> None:
    weights, value = settled_by_hand(market, book(chain, before), before, AS_OF[now])
    current = book(chain, now)["before"]
    assert current["portfolio_value_jpy"] == pytest.approx(value, rel=1e-12)
    assert run_document(chain, now)["metrics"]["portfolio_value_jpy"] == pytest.approx(value, rel=1e-12)
    published = {
        code: held["shares"] * held["last_price_jpy"] / current["portfolio_value_jpy"]
        for code, held in current["positions"].items()
    }
    assert published == pytest.approx(weights, rel=1e-12)
    held = table(chain, now, "portfolio.csv").query("weight_before > 0").set_index("code")["weight_before"]
    assert {code: weights[code] for code in held.index} == pytest.approx(held.to_dict(), rel=1e-12)
    orders = table(chain, now, "orders.csv").set_index("code")["weight_before"]
    assert orders.to_dict() == pytest.approx(
        {code: weights.get(code, 0.0) for code in orders.index}, rel=1e-12
    )


def test_the_first_month_starts_from_cash(chain: Path) -> None:
    before = book(chain, JULY)["before"]
    assert before["positions"] == {}
    assert before["cash_jpy"] == 10_000_000.0


def test_a_gap_is_refused_unless_it_starts_from_cash(market: SmallMarket, tmp_path: Path) -> None:
    with pytest.raises(Refusal) as none_at_all:
        run(market, tmp_path, JULY)
    assert none_at_all.value.received == "none at all"
    assert "cold_start" in none_at_all.value.remedy
    run(market, tmp_path, JULY, cold_start=True)
    with pytest.raises(Refusal) as gap:
        run(market, tmp_path, SEPTEMBER)
    assert gap.value.received == "the last one is 2025-07-01/v1"
    assert gap.value.expected == "a portfolio published for 2025-08-01 or later"
    assert published_dates(Store(tmp_path)) == [JULY]
    plan, _ = run(market, tmp_path, SEPTEMBER, cold_start=True)
    assert plan.parent is None
    assert plan.portfolio_value_jpy == 10_000_000.0


def test_cold_start_is_no_way_around_an_existing_book(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home_after(chain, tmp_path, AUGUST)
    plan, _ = run(market, tmp_path, SEPTEMBER, cold_start=True)
    assert plan.parent == "2025-08-01/v1"


def test_an_earlier_month_run_again_starts_from_its_own_parent(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path, JULY, AUGUST, SEPTEMBER)
    plan, published = run(market, home, AUGUST)
    assert plan.parent == "2025-07-01/v1"
    assert published is not None
    assert published.already_published


def test_a_republished_parent_is_the_newest_version(market: SmallMarket, tmp_path: Path) -> None:
    run(market, tmp_path, JULY, cold_start=True)
    run(market, tmp_path, JULY, cold_start=True, top_k=36, republish_reason="wider")
    found = last_published_before(Store(tmp_path), AUGUST)
    assert found is not None
    assert found.name == "2025-07-01/v2"
    plan, _ = run(market, tmp_path, AUGUST)
    assert plan.parent == "2025-07-01/v2"


def test_a_month_published_from_cash_is_repeated_from_cash(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path / "home", JULY)
    before = published_bytes(home)
    _, again = run(market, home, JULY)  # as the schedule does once the DAG is unpaused
    assert again is not None
    assert again.already_published
    assert {name: data for name, data in published_bytes(home).items() if "trail" not in name} == before
    with pytest.raises(Refusal, match="no book to start from"):
        run(market, home, SEPTEMBER)


def unpriced(market: SmallMarket, stocks: int, out: Path) -> Path:
    """The first stocks have no close on July's as-of session."""
    close = market.values("Close")
    first = set(sorted(set(market.codes))[:stocks])
    close[(market.dates == AS_OF[JULY]) & np.isin(market.codes, list(first))] = np.nan
    return market.changed(out, Close=close)


def test_too_few_candidates_break_the_critical_threshold(market: SmallMarket, tmp_path: Path) -> None:
    dataset = unpriced(market, 68, tmp_path / "52 left.parquet")
    lenient = small_settings(tmp_path, judgement=JudgementSettings(min_priced_ratio=0.1))
    with pytest.raises(ThresholdBroken) as broken:
        run(market, tmp_path, JULY, lenient, dataset=str(dataset), cold_start=True)
    assert broken.value.exit_code == 4
    assert broken.value.expected == "not apex_selected_count < 53"
    assert broken.value.received == "apex_selected_count = 52"
    assert published_bytes(tmp_path) == {}
    enough = unpriced(market, 67, tmp_path / "53 left.parquet")
    run(market, tmp_path, JULY, lenient, dataset=str(enough), cold_start=True)
    assert run_document(tmp_path, JULY)["metrics"]["apex_selected_count"] == 53


def split(market: SmallMarket, code: str, first: dt.date, ratio: float, out: Path) -> Path:
    """The stock splits: from `first` on its close is divided, earlier adjusted closes follow."""
    close, adjusted, volume = (market.values(name) for name in ("Close", "AdjustmentClose", "Volume"))
    mine, after = market.codes == code, market.dates >= first
    close[mine & after] /= ratio
    volume[mine & after] *= ratio
    adjusted[mine] /= ratio
    return market.changed(out, Close=close, AdjustmentClose=adjusted, Volume=volume)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [AUGUST, dt.date(2025, 8, 15), AS_OF[SEPTEMBER]],
    ids=["on the fill day", "between the months", "on the as-of day"],
)
@pytest.mark.parametrize("ratio", [2.0, 0.1])
def test_a_split_does_not_change_what_the_portfolio_is_worth(
    market: SmallMarket, chain: Path, tmp_path: Path, first: dt.date, ratio: float
) -> None:
    bought = table(chain, AUGUST, "orders.csv").query("side == 'BUY'")["code"].iloc[0]
    dataset = split(market, bought, first, ratio, tmp_path / "split.parquet")
    run(market, home_after(chain, tmp_path / "home", AUGUST), SEPTEMBER, dataset=str(dataset))
    before, plain = book(tmp_path / "home", SEPTEMBER)["before"], book(chain, SEPTEMBER)["before"]
    assert before["portfolio_value_jpy"] == pytest.approx(plain["portfolio_value_jpy"], rel=1e-12)
    assert before["positions"][bought]["shares"] == pytest.approx(
        plain["positions"][bought]["shares"] * ratio, rel=1e-12
    )


def test_an_unadjusted_split_does_change_it(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    held = next(iter(book(chain, SEPTEMBER)["before"]["positions"]))
    close = market.values("Close")
    close[(market.codes == held) & (market.dates >= dt.date(2025, 8, 15))] /= 2
    dataset = market.changed(tmp_path / "unadjusted.parquet", Close=close, AdjustmentClose=close)
    home = home_after(chain, tmp_path / "home", AUGUST)
    with pytest.raises(DatasetUnsound, match=f"held or ordered names.*{held}"):
        run(market, home, SEPTEMBER, dataset=str(dataset))
    accepted = JudgementSettings(accepted_moves=(f"{held}@2025-08-15",))
    run(market, home, SEPTEMBER, small_settings(home, judgement=accepted), dataset=str(dataset))
    assert (
        book(tmp_path / "home", SEPTEMBER)["before"]["portfolio_value_jpy"]
        < book(chain, SEPTEMBER)["before"]["portfolio_value_jpy"] - 10_000
    )


SUSPENDED_UNTIL = dt.date(2025, 9, 16)


def suspended(market: SmallMarket, code: str, ratio: float, out: Path, *, rows: bool) -> Path:
    """The stock does not trade from 3 July to 15 September, and comes back split; with or without rows meanwhile."""
    dataset = split(market, code, SUSPENDED_UNTIL, ratio, out)
    table = pq.read_table(dataset)
    gone = (market.codes == code) & (market.dates > dt.date(2025, 7, 2)) & (market.dates < SUSPENDED_UNTIL)
    if rows:
        columns = {
            name: np.where(gone, np.nan, table[name].to_numpy()) for name in ("Close", "AdjustmentClose")
        }
        return write_table(replaced(table, **columns), out)
    return write_table(table.filter(pa.array(~gone)), out)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("ratio", [2.0, 0.1])
def test_a_split_in_a_suspension_longer_than_the_price_window_keeps_the_value(
    market: SmallMarket, tmp_path: Path, ratio: float, rows: bool
) -> None:
    """70 days of prices before October's as-of session do not hold the last price before the suspension."""
    home = tmp_path / "home"
    # Without a close the stock is no candidate; short steps keep a part of what is held of it.
    settings = small_settings("unused", portfolio=PortfolioSettings(turnover_limit=0.01))
    run(market, home, JULY, settings, cold_start=True)
    code = table(home, JULY, "orders.csv")["code"].iloc[0]
    plain = suspended(market, code, 1.0, tmp_path / "plain.parquet", rows=rows)
    dataset = suspended(market, code, ratio, tmp_path / "split.parquet", rows=rows)
    for month in (AUGUST, SEPTEMBER):
        run(market, home, month, settings, dataset=str(plain))
    shutil.copytree(home, tmp_path / "other")
    run(market, tmp_path / "other", OCTOBER, settings, dataset=str(plain))
    run(market, home, OCTOBER, settings, dataset=str(dataset))
    found, expected = (book(folder, OCTOBER)["before"] for folder in (home, tmp_path / "other"))
    assert expected["positions"][code]["price_date"] == str(AS_OF[OCTOBER])
    assert found["positions"][code]["shares"] == pytest.approx(
        expected["positions"][code]["shares"] * ratio, rel=1e-12
    )
    assert found["portfolio_value_jpy"] == pytest.approx(expected["portfolio_value_jpy"], rel=1e-12)
    # The ledger of the published months, and a backtest of the same months, look back as far.
    ledger = read_published_ledger(Store(home), open_dataset(dataset))
    other = read_published_ledger(Store(tmp_path / "other"), open_dataset(plain))
    assert [day.book.portfolio_value_jpy for day in ledger.days] == pytest.approx(
        [day.book.portfolio_value_jpy for day in other.days], rel=1e-12
    )
    values = [
        [
            day.book.portfolio_value_jpy
            for day in replay(
                open_market(
                    BacktestRequest(
                        bundle=str(market.bundle),
                        dataset=str(path),
                        start=JULY,
                        end=LAST_SESSION,
                        settings=settings,
                    ),
                    CALENDAR,
                ),
                settings,
            ).days
        ]
        for path in (dataset, plain)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("missing", [60, 59])
def test_the_price_of_another_company_is_not_that_of_held_shares(
    market: SmallMarket, tmp_path: Path, missing: int
) -> None:
    """A held code is without a row for a while and comes back at 7 times its price."""
    home = tmp_path / "home"
    settings = small_settings("unused", portfolio=PortfolioSettings(turnover_limit=0.01))
    run(market, home, JULY, settings, cold_start=True)
    code = table(home, JULY, "orders.csv")["code"].iloc[0]
    sessions = sorted(set(market.dates))
    last = sessions.index(JULY)
    gone = (market.codes == code) & np.isin(market.dates, sessions[last + 1 : last + 1 + missing])
    later = (market.codes == code) & (market.dates > sessions[last + missing])
    prices = {name: market.values(name) * np.where(later, 7.0, 1.0) for name in ("Close", "AdjustmentClose")}
    changed = replaced(market.table, **prices).filter(pa.array(~gone))
    dataset = write_table(changed, tmp_path / "d.parquet")
    for month in (AUGUST, SEPTEMBER, OCTOBER):
        run(market, home, month, settings, dataset=str(dataset))
    position = book(home, OCTOBER)["before"]["positions"][code]
    told = [warning for warning in run_document(home, OCTOBER)["warnings"] if "came back as other" in warning]
    days = read_published_ledger(Store(home), open_dataset(dataset), AS_OF[OCTOBER]).days
    assert days[-1].book.portfolio_value_jpy == pytest.approx(
        book(home, OCTOBER)["before"]["portfolio_value_jpy"], rel=1e-12
    )
    if missing == 60:
        assert position["price_date"] == str(JULY)
        assert told == [
            f"1 held codes came back as other stocks, and the shares of the old ones keep their last price: {code}"
        ]
    else:
        assert position["price_date"] == str(AS_OF[OCTOBER])
        assert told == []


def without_row(market: SmallMarket, code: str, day: dt.date, out: Path) -> Path:
    return write_table(market.table.filter(pa.array(~((market.codes == code) & (market.dates == day)))), out)


def test_a_buy_that_was_not_filled_is_told_and_not_held(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    bought = table(chain, JULY, "orders.csv")["code"].iloc[0]
    dataset = without_row(market, bought, JULY, tmp_path / "gap.parquet")
    run(market, home_after(chain, tmp_path / "home", JULY), AUGUST, dataset=str(dataset))
    document = run_document(tmp_path / "home", AUGUST)
    assert document["warnings"] == [f"1 buys of {JULY} were not filled, no close that day: {bought}"]
    assert bought not in book(tmp_path / "home", AUGUST)["before"]["positions"]
    assert bought.encode() in portfolio(tmp_path / "home", AUGUST).read_bytes("report.html")


def test_a_held_stock_without_a_close_is_told_and_valued_at_its_last(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    held = table(chain, JULY, "portfolio.csv")["code"].iloc[0]
    dataset = without_row(market, held, AS_OF[AUGUST], tmp_path / "gap.parquet")
    run(market, home_after(chain, tmp_path / "home", JULY), AUGUST, dataset=str(dataset))
    warnings = run_document(tmp_path / "home", AUGUST)["warnings"]
    assert any(f"1 held stocks have no close on {AS_OF[AUGUST]}" in message for message in warnings)
    last = book(tmp_path / "home", AUGUST)["before"]["positions"][held]
    day = dt.date.fromisoformat(last["price_date"])
    assert JULY <= day < AS_OF[AUGUST]
    assert last["last_price_jpy"] == market.prices.loc[(day, held)]["Close"]


def test_without_closes_of_the_fill_day_the_orders_count_as_estimated(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    close = market.values("Close")
    close[market.dates == JULY] = np.nan
    dataset = market.changed(tmp_path / "no fills.parquet", Close=close)
    home = home_after(chain, tmp_path / "home", JULY)
    told = JudgementSettings(warn_only=(Fault.SESSIONS_UNPRICED,))
    run(market, home, AUGUST, small_settings(home, judgement=told), dataset=str(dataset))
    assert run_document(home, AUGUST)["warnings"] == [
        f"sessions_unpriced: 1 sessions have rows and no close: {JULY}",
        f"no closes of {JULY} in the dataset: last month's orders count as estimated",
    ]
    assert {
        code: held["shares"] for code, held in book(chain, JULY)["orders"]["book"]["positions"].items()
    } == {
        code: held["shares"] for code, held in book(tmp_path / "home", AUGUST)["before"]["positions"].items()
    }


def test_a_foreign_folder_among_the_portfolios_is_refused(market: SmallMarket, tmp_path: Path) -> None:
    (tmp_path / "portfolio" / "backup of July").mkdir(parents=True)
    with pytest.raises(Refusal, match=r"is unexpected.*backup of July"):
        run(market, tmp_path, JULY, cold_start=True)
