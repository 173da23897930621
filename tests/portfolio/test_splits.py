"""Share factors: splits are exact fractions, rounding of adjusted closes is none."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apex_tasks.portfolio.splits import share_factors


@pytest.mark.parametrize(
    ("before", "after", "factor"),
    [
        (0.5, 1.0, 2.0),  # one becomes two
        (1.0, 2.0, 2.0),
        (1 / 3, 1.0, 3.0),
        (1.0, 0.1, 0.1),  # ten become one
        (2 / 3, 1.0, 1.5),
        (1 / 1.1, 1.0, 1.1),
        (0.01, 1.0, 100.0),
        (1.0, 0.2, 0.2),
        (0.33333, 1.0, 3.0),  # adjusted closes are rounded
        (0.90909, 1.0, 1.1),
    ],
)
def test_a_split_is_the_nearest_simple_fraction(before: float, after: float, factor: float) -> None:
    assert share_factors({"13010": before}, {"13010": after}) == {"13010": pytest.approx(factor, rel=1e-12)}


@pytest.mark.parametrize("after", [1.0, 1.0003, 0.9997, 1.0199, 0.9801])
def test_rounding_is_no_split(after: float) -> None:
    assert share_factors({"13010": 1.0}, {"13010": after}) == {}


def test_a_stock_known_on_one_side_only_has_no_factor() -> None:
    assert share_factors({"13010": 0.5, "13020": 0.5}, {"13020": 1.0, "13030": 1.0}) == {"13020": 2.0}
    assert share_factors({}, {"13010": 2.0}) == {}


def test_factors_come_by_code() -> None:
    codes = [f"{number}0" for number in range(1300, 1400)]
    before = dict.fromkeys(reversed(codes), 0.5)
    assert list(share_factors(before, dict.fromkeys(before, 1.0))) == codes


terms = st.integers(1, 10)


@given(st.floats(500, 50_000), terms, terms)
def test_a_rounded_adjusted_close_gives_the_exact_split(close: float, new: int, old: int) -> None:
    assume(new != old)
    ratio = new / old
    adjusted = round(close / ratio, 1)  # JPY, before the split; afterwards close and adjusted close agree
    assume(abs(adjusted * ratio / close - 1) < 4e-5)
    assert share_factors({"1": adjusted / close}, {"1": 1.0}) == {"1": pytest.approx(ratio, rel=1e-12)}


@given(st.floats(0.01, 100).filter(lambda ratio: abs(ratio - 1) > 0.03))
def test_the_way_back_undoes_the_way_there(ratio: float) -> None:
    there = share_factors({"1": 1.0}, {"1": ratio})["1"]
    back = share_factors({"1": ratio}, {"1": 1.0})["1"]
    assert there * back == pytest.approx(1, rel=1e-9)
    assert there == pytest.approx(ratio, rel=0.01)


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.98001, 1.01999)))
def test_nothing_happens_where_nothing_was_split(after: dict[str, float]) -> None:
    assert share_factors(dict.fromkeys(after, 1.0), after) == {}
