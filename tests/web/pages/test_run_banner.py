"""The tab of a run: what it published, or why it published nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apex_tasks.monthly.draft import DRAFTS
from apex_tasks.store import Store
from apex_tasks.web.pages.rendering import LEAVE_SCRIPT
from apex_tasks.web.pages.run_banner import AnswerState, RunState, TaskState
from tests.support.pages import DAG_ID, Page, Serve
from tests.support.small_market import (
    AUGUST,
    JULY,
    SmallMarket,
    home_after,
    month,
    run,
)


@pytest.fixture(scope="session")
def drafted(market: SmallMarket, chain: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with July published, and the key of August's draft."""
    home = home_after(chain, tmp_path_factory.mktemp("drafted"), JULY)
    run(market, home, AUGUST)
    assert month(market, home, AUGUST)
    shutil.rmtree(home / "portfolio" / str(AUGUST))
    (key,) = Store(home).names(DRAFTS)
    return home, key


def task(task_id: str, state: str | None) -> TaskState:
    return TaskState(task_id=task_id, state=state, page=f"/dags/{DAG_ID}/runs/run/tasks/{task_id}")


def states() -> Iterator[tuple[str, dict[str, Any], bool, str]]:
    """Name, what the run came to, whether it has a draft, and what the banner says."""
    no = AnswerState(chosen=("Reject",), by="Eve <b>", at="2025-08-01T09:30:00+09:00")
    running, failed = {"state": "running"}, {"state": "failed"}
    approval_failed = (task("approval", "failed"), task("publish", "upstream_failed"))
    yield (
        "asked",
        {**running, "tasks": (task("approval", "awaiting_input"),)},
        True,
        "DRAFT, WAITS FOR APPROVAL",
    )
    yield (
        "rejected",
        {**failed, "tasks": approval_failed, "question": no},
        True,
        "REJECTED: NOTHING WAS PUBLISHED",
    )
    yield (
        "timed out",
        {**failed, "tasks": approval_failed, "question": AnswerState()},
        True,
        "TIMED OUT: NOTHING WAS PUBLISHED",
    )
    yield "draft failed", {**failed, "tasks": approval_failed}, False, "FAILED: NOTHING WAS PUBLISHED"
    yield (
        "publish failed",
        {**failed, "tasks": (task("approval", "success"), task("publish", "failed"))},
        True,
        "FAILED: NOTHING WAS PUBLISHED",
    )
    yield "dry", {"state": "success", "dry_run": True}, True, "DRY RUN: NOTHING WAS PUBLISHED"
    yield "dry, old", {"state": "success", "dry_run": True}, False, "DRY RUN: NOTHING WAS PUBLISHED"
    yield "publishing", {**running, "tasks": (task("publish", "running"),)}, True, "DRAFT, NOT PUBLISHED YET"
    yield "computing", {**running, "tasks": (task("infer", "running"),)}, False, "STILL RUNNING"
    yield "queued", {"state": "queued"}, False, "STILL RUNNING"
    yield "stopped by hand", {**failed, "tasks": (task("infer", "skipped"),)}, False, "FAILED: NOTHING"
    yield "marked as success", {"state": "success"}, False, "NOTHING WAS PUBLISHED"


@pytest.mark.parametrize(
    ("came_to", "has_draft", "word"),
    [(came_to, has_draft, word) for _, came_to, has_draft, word in states()],
    ids=[name for name, *_ in states()],
)
def test_a_run_that_published_nothing_says_why(
    serve: Serve, drafted: tuple[Path, str], came_to: dict[str, Any], has_draft: bool, word: str
) -> None:
    home, key = drafted
    state = RunState(run_id="run", draft=key if has_draft else None, actions_page="/actions", **came_to)
    web = serve(home, run=state)
    text = web.get(f"/apex/report/{DAG_ID}/run").text
    page = Page(text)
    assert f" {word}" in text
    assert "<b>" not in text
    frames = [link for link in page.links if link.endswith("report.html")]
    assert frames == ([f"/apex/draft-files/{key}/report.html"] if has_draft else [])
    for frame in frames:
        answer = web.get(frame)
        assert answer.content == (home / DRAFTS / key / "report.html").read_bytes()
    for name in [one.task_id for one in state.in_state("failed") if not state.question]:
        assert f"/dags/{DAG_ID}/runs/run/tasks/{name}" in page.links
    assert ("/actions" in page.links) == word.startswith("DRAFT, WAITS")
    question = f"/dags/{DAG_ID}/runs/run/tasks/approval/required_actions"
    assert (question in page.links) == word.startswith(("REJECTED", "TIMED"))
    assert ('http-equiv="refresh"' in text) == (not has_draft and not state.ended)


