"""One-way turnover: how much of a book is replaced."""

from __future__ import annotations

import math
from collections.abc import Mapping


def one_way_turnover(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Half the sum of absolute weight changes: replacing a whole book is 1, filling an empty one 0.5.

    Examples
    --------
    >>> one_way_turnover({"13010": 1.0}, {"72030": 1.0}), one_way_turnover({}, {"72030": 1.0})
    (1.0, 0.5)
    """
    codes = before.keys() | after.keys()
    # fsum rounds once, so the order of the codes cannot change the last bit.
    return math.fsum(abs(after.get(code, 0.0) - before.get(code, 0.0)) for code in codes) / 2
