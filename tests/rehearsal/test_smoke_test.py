"""The smoke test: it passes on sound inputs, and fails for every way in which two passes can differ."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from apex_tasks.monthly.score import score
from apex_tasks.refusal import CheckFailed, Refusal
from apex_tasks.rehearsal.outcome import StageVerdict
from apex_tasks.rehearsal.request import RehearsalRequest
from apex_tasks.rehearsal.smoke_test import (
    SCORING_AGAIN,
    SmokeReport,
    compare_scored_passes,
    score_independently,
    score_together,
    smoke_test,
)
from tests.support import bundle_factory
from tests.support.small_market import (
    CALENDAR,
    LAST_SESSION,
    SESSIONS,
    SmallMarket,
    small_settings,
    write_table,
)

pytestmark = pytest.mark.slow

NEWEST = CALENDAR.sessions(LAST_SESSION - dt.timedelta(days=14), LAST_SESSION)[-5:]


def rehearsal(market: SmallMarket, tmp_path: Path, **given: Any) -> RehearsalRequest:
    inputs = {"bundle": str(market.bundle), "dataset": str(market.dataset), "today": LAST_SESSION}
    return RehearsalRequest.model_validate({**inputs, "settings": small_settings(tmp_path / "home"), **given})


@pytest.fixture(scope="module")
def report(market: SmallMarket, tmp_path_factory: pytest.TempPathFactory) -> SmokeReport:
    return smoke_test(rehearsal(market, tmp_path_factory.mktemp("smoke")), CALENDAR)


def other_bundle(out: Path) -> Path:
    """The same bundle with one weight of the head changed."""
    payload = bundle_factory.weights()
    payload["head.heads.h20.weight"][0, 0] += 0.5
    return bundle_factory.Draft(payload=payload).folder(out)


def test_sound_inputs_pass(report: SmokeReport) -> None:
    assert report.verdict is StageVerdict.PASSED
    assert report.problems == ()
    assert [session.session for session in report.sessions] == NEWEST
    assert report.require_passed() is report
    assert report.top_k == 35
    assert report.summary.startswith(
        "5 sessions from 2025-10-06 to 2025-10-10 scored twice, the best 35 names"
    )


def test_the_names_are_those_of_apex_score(market: SmallMarket, report: SmokeReport, tmp_path: Path) -> None:
    for session in report.sessions:
        ranked = score(market.bundle, market.dataset, session.session, small_settings(tmp_path))
        assert list(session.names) == ranked["Code"].head(35).tolist()
        assert session.stocks == len(ranked) == 120
        assert 0 <= session.largest_score_difference <= 1e-5


def test_the_two_passes_go_different_ways(market: SmallMarket, tmp_path: Path) -> None:
    for batch_size, workers in ((32, None), (17, 1), (31, 2)):
        settings = small_settings(tmp_path)
        inference = settings.inference.model_copy(update={"batch_size": batch_size, "workers": workers})
        request = rehearsal(
            market, tmp_path, sessions=2, settings=settings.model_copy(update={"inference": inference})
        )
        found = smoke_test(request, CALENDAR)
        assert found.problems == ()
        assert found.first.how.startswith(f"one panel of 2 sessions, batches of {batch_size}, ")
        assert found.second.how.startswith("a panel per session, batches of ")
        ways = [how.split(", ")[1:] for how in (found.first.how, found.second.how)]
        assert ways[0][0] != ways[1][0]
        assert ways[0][1] != ways[1][1]


def test_another_model_in_the_second_pass_fails_and_is_named(market: SmallMarket, tmp_path: Path) -> None:
    request = rehearsal(market, tmp_path, sessions=2)
    other = request.model_copy(update={"bundle": str(other_bundle(tmp_path / "other"))})
    first = score_together(request, CALENDAR)
    found = compare_scored_passes(first, score_independently(other, list(first.scores)), top_k=35)
    assert found.verdict is StageVerdict.FAILED
    assert found.problems[0] == "the bundle was changed between the passes"
    session = found.sessions[0]
    assert session.difference is not None
    mine, theirs = (
        score(bundle, market.dataset, session.session, request.settings)["Code"].tolist()
        for bundle in (request.bundle, other.bundle)
    )
    rank = next(n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
    assert (session.difference.rank, session.difference.first, session.difference.second) == (
        rank + 1,
        mine[rank],
        theirs[rank],
    )
    assert f"{session.session}: rank {rank + 1} is {mine[rank]} in the first pass" in found.problems[1]
    assert found.sessions[0].largest_score_difference > 1e-3
    with pytest.raises(CheckFailed, match=f"smoke test failed.*rank {rank + 1} is {mine[rank]}") as stopped:
        found.require_passed()
    assert stopped.value.exit_code == 4


def test_other_scores_alone_fail(market: SmallMarket, tmp_path: Path) -> None:
    """Equal hashes must not be what the verdict rests on."""
    request = rehearsal(market, tmp_path, sessions=2)
    first = score_together(request, CALENDAR)
    ranked = first.scores[NEWEST[-1]].copy()
    ranked.loc[3, "Score"] += np.float32(2e-5)
    second = replace(first, scores={**first.scores, NEWEST[-1]: ranked})
    found = compare_scored_passes(first, second, top_k=3)
    assert found.verdict is StageVerdict.FAILED
    (problem,) = found.problems
    assert problem.startswith("2025-10-10: scores differ by up to 2")


@pytest.mark.parametrize("session", [0, 4])
def test_a_dataset_that_changes_between_the_passes_fails(
    market: SmallMarket, tmp_path: Path, session: int
) -> None:
    """One feature of one stock in one row of one session's windows is enough."""
    dataset = tmp_path / "dataset.parquet"
    shutil.copyfile(market.dataset, dataset)
    request = rehearsal(market, tmp_path, dataset=str(dataset))
    best = score(market.bundle, market.dataset, NEWEST[session], request.settings)["Code"][0]
    values = market.values("rsi_14")
    # The model reads the window up to its fifth row from the end; the last of these is in no older window.
    read = CALENDAR.sessions(NEWEST[session] - dt.timedelta(days=30), NEWEST[session])[-5]
    values[(market.dates == read) & (market.codes == best)] += 10

    def replace_it(description: str, done: float, total: float) -> None:
        if description == SCORING_AGAIN and done == 0:
            market.changed(dataset, rsi_14=values)

    found = smoke_test(request, CALENDAR, replace_it)
    assert found.verdict is StageVerdict.FAILED
    assert found.problems[0] == "the dataset was changed between the passes"
    assert [bool(each.problems) for each in found.sessions] == [n >= session for n in range(5)]


