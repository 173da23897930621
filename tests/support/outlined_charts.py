"""Reports whose charts are empty outlines, for tests that publish months and look at no chart.

Drawing takes most of the time of a small month. Everything else of the report is real: the template, the tables,
what the charts say of themselves, and how they stand in the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from matplotlib.figure import Figure

from apex_tasks.report.charts import drawing


@contextmanager
def outlined_charts() -> Iterator[None]:
    """Draw outlines, in this process and in those that it forks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "figure_svg", _outline)
        yield


def _outline(name: str, height_inches: float, paint: Callable[[Figure], None]) -> bytes:
    width, height = 72 * drawing.WIDTH_INCHES, 72 * height_inches
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">'
        f'<path d="M 0 0 H {width:g} V {height:g} H 0 Z" style="fill: none"/></svg>'
    ).encode()
