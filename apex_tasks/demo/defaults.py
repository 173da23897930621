"""Size and seed of the demo market; light, so that the command line can show them as its defaults."""

from datetime import date

DEFAULT_STOCKS = 420
DEFAULT_SESSIONS = 735
DEFAULT_SEED = 7
DEFAULT_END = date(2025, 10, 31)
