"""One look for all charts, and matplotlib's SVG made fit to stand inside a page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Okabe and Ito (2008): colors that color-blind eyes tell apart. Dash, hatch or a label says the same again.
BLUE, SKY, VERMILLION = "#0072B2", "#56B4E9", "#D55E00"
INK, GREY, PALE, GRID = "#1c2733", "#5b6b7a", "#c3ccd5", "#e6eaee"

WIDTH_INCHES = 5.6
LABEL_LENGTH = 40
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that text is measured the same everywhere
    "font.size": 8.5,
    "text.parse_math": False,  # a dollar sign in the data is a dollar sign
    "text.color": INK,
    "axes.edgecolor": PALE,
    "axes.labelcolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
}
_REFERENCE = re.compile(r"#([\w.-]+)")
_NUMBER = re.compile(r"-?\d+\.\d+")
_NUMERIC = ("d", "x", "y", "width", "height", "transform", "points")
_FONT = re.compile(r"font-family:[^;]*(;\s*|$)")
_NO_SIZE = re.compile(r"\s*rotate\(-?0 [^)]*\)")


def draw(name: str, says: str, height_inches: float, paint: Callable[[Figure], None]) -> Markup:
    """Draw a chart as an `<svg>` element for the inside of an HTML page, the same bytes for the same values.

    Parameters
    ----------
    name
        Unique in the page: the ids in the chart begin with it.
    says
        What the chart shows, for those who cannot see it.
    paint
        Fills the figure.
    """
    return _inline(figure_svg(name, height_inches, paint), name, says)


def figure_svg(name: str, height_inches: float, paint: Callable[[Figure], None]) -> bytes:
    """The SVG document that matplotlib makes of a figure; parameters as of `draw`."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's own fonts show the text
        mpl.rcdefaults()  # whatever a matplotlibrc says
        mpl.rcParams.update({**_LOOK, "svg.hashsalt": name})
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        figure.patch.set_visible(False)
        paint(figure)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        buffer = io.BytesIO()
        # Not savefig, which goes through a layout and a whole drawing first and throws that drawing away.
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def plain(text: str) -> str:
    """Text from the data for a chart: what XML cannot hold is replaced, and no label outgrows the chart."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return shown if len(shown) <= LABEL_LENGTH else f"{shown[: LABEL_LENGTH - 1]}…"


def grid(axes: Axes, axis: str) -> None:
    """Pale lines across one axis, without ticks on it."""
    axes.grid(axis=axis)  # type: ignore[arg-type]
    axes.tick_params(axis=axis, length=0)  # type: ignore[arg-type]


def month_ticks(axes: Axes, positions: list[float], labels: list[str], most: int = 8) -> None:
    """Label some of the months on the x axis, evenly, the last among them."""
    step = -(-len(labels) // most)
    shown = range((len(labels) - 1) % step, len(labels), step) if labels else range(0)
    axes.set_xticks([positions[i] for i in shown], [labels[i] for i in shown])


def _inline(svg: bytes, name: str, says: str) -> Markup:
    """The drawing alone: no namespaces, no sizes, no fonts, only ids that are used, numbers to 0.01 point."""
    root = ET.fromstring(svg)  # noqa: S314  # drawn a line ago
    used = {found for element in root.iter() for found in _references(element)}
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(key): value for key, value in element.attrib.items()}
        element.attrib.clear()
        for key, value in attributes.items():
            if (kept := _attribute(key, value, name, used)) is not None:
                element.set(key, kept)
        if element.tag != "text":
            element.text = None
        element.tail = None
    for parent in reversed(list(root.iter())):
        for child in list(parent):
            if child.tag in ("metadata", "style") or (child.tag in ("g", "defs") and not len(child)):
                parent.remove(child)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {"class": "chart", "viewBox": box, "role": "img", "aria-label": says}
    root.set("stroke-linejoin", "round")
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704  # ElementTree escapes


def _references(element: ET.Element) -> Iterator[str]:
    for key, value in element.attrib.items():
        if _local(key) in ("href", "clip-path", "style", "fill"):
            yield from _REFERENCE.findall(value)


def _attribute(key: str, value: str, name: str, used: set[str]) -> str | None:
    if key == "id":
        return f"{name}-{value}" if value in used else None
    if key in _NUMERIC:
        value = _NUMBER.sub(lambda number: f"{round(float(number[0]), 2) + 0:g}", " ".join(value.split()))
        return _NO_SIZE.sub("", value) or None if key == "transform" else value
    if key == "href" or (key in ("style", "clip-path") and "url(#" in value):
        return value.replace("#", f"#{name}-") if key == "href" else value.replace("url(#", f"url(#{name}-")
    return _FONT.sub("", value) if key == "style" else value


def _local(name: str) -> str:
    return name.rpartition("}")[2]
