"""Backtests: many months in one process, by the same selection, weights, orders and ledger as the monthly run."""
