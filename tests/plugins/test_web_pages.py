"""The pages under /apex behind Airflow's own application: who may read them, and the tab of each run."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from apex_airflow.plugin import ApexPlugin
from apex_airflow.tasks import REFUSAL
from apex_airflow.web import DAG_ID
from starlette.testclient import TestClient

from apex_tasks.refusal import Refusal

PAGES = (
    "/apex/months",
    "/apex/months/2025-08-01/v1",
    "/apex/compare?from=2025-07-01/v1&to=2025-08-01/v1",
    "/apex/compare",
    "/apex/portfolio-files/2025-08-01/v1/report.html",
    "/apex/portfolio-files/2025-08-01/v1/portfolio.csv",
    "/apex/portfolio-files/1999-01-01/v1/nothing",
    f"/apex/draft-files/{'a' * 64}/report.html",
    f"/apex/report/{DAG_ID}/published",
    f"/apex/report/{DAG_ID}/no_such_run",
    "/apex/report/another/run",
    "/apex/report/%00/%0b",
)
Visitor = Callable[[str | None], TestClient]


@pytest.fixture(scope="module")
def airflow_app() -> Iterator[Any]:
    """Airflow's own web application on a new database, with the plugin mounted as Airflow mounts it."""
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.utils.db import initdb

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "viewer:viewer,nobody:")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "s" * 64)
        patch.setattr(plugins_manager, "get_fastapi_plugins", lambda: (ApexPlugin.fastapi_apps, []))
        initdb()
        yield create_app(apps="core")
        purge_cached_app()


