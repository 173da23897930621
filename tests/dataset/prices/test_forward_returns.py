from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apex_tasks.dataset.prices.forward_returns import read_forward_returns, read_held_returns
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


# --- what scores are judged by: nobody who leaves is left out ----------------------------------------------


def _held_oracle(prices, day, code, horizon, last):
    """The return and whether it ends early, by walking one stock's rows."""
    own = sorted(d for d, c in prices if c == code and d <= last)
    sessions = sorted({d for (d, _), price in prices.items() if price > 0 and d <= last})
    if day not in own or not prices[day, code] > 0:
        return np.nan, False
    place = own.index(day)
    due = own[place : place + horizon + 1]
    if len(due) <= horizon and len([d for d in sessions if d > day]) < horizon:
        return np.nan, False
    end = [d for d in due if prices[d, code] > 0][-1]
    return prices[end, code] / prices[day, code] - 1, end != due[-1] or len(due) <= horizon


@pytest.mark.parametrize("adjusted", [True, False])
def test_held_returns_equal_a_walk_along_each_stocks_own_rows(make, adjusted):
    dataset, prices = make(adjusted)
    codes = np.array([f"{1000 + s}0" for s in range(6)] + ["99990"])
    early = 0
    for last in (DAYS[30], DAYS[-1]):
        returns = read_held_returns(dataset, HORIZONS, last)
        for day in DAYS:
            expected = [[_held_oracle(prices, day, code, h, last) for h in HORIZONS] for code in codes]
            np.testing.assert_allclose(
                returns.on(day, codes), [[value for value, _ in row] for row in expected], rtol=1e-12
            )
            marked = returns.ended_early(day, codes)
            np.testing.assert_array_equal(marked, [[mark for _, mark in row] for row in expected])
            early += marked.sum()
    assert early > 5


def test_held_returns_are_the_targets_wherever_there_is_one(make):
    dataset, _ = make()
    target, held = (read(dataset, HORIZONS, DAYS[30]) for read in (read_forward_returns, read_held_returns))
    there = np.isfinite(target.values)
    np.testing.assert_array_equal(held.values[there], target.values[there])
    assert not held.at_last_price[there].any()
    assert not target.at_last_price.any()
    assert (np.isfinite(held.values) & ~there).sum() == held.at_last_price.sum() > 0


def test_held_returns_see_no_price_after_the_last_day(make):
    last = DAYS[20]
    plain = read_held_returns(make()[0], HORIZONS, last)
    scrambled = read_held_returns(make(scramble_after=last, name="s.parquet")[0], HORIZONS, last)
    np.testing.assert_array_equal(plain.values, scrambled.values)
    np.testing.assert_array_equal(plain.at_last_price, scrambled.at_last_price)


@pytest.fixture
def write_closes(tmp_path):
    def write(closes):
        """Code -> closes of DAYS[0], DAYS[1], ...; ... for no row, None for a row without a close."""
        rows = [
            (DAYS[number], code, close)
            for code, own in closes.items()
            for number, close in enumerate(own)
            if close is not ...
        ]
        columns = list(zip(*rows, strict=True))
        table = {
            "Date": pa.array(columns[0], pa.date32()),
            "Code": list(columns[1]),
            "Close": pa.array(columns[2], pa.float64()),
            "Volume": np.full(len(rows), 100.0),
            "TurnoverValue": np.full(len(rows), 1e6),
        }
        pq.write_table(pa.table(table), tmp_path / "closes.parquet")
        return open_dataset(tmp_path / "closes.parquet")

    return write


@pytest.mark.parametrize(
    ("closes", "held", "early"),
    [
        ((100, 110, 120, 130), 0.30, False),
        ((100, 60, ..., ...), -0.40, True),  # delisted after a fall
        ((100, ..., ..., ...), 0.0, True),  # delisted overnight: nothing but the price it was bought at
        ((100, 110, 120, None), 0.20, True),  # listed, not traded on the last day
        ((100, 110, None, 130), 0.30, False),
        ((None, 110, 120, 130), np.nan, False),  # could not be bought
        ((..., 110, 120, 130), np.nan, False),
    ],
)
def test_a_name_that_leaves_is_kept_with_its_last_price(write_closes, closes, held, early):
    dataset = write_closes({"10000": (50, 50, 50, 50), "20000": closes})
    returns = read_held_returns(dataset, (3,), DAYS[3])
    codes = np.array(["10000", "20000"])
    np.testing.assert_allclose(returns.on(DAYS[0], codes)[:, 0], [0, held], atol=1e-15)
    assert returns.ended_early(DAYS[0], codes)[:, 0].tolist() == [False, early]


def test_a_horizon_that_is_not_over_has_no_return(write_closes):
    dataset = write_closes({"10000": (50, 50, 50), "20000": (100, 60, ...)})
    returns = read_held_returns(dataset, (3,), DAYS[2])
    assert np.isnan(returns.values).all()
    assert not returns.at_last_price.any()


# --- a code that is given to another company ----------------------------------------------------------------


@pytest.mark.parametrize("read", [read_forward_returns, read_held_returns])
@pytest.mark.parametrize("missing", [59, 60])
def test_no_return_reaches_from_one_company_of_a_code_to_the_next(tmp_path, read, missing):
    """The returns are those of two stocks with codes of their own, if 60 sessions or more are missing."""
    days = [date(2025, 1, 6) + timedelta(days=n) for n in range(100)]
    close = np.random.default_rng(8).lognormal(7, 0.4, 100)

    def returns(second):
        rows = [(day, "99990", 1.0) for day in days]
        rows += [(day, "13010", price) for day, price in zip(days[:20], close, strict=False)]
        rows += [(days[n], second, 7 * close[n]) for n in range(20 + missing, 100)]
        columns = [list(column) for column in zip(*sorted(rows), strict=True)]
        table = dict(zip(("Date", "Code", "Close"), columns, strict=True))
        pq.write_table(
            pa.table({**table, "Volume": [1.0] * len(rows), "TurnoverValue": [1.0] * len(rows)}),
            tmp_path / "d.parquet",
        )
        return read(open_dataset(tmp_path / "d.parquet"), (1, 5), days[-1])

    one, two = returns("13010"), returns("13011")
    same = np.array_equal(one.values, two.values, equal_nan=True)
    assert same == (missing == 60)
    assert np.array_equal(one.at_last_price, two.at_last_price) == (
        missing == 60 or read is read_forward_returns
    )
