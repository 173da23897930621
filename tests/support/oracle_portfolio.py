"""A slow second opinion on costs, selection, weights and accounting: plain loops, float64, no shared code."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


def commission(value):
    if value <= 0:
        return 0.0
    if value <= 5_000_000:
        return min(max(0.055 / 100 * value, 55.0), 550.0)
    if value <= 10_000_000:
        return min(0.033 / 100 * value, 1650.0)
    if value <= 20_000_000:
        return min(0.022 / 100 * value, 3300.0)
    return min(0.011 / 100 * value, 11000.0)


def volume(code, value, adv):
    known = adv.get(code)
    if known is None or math.isnan(known) or known <= 0:
        return 100.0 * value
    return known


def cost(value, adv_jpy):
    if value == 0:
        return 0.0
    bps = min(5.0 + min(100.0 * value / adv_jpy, 15.0), 20.0)
    return commission(value) + value * bps / 10_000.0


def gate(scored, k_ratio, k_min):
    """`scored`: list of (code, score), in any order; returns (kept in rank order, fallback)."""
    best_first = sorted(scored, key=lambda pair: (-pair[1], pair[0]))
    n = len(best_first)
    if n == 0:
        return [], False
    want = max(k_min, round(k_ratio * n))
    if want >= n or k_ratio >= 1:
        return best_first, False
    if k_ratio <= 0:
        return best_first[:want], True
    ascending = [score for _, score in reversed(best_first)]
    position = (1 - k_ratio) * (n - 1)
    below = math.floor(position)
    above = min(below + 1, n - 1)
    threshold = ascending[below] + (position - below) * (ascending[above] - ascending[below])
    kept = [pair for pair in best_first if pair[1] >= threshold]
    if len(kept) < want:
        return best_first[:want], True
    return kept, False


def candidates(scores, closes, top_k, multiplier, k_ratio, k_min):
    """`scores`: code -> score; `closes`: code -> close. Returns (kept, fallback, priced)."""
    best_first = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    priced = [pair for pair in best_first if pair[0] in closes]
    kept, fallback = gate(priced[: round(top_k * multiplier)], k_ratio, k_min)
    return kept, fallback, len(priced)


def clean(weights, epsilon):
    kept = {}
    for code in sorted(weights):
        if weights[code] > epsilon:
            kept[code] = weights[code]
    total = sum(kept.values())
    return {code: weight / total for code, weight in kept.items()}


def half_change(one, other):
    total = 0.0
    for code in sorted(set(one) | set(other)):
        total += abs(one.get(code, 0.0) - other.get(code, 0.0))
    return 0.5 * total


def weights(kept, current, portfolio, adv, s, top_k):
    """Returns (weights, notes). `s` carries the parameters under their settings' names."""
    pool = kept[: min(len(kept), max(top_k, round(top_k * s.candidate_multiplier)))]
    trade = portfolio / 35 if top_k == 35 else portfolio / top_k
    adjusted = {}
    for code, score in pool:
        if code in current:
            adjusted[code] = score
        else:
            adjusted[code] = score - s.cost_penalty * 2.0 * cost(trade, volume(code, trade, adv)) / trade
    rank = [code for code, _ in pool]
    first = sorted(rank, key=lambda code: (-adjusted[code], rank.index(code)))[:top_k]

    def attempt(limit, min_alpha):
        names = list(first)
        while names:
            if 1.0 / len(names) + s.epsilon < s.min_weight:
                names = names[:-1]
                continue
            goal = {code: 1.0 / len(names) for code in names}
            u = half_change(current, goal)
            if limit <= 0 or u <= limit + s.epsilon:
                return goal
            alpha = max(min_alpha, min(limit / u, 1.0))
            mixed = {}
            for code in set(current) | set(goal):
                mixed[code] = (1.0 - alpha) * current.get(code, 0.0) + alpha * goal.get(code, 0.0)
            mixed = clean(mixed, s.epsilon)
            weak = [c for c in names if c not in current and mixed.get(c, 0.0) + s.epsilon < s.min_weight]
            if not weak:
                return mixed
            lowest = min(adjusted[code] for code in weak)
            names.remove(sorted(code for code in weak if adjusted[code] == lowest)[-1])
        return {}

    result, notes = attempt(s.turnover_limit, s.min_alpha), []
    if not result:
        notes.append("turnover_constraint_relaxed")
        result = attempt(1.0, 0.05)
    if not result:
        notes.append("fallback_equal_weights")
        result = {code: 1.0 / len(rank[:top_k]) for code in rank[:top_k]}
    return clean(result, s.epsilon), notes


@dataclass
class Account:
    """Cash, shares and last known prices, traded in place."""

    cash: float
    shares: dict = field(default_factory=dict)
    last: dict = field(default_factory=dict)

    def value(self, closes):
        self.last.update({code: closes[code] for code in self.shares if code in closes})
        return self.cash + sum(self.shares[code] * self.last[code] for code in sorted(self.shares))

    def weights(self, closes):
        total = self.value(closes)
        return {code: self.shares[code] * self.last[code] / total for code in sorted(self.shares)}

    def rebalance(self, target, closes, adv):
        """Returns (trades: code -> signed value, cost, turnover, skipped buys)."""
        total, before = self.value(closes), self.weights(closes)
        trades, skipped = {}, []
        for code in sorted(set(before) | set(target)):
            if abs(target.get(code, 0.0) - before.get(code, 0.0)) < 1e-6:
                continue
            value = total * target.get(code, 0.0) - self.shares.get(code, 0.0) * self.last.get(code, 0.0)
            if value > 0 and code not in closes:
                skipped.append(code)
                continue
            trades[code] = value
        paid = 0.0
        for code, value in trades.items():
            price = closes.get(code, self.last.get(code))
            if value < 0 and -value / price >= self.shares[code] - 1e-6:
                del self.shares[code]
            else:
                self.shares[code] = self.shares.get(code, 0.0) + value / price
            self.last[code] = price
            fee = cost(abs(value), volume(code, abs(value), adv))
            self.cash -= value + fee
            paid += fee
        return trades, paid, sum(abs(value) for value in trades.values()) / total / 2, skipped
