import datetime as dt

import numpy as np
import pandas as pd
import pytest
from real_data.prices import parse_panel, price_table

from apex_tasks.dataset.price_features import compute_price_features
from apex_tasks.refusal import Refusal
from tests.support.real_market import as_csv, made_up_panel, scrambled

RETURNS, VOLUMES = made_up_panel(stocks=7, last="2010-12-31")
PANEL = parse_panel(as_csv(RETURNS), as_csv(VOLUMES))


def test_a_row_for_every_stock_and_session_in_the_order_of_datasets():
    table = price_table(PANEL).to_pandas()
    codes = sorted(set(RETURNS.columns) - {"USDOLLAR"})
    expected = [(day.date(), code) for day in VOLUMES.index for code in codes]
    assert list(zip(table["Date"], table["Code"], strict=True)) == expected
    assert table["sector33_code"].isna().all()


def test_amounts_follow_from_returns_and_dollar_volumes_row_by_row():
    rows = price_table(PANEL).to_pandas().set_index(["Date", "Code"])
    for code in PANEL.returns.columns:
        close = 1_000.0
        for day in VOLUMES.index:
            if day != VOLUMES.index[0]:
                close *= 1 + RETURNS.loc[day, code]
            row = rows.loc[(day.date(), code)]
            assert row["Close"] == pytest.approx(close, rel=1e-12)
            assert row["TurnoverValue"] == VOLUMES.loc[day, code] * 100
            assert row["Volume"] * row["Close"] == pytest.approx(row["TurnoverValue"], rel=1e-12)


def test_the_features_give_the_returns_back():
    features = compute_price_features(price_table(PANEL)).to_pandas()
    back = features.pivot(index="Date", columns="Code", values="returns_1d")
    np.testing.assert_allclose(back.to_numpy()[1:], PANEL.returns.to_numpy(), atol=1e-7)
    assert back.iloc[0].isna().all()


def test_a_cut_table_is_the_head_of_the_whole_and_knows_nothing_later():
    last = dt.date(2010, 11, 15)
    cut = price_table(PANEL, last)
    whole = price_table(PANEL)
    assert cut.equals(whole.slice(0, cut.num_rows))
    assert cut["Date"][-1].as_py() == last
    assert whole["Date"][cut.num_rows].as_py() > last
    other = parse_panel(as_csv(scrambled(RETURNS, last)), as_csv(scrambled(VOLUMES, last)))
    assert price_table(other, last).equals(cut)
    assert not price_table(other).equals(whole)


def test_a_cut_on_a_day_without_session_ends_with_the_session_before():
    assert price_table(PANEL, dt.date(2010, 11, 14))["Date"][-1].as_py() == dt.date(2010, 11, 12)


def _with(table: pd.DataFrame, value: float) -> pd.DataFrame:
    changed = table.copy()
    changed.iloc[3, 2] = value
    return changed


@pytest.mark.parametrize(
    ("returns", "volumes", "message"),
    [
        (_with(RETURNS, np.nan), VOLUMES, "a return is impossible"),
        (_with(RETURNS, -1.0), VOLUMES, "a return is impossible"),
        (_with(RETURNS, np.inf), VOLUMES, "a return is impossible"),
        (RETURNS, _with(VOLUMES, np.nan), "a volume is impossible"),
        (RETURNS, _with(VOLUMES, -1.0), "a volume is impossible"),
        (RETURNS, VOLUMES.drop(columns="T03"), "stocks differ"),
        (RETURNS.drop(index=RETURNS.index[5]), VOLUMES, "sessions differ"),
        (RETURNS[::-1], VOLUMES[::-1], "sessions differ"),
        (RETURNS, VOLUMES.iloc[1:], "sessions differ"),
    ],
)
def test_a_panel_that_is_not_as_described_is_refused(returns, volumes, message):
    with pytest.raises(Refusal, match=message):
        parse_panel(as_csv(returns), as_csv(volumes))


def test_a_day_without_volume_stays_zero():
    panel = parse_panel(as_csv(RETURNS), as_csv(_with(VOLUMES, 0.0)))
    table = price_table(panel).to_pandas()
    zero = table[table["TurnoverValue"] == 0]
    assert list(zero["Code"]) == [VOLUMES.columns[2]]
    assert (zero["Volume"] == 0).all()
    assert (zero["Close"] > 0).all()