@pytest.fixture
def visitor(airflow_app: Any, chain: Path, monkeypatch: pytest.MonkeyPatch) -> Visitor:
    """A browser of a user with that role, or of nobody; the store has four months."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    monkeypatch.setenv("APEX_HOME", str(chain))

    def arrives(role: str | None) -> TestClient:
        web = TestClient(airflow_app, base_url="http://127.0.0.1", follow_redirects=False)
        if role is not None:
            token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="somebody", role=role))
            web.cookies.set(COOKIE_NAME_JWT_TOKEN, token)
        return web

    return arrives


@pytest.fixture(scope="module")
def runs(airflow_app: Any) -> Callable[..., None]:
    """Record runs of a DAG with the production one's task ids in Airflow's database."""
    from airflow._shared.timezones import timezone
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.hitl import HITLDetail
    from airflow.models.xcom import XComModel
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    with DAG(DAG_ID, schedule=None) as dag:
        for name in ("dataset_fresh", "infer", "approval", "publish"):
            EmptyOperator(task_id=name)
    with create_session() as session:
        session.add(DagBundleModel(name="tests"))
        session.flush()
        update_dag_parsing_results_in_db(
            "tests",
            None,
            [LazyDeserializedDAG.from_dag(dag)],
            {},
            None,
            set(),
            session=session,
            files_parsed=set(),
        )
    scheduled = DagSerialization.from_dict(DagSerialization.to_dict(dag))

    def record(
        run_id: str,
        state: str,
        tasks: dict[str, str],
        xcoms: dict[tuple[str, str], object] | None = None,
        conf: dict[str, object] | None = None,
        answer: dict[str, Any] | None = None,
    ) -> None:
        with create_session() as session:
            run = scheduled.create_dagrun(
                run_id=run_id,
                run_after=timezone.utcnow(),
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState(state),
                conf=conf,
                session=session,
            )
            for one in run.get_task_instances(session=session):
                one.state = tasks.get(one.task_id)
                if one.task_id == "approval" and answer is not None:
                    asked = {"options": ["Approve", "Reject"], "subject": "?", "params": {}}
                    session.add(HITLDetail(ti_id=one.id, **asked, **answer))
            session.flush()
            for (task_id, key), value in (xcoms or {}).items():
                XComModel.set(
                    key=key,
                    value=value,
                    dag_id=DAG_ID,
                    task_id=task_id,
                    run_id=run_id,
                    serialize=False,
                    session=session,
                )

    return record


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES)
def test_every_page_and_file_is_for_people_whom_airflow_knows(visitor: Visitor, path: str) -> None:
    answer = visitor(None).get(path)
    assert answer.status_code == 401
    assert "/api/v2/auth/login?next=" in answer.text
    assert "2025-" not in answer.text.replace(quote(path, safe=""), "")
    forged = visitor(None)
    forged.headers["Authorization"] = "Bearer forged"
    assert forged.get(path).status_code == 403
    assert visitor("").get(path).status_code == (404 if "%0b" in path else 403)
    assert visitor("viewer").get(path).status_code in (200, 404, 422)


@pytest.mark.slow
def test_programs_get_json_with_airflows_token(visitor: Visitor, chain: Path) -> None:
    for month in ("2025-08", "1999-01"):
        assert visitor(None).get(f"/apex/portfolio/{month}").status_code == 401
        assert visitor("").get(f"/apex/portfolio/{month}").status_code == 403
    reader = visitor("viewer")
    month = reader.get("/apex/portfolio/2025-08").json()
    assert month["rebalance_date"] == "2025-08-01"
    assert len(month["positions"]) == month["metrics"]["positions"]
    unknown = reader.get("/apex/portfolio/1999-01")
    assert unknown.status_code == 404
    assert unknown.json() == {"detail": [{"field": "month", "reason": "nothing is published for 1999-01"}]}
    for path in (
        "/apex/predict",
        "/apex/health",
        "/apex/available-dates",
        "/apex/openapi.json",
        "/apex/docs",
    ):
        assert reader.get(path).status_code == 404, "in Airflow only what was published"


@pytest.mark.slow
def test_the_way_to_the_login_leads_back(visitor: Visitor) -> None:
    web = visitor(None)
    path = "/apex/compare?from=2025-07-01%2Fv1&to=2025-08-01%2Fv1"
    (login,) = re.findall(r'href="([^"]*login[^"]*)"', web.get(path).text)
    redirect = web.get(unescape(login))
    assert redirect.status_code == 307
    assert parse_qs(urlsplit(redirect.headers["location"]).query)["next"] == [path]


@pytest.mark.slow
def test_the_interface_is_sent_of_the_tab_and_the_page(visitor: Visitor) -> None:
    views = {view["destination"]: view for view in ApexPlugin.external_views}
    assert views["dag_run"]["href"].startswith("/apex/report/{DAG_ID}/{RUN_ID}")
    run_id = "scheduled__2025-11-04T00:00:00+00:00"
    tab = views["dag_run"]["href"].replace("{DAG_ID}", "other").replace("{RUN_ID}", quote(run_id, safe=""))
    for href in (tab, views["nav"]["href"]):
        assert visitor("viewer").get(href).status_code == 200
    assert len({view["url_route"] for view in views.values()}) == len(ApexPlugin.external_views)


@pytest.mark.slow
def test_a_published_run(visitor: Visitor, runs: Callable[..., None]) -> None:
    reference = {"portfolio": "2025-08-01/v1", "folder": "x", "content_hash": "y", "already_published": False}
    done = dict.fromkeys(("dataset_fresh", "infer", "approval", "publish"), "success")
    runs("published", "success", done, {("publish", "return_value"): reference})
    text = visitor("viewer").get(f"/apex/report/{DAG_ID}/published").text
    assert "This run published 2025-08-01/v1." in text
    assert 'src="/apex/portfolio-files/2025-08-01/v1/report.html"' in text


@pytest.mark.slow
def test_a_run_that_waits_for_data(visitor: Visitor, runs: Callable[..., None]) -> None:
    waiting = {"what": "no rows yet", "expected": "3000 rows", "received": "12", "where": "x", "remedy": "y"}
    run_id = "manual__2025-11-04T00:00:00+00:00"
    states = {"dataset_fresh": "up_for_reschedule"}
    runs(run_id, "running", states, {("dataset_fresh", "waiting"): waiting})
    text = visitor("viewer").get(f"/apex/report/{DAG_ID}/{quote(run_id, safe='')}").text
    assert "Now: dataset_fresh. no rows yet (expected 3000 rows, received 12)." in text
    assert f"/dags/{DAG_ID}/runs/{quote(run_id, safe='')}/tasks/dataset_fresh" in text


@pytest.mark.slow
def test_a_run_that_waits_for_approval(visitor: Visitor, runs: Callable[..., None]) -> None:
    draft = {("approval", "draft"): {"key": "a" * 64, "content_hash": "b"}}
    runs("asked", "running", {"approval": "awaiting_input"}, draft, answer={})
    text = visitor("viewer").get(f"/apex/report/{DAG_ID}/asked").text
    assert "DRAFT, WAITS FOR APPROVAL" in text
    assert f"/dags/{DAG_ID}/runs/asked/required_actions" in text
    assert "Its draft is no longer in the store." in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run_id", "state", "tasks", "conf", "answer", "words"),
    [
        (
            "rejected",
            "failed",
            {"approval": "failed", "publish": "upstream_failed"},
            {},
            {
                "responded_at": dt.datetime(2025, 8, 1, 0, 30, tzinfo=dt.UTC),
                "responded_by": {"id": "1", "name": "Eve"},
                "chosen_options": ["Reject"],
            },
            "Eve rejected it on 2025-08-01 09:30 JST.",
        ),
        ("late", "failed", {"approval": "failed"}, {}, {}, "TIMED OUT: NOTHING WAS PUBLISHED"),
        ("broken", "failed", {"infer": "failed"}, {}, None, "infer failed."),
        ("dry", "success", {"publish": "skipped"}, {"dry_run": True}, None, "DRY RUN: NOTHING WAS PUBLISHED"),
        ("odd", "success", {}, {"dry_run": "yes"}, None, "The run ended without publishing a portfolio."),
        ("new", "queued", {}, None, None, "STILL RUNNING"),
    ],
)
def test_a_run_without_a_portfolio(
    visitor: Visitor,
    runs: Callable[..., None],
    run_id: str,
    state: str,
    tasks: dict[str, str],
    conf: dict[str, object] | None,
    answer: dict[str, Any] | None,
    words: str,
) -> None:
    runs(run_id, state, tasks, conf=conf, answer=answer)
    page = visitor("viewer").get(f"/apex/report/{DAG_ID}/{run_id}")
    assert page.status_code == 200
    assert words in page.text
    assert "<iframe" not in page.text


@pytest.mark.slow
@pytest.mark.parametrize(("state", "shown"), [("failed", True), ("running", False)])
def test_a_refused_run_says_why_until_its_task_runs_again(
    visitor: Visitor, runs: Callable[..., None], state: str, shown: bool
) -> None:
    refusal = Refusal(
        "no such <b>file</b>", expected="one", received="none", where="/d.parquet", remedy="Copy it."
    )
    runs(f"refused_{state}", state, {"infer": state}, xcoms={("infer", REFUSAL): vars(refusal)})
    text = visitor("viewer").get(f"/apex/report/{DAG_ID}/refused_{state}").text
    assert ("infer: no such &lt;b&gt;file&lt;/b&gt;: expected=one, received=none" in text) is shown
    assert ("What to do: Copy it." in text) is shown


@pytest.mark.slow
def test_what_a_cleared_run_left_before_is_not_shown(visitor: Visitor, runs: Callable[..., None]) -> None:
    left = {
        ("publish", "return_value"): {"portfolio": "2025-08-01/v1", "already_published": False},
        ("approval", "draft"): {"key": "a" * 64},
        ("dataset_fresh", "waiting"): {"what": "rows", "expected": "1", "received": "0"},
    }
    runs("cleared", "running", {"dataset_fresh": "success", "infer": "running", "publish": "scheduled"}, left)
    text = visitor("viewer").get(f"/apex/report/{DAG_ID}/cleared").text
    assert "STILL RUNNING" in text
    assert "Now: infer, publish.<" in text.replace("\n", "").replace(". <", ".<")
    assert "2025-08-01" not in text


@pytest.mark.slow
def test_an_airflow_below_a_path(visitor: Visitor, airflow_app: Any) -> None:
    stranger = TestClient(airflow_app, root_path="/airflow").get("/airflow/apex/months")
    assert 'href="/airflow/api/v2/auth/login?next=%2Fairflow%2Fapex%2Fmonths"' in stranger.text
    web = TestClient(airflow_app, root_path="/airflow", cookies=visitor("viewer").cookies)
    assert 'href="/airflow/apex/months/2025-10-01/v1"' in web.get("/airflow/apex/months").text


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, 1, "text", [], {"portfolio": 5}, {"portfolio": None, "key": {}}])
def test_strange_xcoms_are_no_report(visitor: Visitor, runs: Callable[..., None], value: object) -> None:
    run_id = f"strange_{value!r}".translate(str.maketrans("", "", "{}[]'\" ,:"))
    places = [("publish", "return_value"), ("approval", "draft"), ("dataset_fresh", "waiting")]
    runs(run_id, "running", {"dataset_fresh": "running"}, dict.fromkeys(places, value))
    page = visitor("viewer").get(f"/apex/report/{DAG_ID}/{run_id}")
    assert page.status_code == 200
    assert "STILL RUNNING" in page.text
