import json
import re
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from apex_tasks.dataset.features.feature_aliases import packaged_aliases
from apex_tasks.dataset.features.feature_plan import FeatureList, packaged_feature_groups, resolve_features
from apex_tasks.dataset.schema import open_dataset
from apex_tasks.demo.defaults import DEFAULT_SESSIONS, DEFAULT_STOCKS
from apex_tasks.demo.market import NOTICE, write_demo_data
from apex_tasks.demo.price_paths import (
    ALPHA_DAILY_DRIFT,
    ALPHA_HALF_LIFE_SESSIONS,
    SECTORS,
    SyntheticMarket,
    simulate_market,
)
from apex_tasks.demo.signals import ALPHA_LOADINGS, WITHOUT_OPERATING_PROFIT, published_columns
from apex_tasks.market.calendar import TseCalendar
from apex_tasks.monthly.check_dataset import check_dataset
from apex_tasks.refusal import Refusal
from apex_tasks.settings import FeaturesMode, load_settings
from apex_tasks.statistics.rank_ic import rank_ic
from tests.support import bundle_factory
from tests.support.paths import ROOT

END = date(2025, 10, 31)
STOCKS, SESSIONS, SEED = 300, 400, 7


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return simulate_market(STOCKS, SESSIONS, SEED, END)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_demo_data(tmp_path_factory.mktemp("demo"), stocks=60, sessions=320, seed=3)


@pytest.fixture(scope="module")
def frame(written):
    return pq.read_table(written.dataset).to_pandas()


def test_dates_are_exactly_the_sessions_up_to_the_end(market):
    calendar = TseCalendar.load()
    assert list(market.sessions) == calendar.sessions(market.sessions[0], END)
    assert len(market.sessions) == SESSIONS
    assert calendar.next_session(END) == date(2025, 11, 4)  # the demo's rebalance day


def test_codes_are_unique_sorted_five_characters_and_new_listings_carry_a_letter(market):
    codes = market.codes.tolist()
    assert codes == sorted(codes)
    assert len(codes) == len({*codes}) == STOCKS
    assert all(len(code) == 5 and code.endswith("0") for code in codes)
    first = np.array(market.sessions)[market.listed.argmax(axis=0)]
    for code, day in zip(codes, first, strict=True):
        since_2024 = day >= date(2024, 1, 1) and day > market.sessions[1]
        assert ("A" in code) == since_2024 or (code[:4].isdigit() and day <= market.sessions[1])
    assert any("A" in code for code in codes)
    assert np.isin(market.sectors, list(SECTORS)).all()
    assert len(SECTORS) == 33


def test_listings_delistings_and_suspensions_exist(market):
    arrives = ~market.listed[:5].any(axis=0)
    leaves = ~market.listed[-5:].any(axis=0)
    assert 0.03 * STOCKS <= arrives.sum() <= 0.07 * STOCKS
    assert 0.01 * STOCKS <= leaves.sum() <= 0.05 * STOCKS
    suspended = 0
    for stock in range(STOCKS):
        rows = np.flatnonzero(market.listed[:, stock])
        suspended += bool((np.diff(rows) > 3).any())
    assert 0.02 * STOCKS <= suspended <= 0.06 * STOCKS
    assert market.listed[-1].sum() >= 0.95 * np.median(market.listed[-21:-1].sum(axis=1))


def test_prices_are_on_ticks_and_amounts_in_their_units(market):
    for price in (market.open_jpy, market.close_jpy):
        assert price.min() >= 1
        for low, high, tick in ((0, 3_000, 1), (3_001, 5_000, 5), (5_001, 30_000, 10), (30_001, 50_000, 50)):
            within = price[(price >= low) & (price <= high)]
            assert (within % tick == 0).all()
    assert (market.volume_shares % 100 == 0).all()
    assert (market.volume_shares >= 100).all()
    adv_jpy = np.median(market.turnover_jpy, axis=0)
    assert 1e7 < adv_jpy.min() < 1e8
    assert 1e9 < adv_jpy.max() < 1e10
    ratio = market.turnover_jpy / (market.volume_shares * market.close_jpy)
    assert 0.8 < ratio.min() < ratio.max() < 1.25


