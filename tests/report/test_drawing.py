"""Charts as parts of a page: nothing but their own drawing, and no setting of matplotlib's changed."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from apex_tasks.published.history import History
from apex_tasks.report.changes import market_index
from apex_tasks.report.charts.drawing import LABEL_LENGTH, draw, plain
from apex_tasks.report.charts.equity import MOST_POINTS, drawdowns, equity_chart
from apex_tasks.report.charts.scores import RankMove, rank_chart, score_chart


def paint(figure: Figure) -> None:
    axes = figure.subplots()
    axes.bar([1, 2], [3, 4], hatch="//")
    axes.plot([1, 2], [1, 2], marker="o")
    axes.set_title("<b>&$x$ 電気機器")


def test_a_chart_is_plain_svg_with_ids_of_its_own() -> None:
    chart = draw("one", 'says "<this>"', 2, paint)
    root = ET.fromstring(chart)
    assert root.attrib == {
        "class": "chart",
        "viewBox": "0 0 403.2 144",
        "role": "img",
        "aria-label": 'says "<this>"',
        "stroke-linejoin": "round",
    }
    assert "<b>&$x$ 電気機器" in [element.text for element in root.iter("text")]
    assert not {"metadata", "style", "image"} & {element.tag for element in root.iter()}
    assert "font-family" not in chart
    ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    assert ids
    assert all(name.startswith("one-") for name in ids)
    assert not ids & {
        element.attrib.get("id")
        for element in ET.fromstring(draw("two", "", 2, paint)).iter()
        if element.attrib
    }


def test_drawing_leaves_the_settings_as_they_were() -> None:
    before = dict(mpl.rcParams)
    draw("one", "", 2, paint)
    assert dict(mpl.rcParams) == before


def test_labels_from_the_data_are_printable_and_bounded() -> None:
    assert plain("72030") == "72030"
    assert plain("a\x00b\n") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert len(plain("x" * 1000)) == LABEL_LENGTH


def test_a_long_curve_is_drawn_in_groups_and_says_its_true_extremes() -> None:
    import datetime as dt

    from tests.support.small_market import CALENDAR

    sessions = CALENDAR.sessions(dt.date(2016, 1, 4), dt.date(2025, 12, 30))
    portfolio = np.linspace(100, 200, len(sessions))
    portfolio[1000] = 30.0  # one bad close between two ends of groups
    chart = equity_chart(sessions, portfolio, np.full(len(sessions), 5.0))
    fall = 1 - 30 / portfolio[999]
    assert f"with a largest drawdown of {100 * fall:.1f} %, the market to 100.0 with one of 0.0 %" in chart
    longest = max(element.attrib.get("d", "").count("L") for element in ET.fromstring(chart).iter())
    assert longest <= 2 * (MOST_POINTS + 2)
    assert len(chart) < 60_000


def test_drawdowns_are_those_of_a_loop() -> None:
    values = np.random.default_rng(3).uniform(50, 150, 200)
    highest, expected = 0.0, []
    for value in values:
        highest = max(highest, value)
        expected.append(value / highest - 1)
    assert drawdowns(values).tolist() == pytest.approx(expected, abs=1e-15)


def test_the_market_stands_still_where_it_has_no_return() -> None:
    history = History(
        months=(),
        sessions=("2025-06-30", "2025-07-01", "2025-07-02", "2025-07-03"),
        portfolio_value_jpy=(1, 1, 1, 1),
        market_returns=(None, 0.1, None, -0.5),
    )
    assert market_index(history).tolist() == pytest.approx([1, 1.1, 1.1, 0.55])


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [-1e9, 0.0, 1e-9]])
def test_scores_of_any_spread_can_be_drawn(scores: list[float]) -> None:
    assert "the 1 held stocks are marked" in score_chart(
        np.array(scores), np.array([False, False, True]), scores[1], "last"
    )


def test_a_single_rank_can_be_drawn() -> None:
    assert "0 rose, 1 did not" in rank_chart([RankMove("72030", 1, 1, held=True, left=False)])
