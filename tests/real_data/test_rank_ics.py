import datetime as dt

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from real_data.benchmarks import equal_scores, momentum_scores
from real_data.prices import parse_panel, price_table
from real_data.rank_ics import month_ends, rank_ic_table

from apex_tasks.dataset.schema import open_dataset
from tests.support.real_market import as_csv, made_up_panel, scrambled

RETURNS, VOLUMES = made_up_panel(stocks=12, first="2010-10-01", last="2012-03-30", seed=4)
SESSIONS = [day.date() for day in VOLUMES.index]
AS_OF = [dt.date(2011, 11, 30), dt.date(2011, 12, 30), dt.date(2012, 1, 31)]


@pytest.fixture
def write(tmp_path):
    def dataset(returns=RETURNS, volumes=VOLUMES, drop=()):
        table = price_table(parse_panel(as_csv(returns), as_csv(volumes))).to_pandas()
        for code, first, last in drop:
            gone = (table["Code"] == code) & (table["Date"] >= first) & (table["Date"] <= last)
            table = table[~gone]
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.parquet"
        table.to_parquet(path, index=False)
        assert pq.read_schema(path).field("Date").type == "date32[day]"
        return open_dataset(path)

    return dataset


def _returns_of(code, first, last):
    """Compounded from the source's own returns, from the close of one session to that of another."""
    days = pd.DatetimeIndex(SESSIONS[SESSIONS.index(first) + 1 : SESSIONS.index(last) + 1])
    return float(np.prod(1 + RETURNS.loc[days, code]) - 1)


def _after(day, sessions):
    return SESSIONS[SESSIONS.index(day) + sessions]


def test_momentum_is_last_years_return_without_its_last_month(write):
    scores = momentum_scores(write(), AS_OF)
    assert list(scores) == AS_OF
    for day in AS_OF:
        table = scores[day]
        assert list(table["Code"]) == sorted(set(RETURNS.columns) - {"USDOLLAR"})
        assert table["Score"].dtype == np.float32
        for code, score in zip(table["Code"], table["Score"], strict=True):
            assert score == pytest.approx(_returns_of(code, _after(day, -252), _after(day, -21)), abs=1e-6)


def test_momentum_needs_a_year_and_a_row_on_the_date(write):
    first, day = SESSIONS[0], AS_OF[1]
    dataset = write(drop=[("T01", first, _after(day, -252)), ("T02", day, day)])
    codes = set(momentum_scores(dataset, [day])[day]["Code"])
    assert codes == set(VOLUMES.columns) - {"T01", "T02"}
    dataset = write(drop=[("T01", first, _after(day, -253))])
    assert "T01" in set(momentum_scores(dataset, [day])[day]["Code"])


def test_no_benchmark_looks_ahead(write):
    for day in AS_OF:
        other = write(scrambled(RETURNS, day), scrambled(VOLUMES, day))
        for scores in (momentum_scores, equal_scores):
            pd.testing.assert_frame_equal(scores(other, [day])[day], scores(write(), AS_OF)[day])


def test_equal_scores_prefer_nobody(write):
    day = AS_OF[0]
    table = equal_scores(write(drop=[("T05", day, day)]), AS_OF)[day]
    assert list(table["Code"]) == sorted(set(VOLUMES.columns) - {"T05"})
    assert (table["Score"] == 0).all()
    assert table["Score"].dtype == np.float32


def test_month_ends_are_the_last_sessions_of_months_that_are_over():
    found = month_ends(SESSIONS, dt.date(2011, 12, 30), dt.date(2012, 3, 30))
    assert found == [dt.date(2011, 12, 30), dt.date(2012, 1, 31), dt.date(2012, 2, 29)]
    # The data decides what a session is: without the last of January, the one before is the month's end.
    without = [day for day in SESSIONS if day != dt.date(2012, 1, 31)]
    assert dt.date(2012, 1, 30) in month_ends(without, dt.date(2012, 1, 1), dt.date(2012, 1, 31))
    assert month_ends(SESSIONS, dt.date(2012, 3, 1), dt.date(2012, 3, 30)) == []


def _spearman(scores, realized):
    return pd.DataFrame({"a": scores, "b": realized}).rank().corr().loc["a", "b"]


def test_rank_ic_relates_scores_to_the_returns_that_follow(write):
    dataset, codes = write(), sorted(VOLUMES.columns)
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(
        [(day, code, rng.standard_normal()) for day in AS_OF for code in codes],
        columns=["Date", "Code", "h20"],
    )
    momentum = momentum_scores(dataset, AS_OF)
    table = rank_ic_table(dataset, scores, momentum)
    assert list(table["as_of"]) == AS_OF
    assert list(table["stocks"]) == [12] * 3
    for day, row in zip(AS_OF, table.to_dict("records"), strict=True):
        model = scores.loc[scores["Date"] == day, "h20"].to_numpy()
        rival = momentum[day]["Score"].to_numpy()
        for suffix, first in (("", day), ("_from_fill", _after(day, 1))):
            realized = [_returns_of(code, first, _after(first, 20)) for code in codes]
            assert row[f"model{suffix}"] == pytest.approx(_spearman(model, realized), abs=1e-9)
            assert row[f"momentum{suffix}"] == pytest.approx(_spearman(rival, realized), abs=1e-9)