def test_a_split_moves_the_close_but_not_the_adjusted_close(market):
    adjustment = market.close_jpy / market.adjustment_close_jpy
    assert (adjustment[-1] == 1).all()
    split_at = np.argwhere(np.diff(adjustment, axis=0) < 0)
    assert len(split_at) >= 2
    for session, stock in split_at:
        assert adjustment[session, stock] in (2, 3, 5)
        quoted = market.close_jpy[session + 1, stock] / market.close_jpy[session, stock]
        adjusted = (
            market.adjustment_close_jpy[session + 1, stock] / market.adjustment_close_jpy[session, stock]
        )
        assert quoted < 0.65
        assert 0.7 < adjusted < 1.4


def test_returns_are_fat_tailed_and_of_a_plausible_size(market):
    returns = np.diff(np.log(market.adjustment_close_jpy), axis=0)
    per_year = np.sqrt(245)
    assert 0.10 < returns.mean(axis=1).std() * per_year < 0.22
    assert 0.22 < np.median(returns.std(axis=0)) * per_year < 0.45
    centered = (returns - returns.mean(axis=0)) / returns.std(axis=0)
    assert (centered**4).mean() > 4  # a normal distribution has 3


def test_alpha_has_the_stated_half_life_and_scale():
    alpha = simulate_market(1_500, 300, 11, END).alpha
    lag = ALPHA_HALF_LIFE_SESSIONS
    kept = np.mean([np.corrcoef(alpha[t], alpha[t + lag])[0, 1] for t in range(0, 300 - lag, 30)])
    assert kept == pytest.approx(0.5, abs=0.03)
    assert alpha.std() == pytest.approx(1, abs=0.03)


def _forward_20(market):
    price = np.log(market.adjustment_close_jpy)
    return price[20:] - price[:-20]


def test_alpha_orders_the_returns_after_it_and_not_the_return_of_its_own_session(market):
    forward = _forward_20(market)
    dates = range(20, len(forward), 20)
    assert 0.2 < np.mean([rank_ic(market.alpha[t], forward[t]) for t in dates]) < 0.4
    innovation = market.alpha[1:] - 0.5 ** (1 / ALPHA_HALF_LIFE_SESSIONS) * market.alpha[:-1]
    today = np.diff(np.log(market.adjustment_close_jpy), axis=0)
    assert abs(np.mean([rank_ic(innovation[t], today[t]) for t in range(SESSIONS - 1)])) < 0.01


@pytest.mark.parametrize("column", ALPHA_LOADINGS)
def test_the_planted_columns_show_alpha_as_stated(market, column):
    values = published_columns(market, SEED)[column].astype(float)
    seen = [
        np.corrcoef(values[t][known], market.alpha[t][known])[0, 1]
        for t in range(80, SESSIONS, 20)
        for known in [np.isfinite(values[t])]
    ]
    # Between publications the value ages, statements by up to 61 sessions, hence the lower bound.
    stated = abs(ALPHA_LOADINGS[column])
    assert 0.65 * stated < np.sign(ALPHA_LOADINGS[column]) * np.mean(seen) < 1.15 * stated


def test_the_document_states_the_planted_signal():
    text = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    stated = {name: float(value) for name, value in re.findall(r"\| `(\w+)` \| (-?[\d.]+) \|", text)}
    assert stated == dict(ALPHA_LOADINGS)
    assert f"half-life of {ALPHA_HALF_LIFE_SESSIONS} sessions" in text
    assert f"`{ALPHA_DAILY_DRIFT} x own daily volatility x alpha`" in text
    assert f"{DEFAULT_STOCKS} stocks over {DEFAULT_SESSIONS} sessions" in text


def test_published_columns_use_nothing_later_than_their_session(market):
    cut = 200
    later = np.arange(SESSIONS)[:, None] >= cut
    scrambled = SyntheticMarket(**{**vars(market), "alpha": np.where(later, -9.0, market.alpha)})
    before, after = published_columns(market, SEED), published_columns(scrambled, SEED)
    for name in before:
        np.testing.assert_array_equal(before[name][:cut], after[name][:cut], err_msg=name)
    assert not np.array_equal(before["flow_smart_idx"][cut:], after["flow_smart_idx"][cut:])


def test_nulls_are_where_a_company_would_publish_nothing(market):
    columns = published_columns(market, SEED)
    financial = np.isin(market.sectors, WITHOUT_OPERATING_PROFIT)
    assert financial.any()
    assert np.isnan(columns["stmt_opm"][:, financial]).all()
    assert not np.isnan(columns["stmt_npm"][100, financial]).all()
    assert 0.2 < np.isnan(columns["dmi_z26_long"][-1]).mean() < 0.5
    assert 0.03 < np.isnan(columns["stmt_rev_fore_np"][-1]).mean() < 0.2
    assert not np.isnan(columns["flow_foreign_net_z"]).any()


