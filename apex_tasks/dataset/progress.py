"""How long steps tell how far they are."""

from collections.abc import Callable

ReportProgress = Callable[[str, float, float], None]
"""Called with a description, the amount done and the total."""
