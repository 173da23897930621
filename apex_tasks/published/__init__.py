"""Published months: portfolios, history, ledger, audit trail, and how two of them compare."""
