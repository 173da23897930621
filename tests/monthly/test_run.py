"""A chain of months: each starts from what the one before really became, and from nothing newer than its as-of."""

from __future__ import annotations

import datetime as dt
import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from apex_tasks.monthly.run import run_month
from apex_tasks.published import audit
from apex_tasks.published.portfolio import last_published_before, published_dates
from apex_tasks.refusal import Refusal, ThresholdBroken
from apex_tasks.store import Store
from tests.support import bundle_factory, oracle_portfolio
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    FEATURE_COLUMNS,
    JULY,
    OCTOBER,
    REBALANCES,
    SEPTEMBER,
    SmallMarket,
    home_after,
    month,
    portfolio,
    published_bytes,
    replaced,
    run,
    write_table,
)


def book(home: Path, rebalance: dt.date) -> dict:
    return portfolio(home, rebalance).read_json("book.json")


def run_document(home: Path, rebalance: dt.date) -> dict:
    return portfolio(home, rebalance).read_json("run.json")


def table(home: Path, rebalance: dt.date, name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(portfolio(home, rebalance).read_bytes(name)), dtype={"code": str})


def results(home: Path, rebalance: dt.date) -> dict[str, bytes]:
    """All published bytes of a month that do not say when and where."""
    published = portfolio(home, rebalance)
    return {
        name: published.read_bytes(name) for name in published.manifest["files"] if name != "execution.json"
    }


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


def test_a_chain_is_published_and_clean(chain: Path) -> None:
    store = Store(chain)
    assert published_dates(store) == list(REBALANCES)
    assert audit.verify(store) == audit.AuditReport(4, ())
    parents = [run_document(chain, day)["parent"] for day in REBALANCES]
    assert parents[0] is None
    for before, parent in zip(REBALANCES, parents[1:], strict=False):
        assert parent == {"portfolio": f"{before}/v1", "content_hash": portfolio(chain, before).content_hash}


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


