"""One-way turnover, worked out by hand."""

from __future__ import annotations

import pytest

from apex_tasks.portfolio.turnover import one_way_turnover


@pytest.mark.parametrize(
    ("before", "after", "turnover"),
    [
        ({}, {}, 0),
        ({}, {"1": 1.0}, 0.5),
        ({"1": 1.0}, {}, 0.5),
        ({"1": 0.6, "2": 0.4}, {"2": 0.5, "3": 0.5}, 0.6),
    ],
)
def test_turnover_is_half_the_sum_of_the_changes(
    before: dict[str, float], after: dict[str, float], turnover: float
) -> None:
    assert one_way_turnover(before, after) == pytest.approx(turnover)


def test_the_order_of_the_codes_changes_no_bit() -> None:
    weights = {str(number): 0.1 * (number + 1) / 7 for number in range(30)}
    backwards = dict(reversed(weights.items()))
    assert one_way_turnover({}, weights) == one_way_turnover({}, backwards)
    assert one_way_turnover(weights, backwards) == 0.0