def test_files_hold_the_same_rows_sorted_with_unique_keys(written, frame):
    prices = pq.read_table(written.prices).to_pandas()
    keys = frame[["Date", "Code"]]
    pd.testing.assert_frame_equal(keys, prices[["Date", "Code"]])
    assert keys.equals(keys.sort_values(["Date", "Code"]))
    assert not keys.duplicated().any()
    assert (written.rows, written.stocks, written.sessions) == (
        len(frame),
        frame.Code.nunique(),
        frame.Date.nunique(),
    )
    assert (written.first_session, written.last_session) == (frame.Date.min(), frame.Date.max())
    assert written.last_session == END


def test_the_dataset_supplies_all_89_features(written):
    names = [name for group in packaged_feature_groups()["groups"].values() for name in group["include"]]
    schema = pq.read_schema(written.dataset)
    plan = resolve_features(FeatureList(tuple(names)), packaged_aliases(), schema.names, FeaturesMode.STRICT)
    assert len(plan.sources) == 89
    assert not plan.filled
    assert "dmi_z26_net" not in schema.names  # supplied by its alias
    assert "dmi_net_to_adv20" not in schema.names
    late = pq.read_table(written.dataset, columns=list(plan.columns)).slice(written.rows * 9 // 10)
    dead = [name for name in plan.columns if late[name].null_count == len(late)]
    assert dead == []


def test_everything_says_that_it_is_synthetic(written):
    for path in (written.dataset, written.prices):
        metadata = pq.read_schema(path).metadata
        assert metadata[b"apex.synthetic"] == b"true"
        assert metadata[b"apex.seed"] == b"3"
    assert written.notice == NOTICE
    assert NOTICE in (written.dataset.parent / "README.md").read_text(encoding="utf-8")
    assert "SYNTHETIC" in NOTICE


def test_the_same_arguments_leave_the_same_bytes_and_another_seed_does_not(tmp_path):
    def files(name, seed):
        made = write_demo_data(tmp_path / name, stocks=20, sessions=40, seed=seed)
        return made.dataset.read_bytes(), made.prices.read_bytes()

    assert files("a", 1) == files("b", 1)
    assert files("c", 2) != files("a", 1)


def test_a_parquet_name_gets_the_dataset_alone(tmp_path):
    made = write_demo_data(tmp_path / "new" / "only.parquet", stocks=20, sessions=40)
    assert made.prices is None
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["only.parquet"]


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"stocks": 9}, "9"),
        ({"stocks": 6_001}, "6001"),
        ({"sessions": 29}, "29"),
        ({"seed": -1}, "-1"),
        ({"end": date(2025, 11, 3)}, "2025-11-03"),
    ],
)
def test_wrong_arguments_are_refused_by_value(tmp_path, arguments, received):
    with pytest.raises(Refusal) as refused:
        write_demo_data(tmp_path / "demo", **arguments)
    assert received in refused.value.received
    assert not (tmp_path / "demo").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Refusal, match="cannot be written"):
        write_demo_data(tmp_path / "file" / "demo", stocks=20, sessions=40)


@pytest.mark.slow
def test_production_size_has_the_expected_shape(tmp_path):
    made = write_demo_data(tmp_path / "big.parquet", stocks=3_863, sessions=190)
    assert made.stocks == 3_863
    assert 680_000 < made.rows < 3_863 * 190
    assert json.dumps(made.rows)  # a plain int, fit for the command line's --json


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_months_judgement_finds_no_fault(tmp_path: Path, seed: int) -> None:
    """Splits, listings, delistings, suspensions and missing rows are no faults; all 89 features are judged."""
    data = write_demo_data(tmp_path / "dataset.parquet", stocks=300, sessions=500, seed=seed)
    bundle = bundle_factory.Draft().folder(tmp_path / "bundle")
    for as_of in (data.last_session, TseCalendar.load().previous_session(data.last_session)):
        judgement = check_dataset(open_dataset(data.dataset), as_of, str(bundle), load_settings())
        assert [str(fault) for fault in judgement.faults] == []
