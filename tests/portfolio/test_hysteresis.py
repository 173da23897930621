"""Hysteresis: a plain-loop oracle, its bounds, and that ranking alone never holds on to a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_tasks.portfolio.hysteresis import select_with_hysteresis
from apex_tasks.settings import Priority

POOL = [f"{i:02d}" for i in range(1, 11)]  # 01 is the best


def _select(held, priority=Priority.RANK, *, pool=POOL, entry_k=3, exit_k=6):
    return select_with_hysteresis(pool, held, entry_k=entry_k, exit_k=exit_k, priority=priority)


@pytest.mark.parametrize("priority", list(Priority))
def test_with_nothing_held_the_best_enter(priority):
    assert _select([], priority) == ["01", "02", "03"]
    assert _select(["99"], priority) == ["01", "02", "03"]
    assert _select([], priority, pool=["07", "01"]) == ["07", "01"]
    assert _select(["01"], priority, pool=[]) == []


@pytest.mark.parametrize(
    ("held", "kept"),
    [
        (["05"], ["01", "02", "05"]),  # 03 would enter, but 05 may stay
        (["06", "04"], ["01", "04", "06"]),
        (["07"], ["01", "02", "03"]),  # beyond the exit rank
        (["02", "04", "05", "06"], ["02", "04", "05"]),  # more may stay than there are places
        (["01", "02", "03"], ["01", "02", "03"]),
    ],
)
def test_held_names_keep_their_places(held, kept):
    assert _select(held, Priority.HELD) == kept
    assert _select(held, Priority.RANK) == ["01", "02", "03"]


def _by_loops(pool, held, entry_k, exit_k, priority):
    """Name by name, each with its rank from 1."""
    ranks = {code: rank for rank, code in enumerate(pool, start=1)}
    qualified = [code for code in pool if ranks[code] <= (exit_k if code in held else entry_k)]
    while len(qualified) > entry_k:
        new = [code for code in qualified if code not in held]
        losers = new if priority is Priority.HELD and new else qualified
        qualified.remove(max(losers, key=ranks.__getitem__))
    return qualified


@st.composite
def _months(draw):
    codes = [f"{i:02d}" for i in range(30)]
    pool = draw(st.lists(st.sampled_from(codes), unique=True, max_size=25))
    held = draw(st.lists(st.sampled_from(codes), unique=True, max_size=25))
    entry_k = draw(st.integers(1, 20))
    return pool, held, entry_k, draw(st.integers(entry_k, 25))


@given(_months(), st.sampled_from(Priority))
def test_agrees_with_the_oracle(month, priority):
    pool, held, entry_k, exit_k = month
    got = _select(held, priority, pool=pool, entry_k=entry_k, exit_k=exit_k)
    assert got == _by_loops(pool, held, entry_k, exit_k, priority)


@given(_months())
def test_by_rank_the_holdings_decide_nothing(month):
    pool, held, entry_k, exit_k = month
    assert _select(held, pool=pool, entry_k=entry_k, exit_k=exit_k) == pool[:entry_k]


@given(_months(), st.sampled_from(Priority))
def test_places_are_filled_and_bounds_kept(month, priority):
    pool, held, entry_k, exit_k = month
    got = _select(set(held), priority, pool=pool, entry_k=entry_k, exit_k=exit_k)
    assert got == sorted(got, key=pool.index)
    assert len(got) == min(entry_k, len(pool))
    for code in got:
        assert pool.index(code) < (exit_k if code in held else entry_k)
    if priority is Priority.HELD:
        may_stay = [code for code in pool[:exit_k] if code in held]
        assert set(may_stay[:entry_k]) <= set(got)
        again = _select(got, priority, pool=pool, entry_k=entry_k, exit_k=exit_k)
        assert again == got  # nothing changes while ranks do not


@pytest.mark.parametrize(("entry_k", "exit_k"), [(3, 2), (0, 5), (-1, -1)])
def test_wrong_ranks_are_refused(entry_k, exit_k):
    with pytest.raises(ValueError, match=f"received={entry_k} and {exit_k}"):
        _select([], entry_k=entry_k, exit_k=exit_k)


def test_a_code_has_one_rank():
    with pytest.raises(ValueError, match="distinct"):
        _select([], pool=["01", "02", "01"])
