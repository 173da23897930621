"""Option A.3: a held name may stay at a rank at which a new one could not enter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from apex_tasks.settings import Priority


@dataclass(frozen=True)
class Hysteresis:
    """What `select_with_hysteresis` goes by.

    Attributes
    ----------
    held
        Codes in the book before.
    entry_k, exit_k, priority
        See there.
    """

    held: frozenset[str]
    entry_k: int
    exit_k: int
    priority: Priority


def select_with_hysteresis(
    codes_in_rank_order: Sequence[str],
    held: Collection[str],
    *,
    entry_k: int,
    exit_k: int,
    priority: Priority = Priority.RANK,
) -> list[str]:
    """Names that may be in the book, in place of the percentile gate.

    With nothing held, the best `entry_k`. Else held names among the best `exit_k` and new names among the best
    `entry_k` qualify, and at most `entry_k` of them are taken, by `priority`.

    With `Priority.RANK` the answer is always the best `entry_k`, whatever is held: each of these qualifies, as a
    held or as a new name, and no other name ranks before them. A rule that holds on to names needs `Priority.HELD`.

    Parameters
    ----------
    codes_in_rank_order
        Distinct codes of the pool, best first, ties broken by Code.
    held
        Codes in the book before; those outside the pool are ignored.
    entry_k
        Rank up to which a new name may enter, and the most names that are taken; 1 or more.
    exit_k
        Rank up to which a held name may stay; `entry_k` or more.

    Returns
    -------
    list of str
        Codes in rank order.

    Raises
    ------
    ValueError
        `entry_k` is below 1 or above `exit_k`, or a code comes twice.
    """
    if not 1 <= entry_k <= exit_k:
        raise ValueError(f"hysteresis: expected=1 <= entry_k <= exit_k, received={entry_k} and {exit_k}")
    if len(set(codes_in_rank_order)) < len(codes_in_rank_order):
        raise ValueError("codes in rank order: expected=distinct codes")
    owned = frozenset(held)
    staying = [code for code in codes_in_rank_order[:exit_k] if code in owned]
    entering = [code for code in codes_in_rank_order[:entry_k] if code not in owned]
    if priority is Priority.HELD:
        chosen = frozenset((staying + entering)[:entry_k])
        return [code for code in codes_in_rank_order[:exit_k] if code in chosen]
    qualified = frozenset(staying + entering)
    return [code for code in codes_in_rank_order[:exit_k] if code in qualified][:entry_k]
