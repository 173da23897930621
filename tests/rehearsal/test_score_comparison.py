"""The comparison of two passes, against a slow one written apart: it must see every kind of difference."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.refusal import Refusal
from apex_tasks.rehearsal.score_comparison import SessionComparison, compare_passes, compare_session

DAY = dt.date(2025, 10, 10)
Scores = dict[str, float]

few_values = st.floats(-2, 2, width=32).map(lambda value: float(np.float32(round(value, 1))))
passes = st.dictionaries(st.sampled_from([f"{n}0" for n in range(1301, 1316)]), few_values, min_size=1)


def frame(scores: Scores) -> pd.DataFrame:
    return pd.DataFrame({"Code": list(scores), "Score": np.array(list(scores.values()), dtype=np.float32)})


def compared(first: Scores, second: Scores, top_k: int = 3) -> SessionComparison:
    return compare_session(DAY, frame(first), frame(second), top_k=top_k)


def best(scores: Scores, top_k: int) -> list[str]:
    """One name after the other: the best that is left, the smaller Code among equals."""
    left, found = dict(scores), []
    while left and len(found) < top_k:
        top = max(left.values())
        name = min(code for code, score in left.items() if score == top)
        found.append(name)
        del left[name]
    return found


@settings(deadline=None)
@given(first=passes, second=passes, top_k=st.integers(1, 8))
def test_it_finds_what_a_slow_comparison_finds(first: Scores, second: Scores, top_k: int) -> None:
    found = compared(first, second, top_k)
    one, other = best(first, top_k), best(second, top_k)
    assert list(found.names) == one
    assert (found.difference is None) == (one == other)
    if found.difference is not None:
        rank = found.difference.rank
        assert one[: rank - 1] == other[: rank - 1]
        assert found.difference.first == (one[rank - 1] if rank <= len(one) else None)
        assert found.difference.second == (other[rank - 1] if rank <= len(other) else None)
        assert found.difference.first != found.difference.second
    assert set(found.only_first) == first.keys() - second.keys()
    assert set(found.only_second) == second.keys() - first.keys()
    gaps = [abs(first[code] - second[code]) for code in first.keys() & second.keys()]
    assert found.largest_score_difference == max(gaps, default=0.0)
    order = best(first, top_k + 1)
    ties = sum(abs(first[a] - first[b]) <= 1e-5 for a, b in pairwise(order))
    assert found.ties == ties
    assert (found.problems == []) == (one == other and first.keys() == second.keys() and max(gaps) <= 1e-5)


def test_the_same_scores_in_another_order_of_rows_pass() -> None:
    scores = {"13010": 1.0, "13020": 3.0, "13030": 2.0, "13040": 2.0}
    found = compared(scores, dict(reversed(scores.items())))
    assert found.problems == []
    assert found.names == ("13020", "13030", "13040")
    assert found.ties == 1


def test_a_swap_within_rounding_fails_and_is_said_to_be_a_tie() -> None:
    found = compared({"13010": 1.0, "13020": 1.000001}, {"13010": 1.000001, "13020": 1.0}, top_k=2)
    assert found.ties == 1
    assert found.largest_score_difference < 1e-5
    (problem,) = found.problems
    assert problem.startswith("2025-10-10: rank 1 is 13020 in the first pass and 13010 in the second (1 ties")


@pytest.mark.parametrize(("change", "problems"), [(0.9e-5, 0), (1.2e-5, 1)])
def test_scores_may_differ_by_rounding_and_by_no_more(change: float, problems: int) -> None:
    found = compared({"13010": 0.1, "13020": 0.5}, {"13010": 0.1 + change, "13020": 0.5}, top_k=1)
    assert found.difference is None
    assert len(found.problems) == problems
    if problems:
        assert "scores differ by up to 1.2e-05" in found.problems[0]


def test_a_change_beyond_the_top_names_is_seen_by_its_score() -> None:
    found = compared(
        {"13010": 3.0, "13020": 2.0, "13030": 0.0}, {"13010": 3.0, "13020": 2.0, "13030": 0.5}, 2
    )
    assert found.difference is None
    assert found.largest_score_difference == 0.5
    assert len(found.problems) == 1


def test_a_stock_of_one_pass_only_fails_even_at_the_end() -> None:
    found = compared({"13010": 3.0, "13020": 2.0}, {"13010": 3.0, "13020": 2.0, "13030": 0.0}, 2)
    assert found.problems == ["2025-10-10: 1 stocks were scored in one pass only, 13030 in the second"]
    found = compared({"13010": 3.0}, {"13020": 2.0}, 1)
    assert found.largest_score_difference == 0.0
    assert len(found.problems) == 2


def test_a_score_that_is_no_number_is_refused() -> None:
    for first, second in (({"13010": np.nan}, {"13010": 1.0}), ({"13010": 1.0}, {"13010": np.nan})):
        with pytest.raises(Refusal, match="not a finite number"):
            compared(first, second)


def test_sessions_come_oldest_first() -> None:
    days = [dt.date(2025, 10, 10), dt.date(2025, 10, 9)]
    scores = {day: frame({"13010": 1.0}) for day in days}
    assert [found.session for found in compare_passes(scores, scores, top_k=1)] == days[::-1]
