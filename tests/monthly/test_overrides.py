"""What a run changes against the settings is told where the month is told, or locked; nothing moves a limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apex_tasks.monthly.request import RUN_PARAMETERS, WITH_SETTING, RunRequest, resolve_request
from apex_tasks.monthly.run import run_month
from apex_tasks.monthly.summary import summarize_month
from apex_tasks.portfolio.monthly_plan import broken_limits
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, LimitSettings, Policy, PortfolioSettings, RunParameter
from apex_tasks.store import Store
from tests.support.month_reading import run_document
from tests.support.small_market import (
    AUGUST,
    CALENDAR,
    JULY,
    SmallMarket,
    home_after,
    month,
    month_request,
    portfolio,
    published_bytes,
    run,
    small_settings,
)


def report(home: Path) -> str:
    return portfolio(home, JULY).read_bytes("report.html").decode()


# --- told ---------------------------------------------------------------------------------------------------


def overridden(market: SmallMarket, settings: ApexSettings | None = None, **given: Any) -> list[str]:
    return [str(found) for found in month_request(market, "home", JULY, settings, **given).overrides]


def test_what_differs_from_the_settings_is_an_override(market: SmallMarket) -> None:
    assert overridden(market) == []
    assert overridden(market, top_k=35, horizon=20, policy="baseline", approval=False, cold_start=True) == []
    assert overridden(market, top_k=20, policy="capped", approval=True, horizon=5) == [
        "top_k 20 instead of 35",
        "horizon 5 instead of 20",
        "policy capped instead of baseline",
        "approval True instead of False",
    ]
    asks = small_settings("home", approval=True)
    assert overridden(market, asks, approval=False) == ["approval False instead of True"]
    assert overridden(market, asks, approval=True) == []


@pytest.mark.parametrize("name", ["bundle", "dataset"])
def test_another_input_is_an_override(market: SmallMarket, name: str) -> None:
    moment = CALENDAR.rebalance_instant(JULY)

    def request(settings: ApexSettings) -> RunRequest:
        given = {"bundle": "b", "dataset": "d", name: "other"}
        return resolve_request(given, moment=moment, now=moment, settings=settings, calendar=CALENDAR)

    named = small_settings("home", bundle="b", dataset="d")
    (found,) = request(named).overrides
    assert str(found) == f"{name} other instead of {named.model_dump()[name]}"
    (found,) = request(named.model_copy(update={name: None})).overrides
    assert str(found) == f"{name} other instead of nothing"


def test_every_parameter_with_a_setting_is_compared() -> None:
    assert set(RUN_PARAMETERS) == {str(name) for name in RunParameter}
    assert set(RUN_PARAMETERS) - set(WITH_SETTING) == {
        "as_of",
        "off_cycle",
        "dry_run",
        "republish_reason",
        "cold_start",
    }


def test_overrides_are_published_with_who_triggered_them(market: SmallMarket, tmp_path: Path) -> None:
    ready = replace(
        month(market, tmp_path, JULY, cold_start=True, top_k=20), triggered_by="ada, run manual__7 <b>"
    )
    plan, published = run_month(ready)
    document = run_document(tmp_path, JULY)
    assert document["overrides"] == [{"parameter": "top_k", "value": 20, "setting": 35}]
    assert document["triggered_by"] == "ada, run manual__7 <b>"
    page = report(tmp_path)
    assert "OVERRIDES" in page
    assert "top_k 20 instead of 35. Triggered by ada, run manual__7 &lt;b&gt;." in page
    summary = summarize_month(ready.request, plan, published, Store(tmp_path), "ada")
    assert (summary.overrides, summary.triggered_by) == (("top_k 20 instead of 35",), "ada")


def test_a_usual_month_shows_nothing_of_them(chain: Path) -> None:
    document = run_document(chain, JULY)
    assert (document["overrides"], document["triggered_by"], document["off_cycle"]) == ([], None, None)
    assert "OVERRIDES" not in report(chain)
    assert "OFF-CYCLE" not in report(chain)
    assert portfolio(chain, JULY).details.keys() == {"rebalance_date", "as_of"}


# --- locked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("as_of", "2025-05-30"),
        ("bundle", "other"),
        ("dataset", "other"),
        ("top_k", 20),
        ("policy", "capped"),
        ("dry_run", True),
        ("approval", False),
        ("republish_reason", "why"),
        ("cold_start", True),
        ("off_cycle", "why"),
    ],
)
def test_a_locked_parameter_is_refused_by_name(market: SmallMarket, name: str, value: object) -> None:
    settings = small_settings("home", bundle="b", dataset="d", approval=True, locked=(RunParameter(name),))
    moment = CALENDAR.rebalance_instant(JULY)

    def resolve(**given: object) -> RunRequest:
        return resolve_request(given, moment=moment, now=moment, settings=settings, calendar=CALENDAR)

    with pytest.raises(Refusal) as refused:
        resolve(**{name: value})
    assert refused.value.what == f"locked for runs: {name}"
    assert refused.value.received == f"{name} {value}"
    assert refused.value.where == "setting locked"
    same = {"approval": True, "top_k": 35, "policy": "baseline", "bundle": "b", "as_of": "2025-06-30"}
    assert resolve(**{name: same.get(name)}) == resolve(), "what the settings say anyway changes nothing"


def test_all_locked_parameters_are_named(market: SmallMarket) -> None:
    locked = (RunParameter.POLICY, RunParameter.APPROVAL, RunParameter.TOP_K)
    with pytest.raises(Refusal) as refused:
        month_request(
            market, "home", JULY, small_settings("home", locked=locked), policy="capped", approval=True
        )
    assert refused.value.what == "locked for runs: approval, policy"
    assert refused.value.expected == "approval False, policy baseline"


# --- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (LimitSettings(least_candidates=54), "53 candidates, at least 54 candidates"),
        (LimitSettings(largest_weight=0.02), r"a weight of 2\.8\d%, no weight above 2\.00%"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_plan_beyond_the_limits_is_refused(
    market: SmallMarket, tmp_path: Path, limits: LimitSettings, said: str, dry_run: bool
) -> None:
    settings = small_settings(tmp_path, limits=limits)
    with pytest.raises(Refusal, match=f"beyond the limits of every month: {said}"):
        run(market, tmp_path, JULY, settings, cold_start=True, dry_run=dry_run)
    assert published_bytes(tmp_path) == {}


def test_a_book_that_the_policy_cannot_fill_is_refused(market: SmallMarket, tmp_path: Path) -> None:
    """Lots of 100 are too dear for so little money: the number that was asked for is not the number held."""
    poor = PortfolioSettings(policy=Policy.CAPPED, initial_capital_jpy=300_000.0)
    with pytest.raises(Refusal, match=r"beyond the limits of every month: \d names, at least 10 names"):
        run(market, tmp_path, JULY, small_settings(tmp_path, portfolio=poor), cold_start=True)
    assert published_bytes(tmp_path) == {}


@pytest.mark.parametrize(
    ("names", "weight", "candidates", "broken"),
    [
        (10, 0.25, 15, []),
        (9, 0.25, 15, ["limits.least_names"]),
        (10, 0.2500001, 15, ["limits.largest_weight"]),
        (10, float("nan"), 15, ["limits.largest_weight"]),
        (10, 0.25, 14, ["limits.least_candidates"]),
        (1, 1.0, 2, ["limits.least_names", "limits.largest_weight", "limits.least_candidates"]),
    ],
)
def test_each_limit_is_judged_at_its_bound(
    names: int, weight: float, candidates: int, broken: list[str]
) -> None:
    found = broken_limits(LimitSettings(), names=names, largest_weight=weight, candidates=candidates)
    assert [limit.setting for limit in found] == broken


def test_no_parameter_of_a_run_moves_a_limit(market: SmallMarket) -> None:
    extremes: dict[str, Any] = {
        "top_k": 500,
        "horizon": 1,
        "policy": "capped",
        "approval": True,
        "dry_run": True,
    }
    request = month_request(market, "home", JULY, **extremes)
    assert request.settings.limits == LimitSettings()


# --- top_k beyond what can be held --------------------------------------------------------------------------


def test_more_names_than_min_weight_allows_are_told(market: SmallMarket, tmp_path: Path) -> None:
    plan, _ = run(market, tmp_path, JULY, cold_start=True, top_k=60)
    assert plan.positions == 50
    told = "top_k 60 is more than min_weight 0.02 allows: aimed at 50 names, 10 were left out"
    assert told in run_document(tmp_path, JULY)["warnings"]
    assert told in report(tmp_path)


def test_more_names_than_there_are_candidates_are_told(market: SmallMarket, tmp_path: Path) -> None:
    run(market, tmp_path, JULY, cold_start=True, top_k=200)
    kept = run_document(tmp_path, JULY)["metrics"]["apex_selected_count"]
    assert kept < 200
    warnings = run_document(tmp_path, JULY)["warnings"]
    assert f"top_k 200 is more than there are candidates: {kept}" in warnings
    assert f"aimed at 50 names, {kept - 50} were left out" in "".join(warnings)


def test_a_top_k_that_fits_is_no_warning(market: SmallMarket, chain: Path, tmp_path: Path) -> None:
    run(market, home_after(chain, tmp_path / "home", JULY), AUGUST, top_k=50)
    assert not [text for text in run_document(tmp_path / "home", AUGUST)["warnings"] if "top_k" in text]