@pytest.mark.slow
def test_cold_start_is_no_way_around_an_existing_book(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home_after(chain, tmp_path, AUGUST)
    plan, _ = run(market, tmp_path, SEPTEMBER, cold_start=True)
    assert plan.parent == "2025-08-01/v1"


@pytest.mark.slow
def test_an_earlier_month_run_again_starts_from_its_own_parent(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    home = home_after(chain, tmp_path, JULY, AUGUST, SEPTEMBER)
    plan, published = run(market, home, AUGUST)
    assert plan.parent == "2025-07-01/v1"
    assert published is not None
    assert published.already_published


@pytest.mark.slow
def test_a_republished_parent_is_the_newest_version(market: SmallMarket, tmp_path: Path) -> None:
    run(market, tmp_path, JULY, cold_start=True)
    run(market, tmp_path, JULY, cold_start=True, top_k=36, republish_reason="wider")
    found = last_published_before(Store(tmp_path), AUGUST)
    assert found is not None
    assert found.name == "2025-07-01/v2"
    plan, _ = run(market, tmp_path, AUGUST)
    assert plan.parent == "2025-07-01/v2"


def scrambled_after(market: SmallMarket, last: dt.date, out: Path) -> Path:
    """Everything after a day is other: features, closes, volumes, sectors; some rows gone, some doubled."""
    random = np.random.default_rng(1)
    later = market.dates > last
    columns = {}
    for name in (*FEATURE_COLUMNS, "Close", "AdjustmentClose", "Volume", "TurnoverValue"):
        values = market.values(name)
        values[later] = random.permutation(values[later]) * random.choice([1e-3, 50.0, np.nan], later.sum())
        columns[name] = values
    changed = replaced(market.table, **columns)
    rows = np.arange(len(later))
    kept = np.concatenate([rows[~later], random.choice(rows[later], size=later.sum() // 2)])
    return write_table(changed.take(pa.array(kept)), out)


def without_after(market: SmallMarket, last: dt.date, out: Path) -> Path:
    return write_table(market.table.filter(pa.array(market.dates <= last)), out)


@pytest.mark.parametrize("future", [scrambled_after, pytest.param(without_after, marks=pytest.mark.slow)])
def test_nothing_after_the_as_of_session_changes_a_byte(
    market: SmallMarket, chain: Path, tmp_path: Path, future: object
) -> None:
    home = home_after(chain, tmp_path / "home", AUGUST)
    for day in (JULY, SEPTEMBER):
        dataset = future(market, AS_OF[day], tmp_path / f"{day}.parquet")  # type: ignore[operator]
        run(market, home, day, dataset=str(dataset), cold_start=day == JULY)
        for name, data in results(home, day).items():
            assert data == portfolio(chain, day).read_bytes(name), (day, name)


def test_rows_up_to_the_as_of_session_do_matter(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    # Without this the test above could pass on a run that reads nothing at all.
    dataset = scrambled_after(market, AS_OF[JULY] - dt.timedelta(days=20), tmp_path / "early.parquet")
    with pytest.raises(Refusal):  # the doubled rows are now within reach
        run(market, tmp_path / "home", JULY, dataset=str(dataset), cold_start=True)
    values = market.values("returns_5d")
    values[market.dates == AS_OF[JULY] - dt.timedelta(days=20)] *= -3  # the model skips the last 4 rows
    dataset = market.changed(tmp_path / "changed.parquet", returns_5d=values)
    run(market, tmp_path / "home", JULY, dataset=str(dataset), cold_start=True)
    assert portfolio(tmp_path / "home", JULY).sha256("scores.parquet") != portfolio(chain, JULY).sha256(
        "scores.parquet"
    )


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


def test_a_bundle_for_evaluation_only_is_never_published(market: SmallMarket, tmp_path: Path) -> None:
    draft = bundle_factory.Draft()
    draft.manifest["evaluation_only"] = True
    bundle = str(draft.folder(tmp_path / "bundle"))
    with pytest.raises(Refusal, match="for evaluation only"):
        run(market, tmp_path / "home", JULY, bundle=bundle, cold_start=True)
    assert published_bytes(tmp_path / "home") == {}
    plan, published = run(market, tmp_path / "home", JULY, bundle=bundle, cold_start=True, dry_run=True)
    assert (plan.positions, published) == (35, None)


def test_a_dry_run_publishes_nothing(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    plan, published = run(market, tmp_path, JULY, cold_start=True, dry_run=True)
    assert published is None
    assert published_bytes(tmp_path) == {}
    stored = Store(tmp_path).get("plans", plan.key)
    assert stored.read_bytes("portfolio.csv") == portfolio(chain, JULY).read_bytes("portfolio.csv")


def unpriced(market: SmallMarket, stocks: int, out: Path) -> Path:
    """The first stocks have no close on July's as-of session."""
    close = market.values("Close")
    first = set(sorted(set(market.codes))[:stocks])
    close[(market.dates == AS_OF[JULY]) & np.isin(market.codes, list(first))] = np.nan
    return market.changed(out, Close=close)


def test_too_few_candidates_break_the_critical_threshold(market: SmallMarket, tmp_path: Path) -> None:
    dataset = unpriced(market, 68, tmp_path / "52 left.parquet")
    with pytest.raises(ThresholdBroken) as broken:
        run(market, tmp_path, JULY, dataset=str(dataset), cold_start=True)
    assert broken.value.exit_code == 4
    assert broken.value.expected == "not apex_selected_count < 53"
    assert broken.value.received == "apex_selected_count = 52"
    assert published_bytes(tmp_path) == {}
    enough = unpriced(market, 67, tmp_path / "53 left.parquet")
    run(market, tmp_path, JULY, dataset=str(enough), cold_start=True)
    assert run_document(tmp_path, JULY)["metrics"]["apex_selected_count"] == 53


def without_stocks(market: SmallMarket, left: int, out: Path) -> Path:
    kept = sorted(set(market.codes))[:left]
    return write_table(market.table.filter(pa.array(np.isin(market.codes, kept))), out)


def test_too_few_eligible_stocks_are_refused(market: SmallMarket, tmp_path: Path) -> None:
    dataset = without_stocks(market, 79, tmp_path / "79.parquet")
    with pytest.raises(Refusal) as refused:
        run(market, tmp_path, JULY, dataset=str(dataset), cold_start=True)
    assert refused.value.received == "79"
    assert refused.value.expected.startswith("at least 80")
    assert refused.value.exit_code == 3
    run(
        market,
        tmp_path,
        JULY,
        dataset=str(without_stocks(market, 80, tmp_path / "80.parquet")),
        cold_start=True,
    )


@pytest.mark.slow
def test_an_archive_gives_the_same_bytes_as_its_folder(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    archive = bundle_factory.Draft().archive(tmp_path / "bundle.tar.gz")
    run(market, tmp_path / "home", JULY, bundle=str(archive), cold_start=True)
    assert results(tmp_path / "home", JULY) == results(chain, JULY)


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


@pytest.mark.slow
def test_an_unadjusted_split_does_change_it(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    held = next(iter(book(chain, SEPTEMBER)["before"]["positions"]))
    close = market.values("Close")
    close[(market.codes == held) & (market.dates >= dt.date(2025, 8, 15))] /= 2
    dataset = market.changed(tmp_path / "unadjusted.parquet", Close=close, AdjustmentClose=close)
    run(market, home_after(chain, tmp_path / "home", AUGUST), SEPTEMBER, dataset=str(dataset))
    assert (
        book(tmp_path / "home", SEPTEMBER)["before"]["portfolio_value_jpy"]
        < book(chain, SEPTEMBER)["before"]["portfolio_value_jpy"] - 10_000
    )


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_without_closes_of_the_fill_day_the_orders_count_as_estimated(
    market: SmallMarket, chain: Path, tmp_path: Path
) -> None:
    close = market.values("Close")
    close[market.dates == JULY] = np.nan
    dataset = market.changed(tmp_path / "no fills.parquet", Close=close)
    run(market, home_after(chain, tmp_path / "home", JULY), AUGUST, dataset=str(dataset))
    warnings = run_document(tmp_path / "home", AUGUST)["warnings"]
    assert warnings == [f"no closes of {JULY} in the dataset: last month's orders count as estimated"]
    assert {
        code: held["shares"] for code, held in book(chain, JULY)["orders"]["book"]["positions"].items()
    } == {
        code: held["shares"] for code, held in book(tmp_path / "home", AUGUST)["before"]["positions"].items()
    }


def test_non_finite_values_are_counted_told_and_published(market: SmallMarket, tmp_path: Path) -> None:
    values = market.values("rsi_14")
    in_window = np.flatnonzero(market.dates == AS_OF[JULY])
    values[in_window[:3]] = np.nan, np.inf, -np.inf
    dataset = market.changed(tmp_path / "nan.parquet", rsi_14=pa.array(values, from_pandas=False))
    run(market, tmp_path / "home", JULY, dataset=str(dataset), cold_start=True)
    document = run_document(tmp_path / "home", JULY)
    assert document["metrics"]["non_finite_cells"] == 3
    (warning,) = document["warnings"]
    assert warning == "3 NaN or infinite cells in 1 features were treated as missing: rsi_14"


def test_what_a_step_left_is_found_again(market: SmallMarket, tmp_path: Path) -> None:
    first = month(market, tmp_path, JULY, cold_start=True)
    handshake = first.validate_bundle()
    panel = first.build_panel(handshake)
    scores = first.infer(handshake, panel)
    assert (panel.cached, scores.cached) == (False, False)
    again = first.build_panel(handshake)
    assert again == panel.model_copy(update={"cached": True})
    found = first.infer(handshake, again)
    assert found.cached
    assert found.content_hash == scores.content_hash
    # Airflow hands references on as JSON: the steps take them back as they come.
    loose = json.loads(json.dumps(panel.model_dump(mode="json")))
    assert first.infer(handshake, loose).content_hash == scores.content_hash


def test_the_log_tells_each_step(market: SmallMarket, tmp_path: Path) -> None:
    said: list[str] = []
    run_month(replace(month(market, tmp_path, JULY, cold_start=True), log=said.append))
    text = "\n".join(said)
    for part in (
        bundle_factory.INIT_LOG,
        "Panel of 2025-06-30 built: 120 eligible of 120 stocks",
        "Scores of 120 stocks computed",
        "Plan for 2025-07-01: 35 positions",
        "from cash",
        "Portfolio 2025-07-01/v1 published",
    ):
        assert part in text


def test_an_incomplete_dataset_is_refused_before_anything_else(market: SmallMarket, tmp_path: Path) -> None:
    today = np.flatnonzero(market.dates == AS_OF[OCTOBER])
    kept = np.ones(len(market.dates), dtype=bool)
    kept[today[:7]] = False  # 113 of 120 are less than 95 %
    dataset = write_table(market.table.filter(pa.array(kept)), tmp_path / "thin.parquet")
    with pytest.raises(Refusal) as refused:
        run(market, tmp_path, OCTOBER, dataset=str(dataset), cold_start=True)
    assert refused.value.received == "113 rows"
    missing = write_table(
        market.table.filter(pa.array(market.dates < AS_OF[OCTOBER])), tmp_path / "m.parquet"
    )
    with pytest.raises(Refusal) as refused:
        run(market, tmp_path, OCTOBER, dataset=str(missing), cold_start=True)
    assert refused.value.what == f"dataset has no rows for the as-of session {AS_OF[OCTOBER]}"


def test_a_foreign_folder_among_the_portfolios_is_refused(market: SmallMarket, tmp_path: Path) -> None:
    (tmp_path / "portfolio" / "backup of July").mkdir(parents=True)
    with pytest.raises(Refusal, match=r"is unexpected.*backup of July"):
        run(market, tmp_path, JULY, cold_start=True)
