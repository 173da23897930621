"""What can be wrong with a dataset that reads well; docs/dataset.md says how each one is found."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """One kind of fault; the value is its name in settings, run.json and metrics."""

    PRICES_MISSING = "prices_missing"
    """Too few stocks have a close on the as-of session."""

    VOLUMES_MISSING = "volumes_missing"
    """Too few stocks have a volume on the as-of session."""

    FEATURES_LATE = "features_late"
    """A feature is null for far more stocks on the as-of session than before."""

    FEATURES_EMPTY = "features_empty"
    """A feature has no value, or one for all stocks, on all the sessions that the model reads."""

    FEATURES_THIN = "features_thin"
    """A feature is null for far more stocks on an earlier session than on others."""

    FEATURES_SPARSE = "features_sparse"
    """Features that follow from prices are null for many rows: the prices have holes."""

    OFF_SESSION_ROWS = "off_session_rows"
    """Rows are dated on days on which the exchange was closed."""

    SESSIONS_ABSENT = "sessions_absent"
    """Sessions within the lookback have no rows."""

    SESSIONS_UNPRICED = "sessions_unpriced"
    """Sessions within the lookback have rows and not one close."""

    SESSIONS_THIN = "sessions_thin"
    """Sessions within the lookback have far fewer closes than others."""

    ROWS_MISSING = "rows_missing"
    """Stocks lack rows on sessions between their first and the as-of session."""

    SESSION_REPEATED = "session_repeated"
    """The as-of session repeats closes and volumes of a session before it."""

    EARLIER_SESSIONS_REPEATED = "earlier_sessions_repeated"
    """An earlier session within the lookback repeats those of the session before."""

    CODES_UNKNOWN = "codes_unknown"
    """Codes that the exchange does not give."""

    MARKET_MOVED = "market_moved"
    """More closes than a few moved beyond the daily limit on one session: the unit changed."""

    CLOSES_MOVED = "closes_moved"
    """Single closes moved beyond the daily limit, and the file does not explain it."""

    ADJUSTMENTS_CONTRADICTED = "adjustments_contradicted"
    """AdjustmentClose contradicts AdjustmentFactor, or changes for one session only."""

    ADJUSTMENTS_MISSING = "adjustments_missing"
    """Rows with a close have no AdjustmentClose, though the file has the column."""

    TURNOVER_MISMATCHED = "turnover_mismatched"
    """TurnoverValue is not Volume times Close, by the median stock."""

    STOCK_TURNOVER_MISMATCHED = "stock_turnover_mismatched"
    """The same for single stocks."""


WAITED_FOR = frozenset(
    {
        Fault.PRICES_MISSING,
        Fault.VOLUMES_MISSING,
        Fault.FEATURES_LATE,
        Fault.SESSION_REPEATED,
    }
)
"""A delivery under way looks like these: the sensor waits. All others a later look does not mend."""