def test_a_bundle_that_changes_between_the_passes_fails(market: SmallMarket, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(market.bundle, bundle)
    request = rehearsal(market, tmp_path, bundle=str(bundle), sessions=1)

    def replace_it(description: str, done: float, total: float) -> None:
        if description == SCORING_AGAIN and done == 0:
            shutil.rmtree(bundle)
            other_bundle(bundle)

    found = smoke_test(request, CALENDAR, replace_it)
    assert found.problems[0] == "the bundle was changed between the passes"
    assert found.sessions[0].difference is not None


def test_the_best_come_first_where_a_lower_output_is_better(market: SmallMarket, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    ranking = settings.ranking.model_copy(update={"horizon": 5})  # its sign is -1 in the bundle's config
    request = rehearsal(
        market, tmp_path, sessions=1, settings=settings.model_copy(update={"ranking": ranking})
    )
    found = smoke_test(request, CALENDAR)
    ranked = score(market.bundle, market.dataset, LAST_SESSION, request.settings)
    assert list(found.sessions[0].names) == ranked["Code"].tolist()[:35]
    assert found.verdict is StageVerdict.PASSED


def test_sessions_without_windows_are_refused(market: SmallMarket, tmp_path: Path) -> None:
    short = tmp_path / "short.parquet"
    first = sorted(set(market.dates))[SESSIONS - 182]
    write_table(market.table.filter(pa.array(market.dates >= first)), short)
    request = rehearsal(market, tmp_path, dataset=str(short), sessions=3)
    assert smoke_test(request, CALENDAR).verdict is StageVerdict.PASSED
    with pytest.raises(Refusal, match="too few eligible stocks on 2025-10-07"):
        smoke_test(request.model_copy(update={"sessions": 4}), CALENDAR)


def test_a_dataset_of_fewer_sessions_is_refused(market: SmallMarket, tmp_path: Path) -> None:
    short = tmp_path / "short.parquet"
    write_table(market.table.filter(pa.array(market.dates >= dt.date(2025, 10, 9))), short)
    with pytest.raises(Refusal, match="too few sessions for the smoke test: expected=5 sessions, received=2"):
        smoke_test(rehearsal(market, tmp_path, dataset=str(short)), CALENDAR)


def test_a_newest_date_on_which_the_exchange_is_closed_is_refused(
    market: SmallMarket, tmp_path: Path
) -> None:
    dates = market.dates.copy()
    dates[dates == LAST_SESSION] = dt.date(2025, 10, 11)
    moved = market.changed(tmp_path / "moved.parquet", Date=pa.array(dates, pa.date32()))
    with pytest.raises(Refusal, match="received=2025-10-11 \\(Saturday\\)"):
        smoke_test(rehearsal(market, tmp_path, dataset=str(moved)), CALENDAR)


def test_a_report_survives_json(report: SmokeReport) -> None:
    assert SmokeReport.model_validate(report.model_dump(mode="json")) == report
