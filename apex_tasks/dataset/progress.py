"""The progress callback of long steps."""

from collections.abc import Callable

ReportProgress = Callable[[str, float, float], None]
"""Called with a description, the amount done and the total."""
