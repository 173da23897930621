"""The monthly rehearsal: counted against frozen answers, equal to the months that really run, and able to fail."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_tasks.refusal import CheckFailed, Refusal
from apex_tasks.rehearsal.outcome import StageVerdict
from apex_tasks.rehearsal.replay import (
    MonthlyRehearsal,
    compare_with_calendar,
    expected_rebalances,
    rehearse_months,
)
from apex_tasks.rehearsal.request import RehearsalRequest
from apex_tasks.settings import AlertThreshold, LimitSettings, Severity
from tests.support.paths import ROOT
from tests.support.small_market import (
    AS_OF,
    AUGUST,
    CALENDAR,
    JULY,
    LAST_SESSION,
    OCTOBER,
    SEPTEMBER,
    SmallMarket,
    portfolio,
    run_chain,
    small_settings,
    write_table,
)

pytestmark = pytest.mark.slow

ANSWERS = [
    dt.datetime.fromisoformat(row["rebalance_instant"]).date()
    for row in csv.DictReader((ROOT / "tests" / "market" / "rebalance_answers.csv").open(encoding="utf-8"))
]
days_of_answers = st.dates(dt.date(2002, 1, 1), dt.date(2030, 12, 31))


def rehearsal(market: SmallMarket, home: Path, **given: Any) -> RehearsalRequest:
    inputs = {"bundle": str(market.bundle), "dataset": str(market.dataset), "today": LAST_SESSION}
    return RehearsalRequest.model_validate({**inputs, "settings": small_settings(home), **given})


@pytest.fixture(scope="module")
def rehearsed(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> MonthlyRehearsal:
    return rehearse_months(rehearsal(market, tmp_path_factory.mktemp("months")), CALENDAR)


def expected(first: dt.date, last: dt.date, months: int, lookback: int = 180, nth: int = 1) -> list[dt.date]:
    return expected_rebalances(CALENDAR, first, last, lookback=lookback, months=months, nth_session=nth)


@settings(max_examples=40, deadline=None)
@given(last=days_of_answers, months=st.integers(1, 30))
def test_expected_days_are_the_frozen_answers(last: dt.date, months: int) -> None:
    found = expected(dt.date(2000, 1, 4), last, months, lookback=1)
    assert found == [day for day in ANSWERS if dt.date(2000, 1, 4) < day <= last][-months:]


@settings(max_examples=40, deadline=None)
@given(reach=st.integers(0, 400), last=days_of_answers)
def test_months_without_a_full_window_are_not_expected(reach: int, last: dt.date) -> None:
    first = last - dt.timedelta(days=reach)
    sessions = CALENDAR.sessions(first, last)
    covered = [day for day in ANSWERS if sum(session < day for session in sessions) >= 60 and day <= last]
    assert expected(first, last, 24, lookback=60) == covered


def test_another_session_of_the_month_can_be_the_rebalance_day() -> None:
    assert expected(dt.date(2024, 1, 4), dt.date(2025, 10, 2), 2, nth=3) == [
        dt.date(2025, 8, 5),
        dt.date(2025, 9, 3),
    ]


def test_the_newest_months_of_the_dataset_are_rehearsed(rehearsed: MonthlyRehearsal) -> None:
    assert rehearsed.verdict is StageVerdict.PASSED
    assert rehearsed.expected == (AUGUST, SEPTEMBER, OCTOBER)
    assert [month.rebalance_date for month in rehearsed.months] == [AUGUST, SEPTEMBER, OCTOBER]
    assert [month.as_of for month in rehearsed.months] == [AS_OF[d] for d in (AUGUST, SEPTEMBER, OCTOBER)]
    assert all(month.filled and not month.remarks for month in rehearsed.months)
    assert rehearsed.require_passed() is rehearsed
    assert rehearsed.summary == (
        "3 rebalances of 3 expected from 2025-08-01 to 2025-10-01, candidates kept 53"
    )


def test_they_are_the_months_that_really_run(
    market: SmallMarket, rehearsed: MonthlyRehearsal, tmp_path: Path
) -> None:
    run_chain(market, tmp_path, (AUGUST, SEPTEMBER, OCTOBER))
    for month in rehearsed.months:
        metrics = portfolio(tmp_path, month.rebalance_date).read_json("run.json")["metrics"]
        assert month.candidate_kept == metrics["apex_selected_count"]
        assert month.eligible == metrics["eligible_stocks"]
        assert month.positions == metrics["positions"]
        assert month.trades == metrics["trades"]
        assert month.turnover == pytest.approx(metrics["turnover"], rel=1e-9)
        assert month.cost_bps == pytest.approx(metrics["apex_daily_cost_bps"], rel=1e-9)


def test_a_rebalance_day_without_rows_fails_and_is_named(market: SmallMarket, tmp_path: Path) -> None:
    hole = write_table(market.table.filter(pa.array(market.dates != SEPTEMBER)), tmp_path / "hole.parquet")
    found = rehearse_months(rehearsal(market, tmp_path, dataset=str(hole)), CALENDAR)
    assert found.verdict is StageVerdict.FAILED
    assert found.missing == (SEPTEMBER,)
    assert found.problems == ("2 rebalances instead of 3: missing 2025-09-01",)
    assert "no closes of the day" in found.months[1].remarks[0]
    with pytest.raises(CheckFailed, match=r"monthly rehearsal failed.*missing 2025-09-01"):
        found.require_passed()


def test_an_as_of_session_without_rows_is_refused(market: SmallMarket, tmp_path: Path) -> None:
    hole = write_table(
        market.table.filter(pa.array(market.dates != AS_OF[SEPTEMBER])), tmp_path / "hole.parquet"
    )
    with pytest.raises(Refusal, match="too few eligible stocks on 2025-08-29"):
        rehearse_months(rehearsal(market, tmp_path, dataset=str(hole)), CALENDAR)


def test_rebalances_that_nobody_expects_fail(rehearsed: MonthlyRehearsal) -> None:
    found = compare_with_calendar([AUGUST, OCTOBER], rehearsed.months, requested=3)
    assert (found.missing, found.unexpected) == ((), (SEPTEMBER,))
    assert found.problems == ("3 rebalances instead of 2: unexpected 2025-09-01",)
    found = compare_with_calendar([JULY, *rehearsed.expected], rehearsed.months[1:], requested=3)
    assert found.problems == ("2 rebalances instead of 4: missing 2025-07-01, 2025-08-01",)
    found = compare_with_calendar([JULY, SEPTEMBER, OCTOBER], rehearsed.months, requested=3)
    assert found.problems == ("3 rebalances instead of 3: missing 2025-07-01; unexpected 2025-08-01",)


def test_a_month_that_the_live_run_would_stop_fails(market: SmallMarket, tmp_path: Path) -> None:
    close = market.values("Close")
    unpriced = sorted(set(market.codes))[:70]
    close[(market.dates == AS_OF[SEPTEMBER]) & np.isin(market.codes, unpriced)] = np.nan
    dataset = market.changed(tmp_path / "unpriced.parquet", Close=close)
    found = rehearse_months(rehearsal(market, tmp_path, dataset=str(dataset)), CALENDAR)
    assert found.verdict is StageVerdict.FAILED
    (problem,) = found.problems
    assert problem == "2025-09-01: CRITICAL: apex_selected_count = 50, alert when < 53"


def test_a_month_beyond_the_limits_fails(market: SmallMarket, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, limits=LimitSettings(least_candidates=54, largest_weight=0.5))
    found = rehearse_months(rehearsal(market, tmp_path, settings=settings, months=2), CALENDAR)
    said = "53 candidates, at least 54 candidates"
    assert found.problems == (f"2025-09-01: {said}", f"2025-10-01: {said}")
    assert all(said in month.remarks for month in found.months)


def test_a_warning_is_a_remark_and_no_failure(market: SmallMarket, tmp_path: Path) -> None:
    cheap = AlertThreshold(
        metric="apex_daily_cost_bps",
        comparison=">",
        bound=6.0,
        first_build_bound=20.0,
        severity=Severity.WARNING,
        remedy="Look.",
        runbook="high-costs",
    )
    settings = small_settings(tmp_path, thresholds=(cheap,))
    found = rehearse_months(rehearsal(market, tmp_path, settings=settings), CALENDAR)
    assert found.verdict is StageVerdict.PASSED
    assert [len(month.remarks) for month in found.months] == [
        int(month.cost_bps > 6 and month.rebalance_date != AUGUST) for month in found.months
    ]
    assert any(month.remarks for month in found.months)


def test_thresholds_are_those_of_the_option_in_force(market: SmallMarket, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    enhanced = settings.enhanced.model_copy(update={"hysteresis": True})
    request = rehearsal(market, tmp_path, settings=settings.model_copy(update={"enhanced": enhanced}))
    found = rehearse_months(request, CALENDAR)
    assert {month.candidate_kept for month in found.months} == {35}
    assert found.verdict is StageVerdict.PASSED


def test_months_before_the_first_full_window_are_left_out(market: SmallMarket, tmp_path: Path) -> None:
    reaching = CALENDAR.sessions(dt.date(2024, 1, 4), AS_OF[SEPTEMBER])[-180]
    for first, covered in ((reaching, [SEPTEMBER, OCTOBER]), (CALENDAR.next_session(reaching), [OCTOBER])):
        dataset = write_table(
            market.table.filter(pa.array(market.dates >= first)), tmp_path / f"{first}.parquet"
        )
        found = rehearse_months(rehearsal(market, tmp_path, dataset=str(dataset)), CALENDAR)
        assert found.verdict is StageVerdict.PASSED
        assert (found.requested, list(found.expected)) == (3, covered)


def test_a_dataset_without_a_single_covered_month_is_refused(market: SmallMarket, tmp_path: Path) -> None:
    first = sorted(set(market.dates))[100]
    dataset = write_table(market.table.filter(pa.array(market.dates >= first)), tmp_path / "short.parquet")
    with pytest.raises(Refusal, match="covers no rebalance that could be rehearsed"):
        rehearse_months(rehearsal(market, tmp_path, dataset=str(dataset)), CALENDAR)


def test_the_rebalance_after_the_dataset_is_not_expected(market: SmallMarket, tmp_path: Path) -> None:
    """The dataset of 09:00 ends on the as-of session: what it could not fill is not counted."""
    dataset = write_table(
        market.table.filter(pa.array(market.dates <= AS_OF[OCTOBER])), tmp_path / "ends.parquet"
    )
    found = rehearse_months(rehearsal(market, tmp_path, dataset=str(dataset)), CALENDAR)
    assert found.expected == (JULY, AUGUST, SEPTEMBER)
    assert found.verdict is StageVerdict.PASSED


def test_a_rehearsal_survives_json(rehearsed: MonthlyRehearsal) -> None:
    assert MonthlyRehearsal.model_validate(rehearsed.model_dump(mode="json")) == rehearsed
