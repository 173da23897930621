"""Tokyo's daily price limit a second time: the table as securities firms print it, read tier after tier."""

from __future__ import annotations

FROM_JPY = """
    0 30           100 50           200 80           500 100          700 150          1,000 300
    1,500 400      2,000 500        3,000 700        5,000 1,000      7,000 1,500      10,000 3,000
    15,000 4,000   20,000 5,000     30,000 7,000     50,000 10,000    70,000 15,000    100,000 30,000
    150,000 40,000 200,000 50,000   300,000 70,000   500,000 100,000  700,000 150,000  1,000,000 300,000
    1,500,000 400,000               2,000,000 500,000                 3,000,000 700,000
    5,000,000 1,000,000             7,000,000 1,500,000               10,000,000 3,000,000
    15,000,000 4,000,000            20,000,000 5,000,000              30,000,000 7,000,000
    50,000,000 10,000,000
"""
_NUMBERS = [int(number.replace(",", "")) for number in FROM_JPY.split()]
LOWER_JPY, LIMITS_JPY = _NUMBERS[::2], _NUMBERS[1::2]


def limit_jpy(base: float) -> int:
    """The limit of a positive base price."""
    found = 0
    for lower, limit in zip(LOWER_JPY, LIMITS_JPY, strict=True):
        if base >= lower:
            found = limit
    return found


class Stock:
    """One stock's prices, session after session: what each next one may be."""

    def __init__(self) -> None:
        self.session = -1
        self.close = self.adjusted = 0.0
        self.at_limit = 0

    def verdict(self, session: int, close: float, adjusted: float) -> str:
        """`first`, `gap`, `forbidden` or `allowed`, of the move from the price before to this one."""
        before, self.session = self.session, session
        base = close * (self.adjusted / adjusted)
        up = close > base
        first, at_limit = before < 0, self.at_limit
        self.close, self.adjusted, self.at_limit = close, adjusted, 0
        if first:
            return "first"
        if session - before > 10:
            return "gap"
        if abs(close - base) >= 0.99 * limit_jpy(base):
            self.at_limit = 1 if up else -1
        factor = 4 if at_limit == (1 if up else -1) else 1
        farthest = 1.01 * base
        for _ in range(session - before):
            step = factor * limit_jpy(farthest) if farthest > 0 else 0
            farthest = farthest + step if up else max(farthest - step, 0.0)
        allowed = abs(farthest - 1.01 * base) + 0.01 * base
        return "allowed" if abs(close - base) <= allowed else "forbidden"
