"""A session with too few stocks is refused, with the reason that its normalization gives."""

from __future__ import annotations

import datetime as dt

import pytest

from apex_tasks.bundle.supply import require_supply
from apex_tasks.refusal import Refusal
from apex_tasks.settings import Normalization

DAY = dt.date(2025, 10, 31)


def require(eligible: int, normalization: Normalization = Normalization.CSZ) -> None:
    require_supply(
        eligible, DAY, "prices.parquet", lookback=180, min_stocks_per_day=80, normalization=normalization
    )


def test_the_bound_itself_is_enough() -> None:
    require(80)


def test_one_below_is_refused_with_both_numbers() -> None:
    with pytest.raises(Refusal) as refused:
        require(79)
    assert refused.value.what == "too few eligible stocks on 2025-10-31"
    assert refused.value.received == "79"
    assert refused.value.expected == "at least 80, each with a row on the day and 180 rows up to it"


def test_raw_mode_says_what_else_it_asks_for() -> None:
    with pytest.raises(Refusal) as refused:
        require(79, Normalization.RAW)
    assert "none with a missing value (raw)" in refused.value.expected
    assert "csz" in refused.value.remedy
