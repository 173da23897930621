from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.dataset.prices.forward_returns import read_forward_returns
from apex_tasks.dataset.schema import days_since_epoch, open_dataset

DAYS = [date(2025, 1, 6) + timedelta(days=n) for n in range(40)]
HORIZONS = (1, 3)


@pytest.fixture
def make(tmp_path):
    def write(adjusted=True, scramble_after=None, name="d.parquet"):
        rng = np.random.default_rng(5)
        rows = [(day, f"{1000 + s}0") for day in DAYS for s in range(6) if rng.random() > 0.2]
        close = rng.lognormal(7, 0.4, len(rows))
        split = rng.choice([1.0, 2.0], len(rows))
        close[7], close[11] = np.nan, -1.0
        if scramble_after is not None:
            late = np.array([day > scramble_after for day, _ in rows])
            close[late] *= 100
        order = rng.permutation(len(rows))
        table = {
            "Date": pa.array([rows[i][0] for i in order], pa.date32()),
            "Code": [rows[i][1] for i in order],
            "Close": close[order],
            "Volume": np.full(len(rows), 100.0),
            "TurnoverValue": np.full(len(rows), 1e6),
        }
        if adjusted:
            table["AdjustmentClose"] = (close / split)[order]
        pq.write_table(pa.table(table), tmp_path / name, row_group_size=50)
        price = close / split if adjusted else close
        return open_dataset(tmp_path / name), dict(zip(rows, price, strict=True))

    return write


def _oracle(prices, day, code, horizon, last):
    own = sorted(d for d, c in prices if c == code and d <= last)
    if day not in own or own.index(day) + horizon >= len(own):
        return np.nan
    now, later = prices[day, code], prices[own[own.index(day) + horizon], code]
    return later / now - 1 if now > 0 and later > 0 else np.nan


@pytest.mark.parametrize("adjusted", [True, False])
def test_equals_a_loop_over_each_stocks_own_rows(make, adjusted):
    dataset, prices = make(adjusted)
    last = DAYS[30]
    returns = read_forward_returns(dataset, HORIZONS, last)
    codes = np.array([f"{1000 + s}0" for s in range(6)] + ["99990"])
    assert returns.horizons == HORIZONS
    finite = 0
    for day in DAYS:
        expected = [[_oracle(prices, day, code, h, last) for h in HORIZONS] for code in codes]
        found = returns.on(day, codes)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        finite += np.isfinite(found).sum()
    assert finite > 200


def test_prices_after_the_last_day_change_nothing(make):
    last = DAYS[20]
    plain = read_forward_returns(make()[0], HORIZONS, last)
    scrambled = read_forward_returns(make(scramble_after=last, name="s.parquet")[0], HORIZONS, last)
    np.testing.assert_array_equal(plain.values, scrambled.values)
    assert plain.days.max() == days_since_epoch(last)


def test_rows_are_by_date_then_code(make):
    returns = read_forward_returns(make()[0], HORIZONS, DAYS[-1])
    keys = list(zip(returns.days.tolist(), returns.codes.tolist(), strict=True))
    assert keys == sorted(keys)
