"""The verdict on a month, and what each threshold demands of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from apex_tasks.published.run_document import RunDocument, read_run
from apex_tasks.report.verdict import ReportState, Verdict, verdict_of
from tests.support.small_market import AUGUST, JULY, portfolio

ALERT = {
    "metric": "apex_daily_cost_bps",
    "value": 31.2,
    "comparison": ">",
    "bound": 20.0,
    "severity": "WARNING",
    "remedy": "Look.",
    "runbook": "docs/runbook.md#high-costs",
}


@pytest.fixture
def run(chain: Path) -> dict[str, Any]:
    return copy.deepcopy(portfolio(chain, AUGUST).read_json("run.json"))


def verdict_on(run: dict[str, Any]) -> Verdict:
    return verdict_of(RunDocument.model_validate(run))


def test_a_clean_month_is_ok_in_one_sentence(run: dict[str, Any]) -> None:
    run["metrics"] |= {
        "positions": 35,
        "trades": 1,
        "turnover": 0.1949,
        "cost_jpy": 5468.4,
        "apex_daily_cost_bps": 5.457,
        "portfolio_value_jpy": 10_021_117.2,
    }
    found = verdict_on(run)
    assert (found.state, found.word) == (ReportState.OK, "OK")
    assert found.sentence == (
        "35 positions, 1 order, turnover 19.5%, expected cost 5,468 JPY (5.46 bps) on 10,021,117 JPY; "
        "0 alerts, 0 warnings."
    )


def test_alerts_weigh_more_than_warnings(run: dict[str, Any]) -> None:
    run["warnings"] = ["three prices are old"]
    assert (
        verdict_on(run).state,
        verdict_on(run).word,
    ) == (ReportState.WARNED, "OK, WITH WARNINGS")
    run["alerts"] = [ALERT]
    assert (
        verdict_on(run).state,
        verdict_on(run).word,
    ) == (ReportState.ALERT, "ATTENTION")
    assert verdict_on(run).sentence.endswith("; 1 alert, 1 warning.")


def test_every_threshold_but_the_latency_is_judged_by_the_bound_in_force(
    chain: Path, run: dict[str, Any]
) -> None:
    judged = {found.metric: found for found in verdict_on(run).judgements}
    assert list(judged) == ["apex_selected_count", "apex_effective_dim", "apex_daily_cost_bps"]
    assert [found.demand for found in judged.values()] == ["at least 53", "exactly 178", "at most 20 bps"]
    assert [found.shown for found in judged.values()][:2] == ["53", "178"]
    assert not any(found.broken for found in judged.values())

    # The first build has a higher bound, a smaller book a lower one.
    first = verdict_of(read_run(portfolio(chain, JULY))).judgements[2]
    assert (first.bound, first.usual_bound, first.demand) == (28.6, 20.0, "at most 28.60 bps")
    run["settings"]["ranking"]["top_k"] = 10
    assert verdict_on(run).judgements[0].demand == "at least 15"


@pytest.mark.parametrize(
    ("metric", "value", "broken"),
    [
        ("apex_selected_count", 52, True),
        ("apex_selected_count", 53, False),
        ("apex_effective_dim", 89, True),
        ("apex_daily_cost_bps", 20.0, False),
        ("apex_daily_cost_bps", 20.01, True),
    ],
)
def test_a_bound_is_broken_where_the_alert_fires(
    run: dict[str, Any], metric: str, value: float, broken: bool
) -> None:
    run["metrics"][metric] = value
    judged = {found.metric: found for found in verdict_on(run).judgements}
    assert judged[metric].broken is broken
