"""The log of sent messages: one sender for each cause and channel, and another try for what was not sent."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apex_tasks.notifications.sent_log import SentLog, failure_of

RUN = "manual__2025-11-04T00:00:00+00:00"
FAILED = failure_of("infer")


@pytest.fixture(params=["folder", "url"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A local store, and one that is no file system."""
    return str(tmp_path) if request.param == "folder" else f"memory://{tmp_path}"


def test_a_cause_is_claimed_once_by_each_channel(home: str) -> None:
    sent_log = SentLog(home, "dag", RUN, 0)
    assert sent_log.claim(FAILED, "slack")
    assert not sent_log.claim(FAILED, "slack")
    assert sent_log.claim(FAILED, "email")
    assert sent_log.claim("published", "slack")


def test_what_could_not_be_sent_is_claimed_again(home: str) -> None:
    sent_log = SentLog(home, "dag", RUN, 0)
    sent_log.claim(FAILED, "slack")
    sent_log.release(FAILED, "slack")
    sent_log.release(FAILED, "slack")
    assert sent_log.claim(FAILED, "slack")


@pytest.mark.parametrize(
    "other", [("dag", RUN, 1), ("dag", "manual__x", 0), ("dag2", RUN, 0)], ids=["attempt", "run", "dag"]
)
def test_another_attempt_run_or_dag_is_sent_again(home: str, other: tuple[str, str, int]) -> None:
    SentLog(home, "dag", RUN, 0).claim(FAILED, "slack")
    assert SentLog(home, *other).claim(FAILED, "slack")


def test_failures_of_any_attempt_count_from_a_moment_on(home: str) -> None:
    before = dt.datetime.now(dt.UTC)
    any_attempt = SentLog(home, "dag", RUN, 0)
    assert not any_attempt.failure_sent_since(before, "slack")
    any_attempt.claim("published", "slack")
    assert not any_attempt.failure_sent_since(before, "slack")
    SentLog(home, "dag", RUN, 3).claim(FAILED, "slack")
    assert any_attempt.failure_sent_since(before, "slack")
    assert not any_attempt.failure_sent_since(before, "email")
    assert not any_attempt.failure_sent_since(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1), "slack")
    assert not SentLog(home, "dag", "other", 0).failure_sent_since(before, "slack")


def test_a_mark_that_is_still_being_written_counts_as_now(tmp_path: Path) -> None:
    sent_log = SentLog(str(tmp_path), "dag", RUN, 0)
    before = dt.datetime.now(dt.UTC)
    sent_log.claim(FAILED, "slack")
    next(tmp_path.rglob("*.slack")).write_bytes(b"")
    assert sent_log.failure_sent_since(before, "slack")


@pytest.mark.parametrize("run_id", ["../../../x", "a/b", "..", "with space"])
def test_no_run_id_leaves_the_folder(tmp_path: Path, run_id: str) -> None:
    assert SentLog(str(tmp_path / "home"), "dag", run_id, 0).claim(failure_of("../../t"), "slack")
    [mark] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert mark.relative_to(tmp_path / "home").parts[0] == "notices"
    assert len(mark.relative_to(tmp_path / "home").parts) == 4


def test_one_of_many_at_the_same_moment_wins(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        for number in range(20):
            sent_log = SentLog(str(tmp_path), "dag", f"run{number}", 0)
            won = list(pool.map(lambda _: sent_log.claim(FAILED, "slack"), range(16)))  # noqa: B023
            assert won.count(True) == 1