def test_tasks_with_one_cause_say_it_once(serve: Serve, chain: Path) -> None:
    tasks = [
        TaskState(task_id=name, state="failed", page=f"/log/{name}", refusal=refusal)
        for name, refusal in (("one", "no data"), ("two", None), ("three", "no data"))
    ]
    state = RunState(run_id="run", state="failed", tasks=tuple(tasks))
    text = serve(chain, run=state).get(f"/apex/report/{DAG_ID}/run").text
    assert "one, three: no data two failed. The last lines of its log say why." in text


def test_the_person_who_rejected_is_named(serve: Serve, drafted: tuple[Path, str]) -> None:
    states_by_name = {name: came_to for name, came_to, *_ in states()}
    state = RunState(run_id="run", draft=drafted[1], **states_by_name["rejected"])
    text = serve(drafted[0], run=state).get(f"/apex/report/{DAG_ID}/run").text
    assert "Eve &lt;b&gt; rejected it on 2025-08-01 09:30 JST." in text


def test_a_published_run_shows_the_published_report(serve: Serve, chain: Path) -> None:
    web = serve(
        chain,
        first=RunState(run_id="first", state="success", published="2025-08-01/v1"),
        again=RunState(run_id="again", state="success", published="2025-08-01/v1", already_published=True),
        approved=RunState(
            run_id="approved",
            state="success",
            published="2025-08-01/v1",
            question=AnswerState(chosen=("Approve",), by="Ann"),
        ),
    )
    for run_id, words in (
        ("first", "This run published 2025-08-01/v1."),
        ("again", "this run changed nothing"),
        ("approved", "Approved by Ann."),
    ):
        text = web.get(f"/apex/report/{DAG_ID}/{run_id}").text
        assert words in text
        assert "Verdict: ✓ OK." in text
        assert "/apex/portfolio-files/2025-08-01/v1/report.html" in Page(text).links


def test_a_run_whose_result_is_elsewhere_says_so(serve: Serve, chain: Path) -> None:
    web = serve(
        chain,
        elsewhere=RunState(run_id="elsewhere", state="success", published="2024-08-01/v1"),
        nonsense=RunState(run_id="nonsense", state="success", published="../../etc"),
        swept=RunState(run_id="swept", state="success", dry_run=True, draft="a" * 64),
        strange=RunState(run_id="strange", state="success", dry_run=True, draft="../portfolio"),
    )
    for run_id in ("elsewhere", "nonsense"):
        answer = web.get(f"/apex/report/{DAG_ID}/{run_id}")
        assert answer.status_code == 503
        assert "APEX_HOME" in answer.text
    for run_id in ("swept", "strange"):
        text = web.get(f"/apex/report/{DAG_ID}/{run_id}").text
        assert "no longer in the store" in text
        assert "<iframe" not in text


def test_other_dags_and_unknown_runs(serve: Serve, chain: Path) -> None:
    web = serve(chain)
    other = web.get("/apex/report/apex_performance/some_run")
    assert other.status_code == 200
    assert "apex_performance publishes no portfolio" in other.text
    unknown = web.get(f"/apex/report/{DAG_ID}/some_run")
    assert unknown.status_code == 404
    assert "some_run" in unknown.text


def test_the_only_script_is_the_one_that_the_policy_allows(serve: Serve, drafted: tuple[Path, str]) -> None:
    import base64
    import hashlib

    state = RunState(run_id="run", state="failed", tasks=(task("infer", "failed"),))
    answer = serve(drafted[0], run=state).get(f"/apex/report/{DAG_ID}/run")
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.S)
    assert script == LEAVE_SCRIPT
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{sha256}'" in answer.headers["content-security-policy"]
