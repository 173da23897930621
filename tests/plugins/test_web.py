"""What the web server answers under /apex: metrics for Prometheus, and nothing where it cannot be built."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path

import pytest
from apex_airflow import web as web_module
from apex_airflow.plugin import ApexPlugin
from apex_airflow.web import TOKEN_VARIABLE, LazyWebApp
from starlette.applications import Starlette
from starlette.testclient import TestClient

from apex_tasks.performance.report import PerformanceReport
from apex_tasks.performance.stored_reports import PERFORMANCE_FILE, PERFORMANCES
from apex_tasks.published.portfolio import latest_version, published_dates
from apex_tasks.published.run_document import RUN_FILE
from apex_tasks.store import Artifact, Store, canonical_json
from tests.support.paths import ROOT

THIS_HOST = "http://127.0.0.1:8080"


@pytest.fixture
def application() -> Starlette:
    """Mount the plugin's application as Airflow does."""
    (mounted,) = ApexPlugin.fastapi_apps
    server = Starlette()
    server.mount(mounted["url_prefix"], mounted["app"])
    return server


@pytest.fixture
def web(application: Starlette) -> TestClient:
    return TestClient(application, base_url=THIS_HOST, client=("127.0.0.1", 1))


def test_the_metrics_are_those_of_the_last_published_month(
    web: TestClient, chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APEX_HOME", str(chain))
    answer = web.get("/apex/metrics")
    assert answer.status_code == 200
    values = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    newest = latest_version(Store(chain), published_dates(Store(chain))[-1])
    assert newest is not None
    metrics = newest.artifact.read_json(RUN_FILE)["metrics"]
    for name in ("apex_selected_count", "apex_effective_dim", "apex_daily_cost_bps"):
        assert float(values[name]) == metrics[name]


def test_the_metrics_have_the_newest_judgement_of_the_live_book(
    web: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APEX_HOME", str(tmp_path))
    for age, (name, sessions) in enumerate({"2025-10-10-b": 9, "2025-10-10-a": 7, "2025-09-30-c": 2}.items()):
        written = _judge(Store(tmp_path), name, sessions)
        os.utime(str(written.folder / "manifest.json"), (1_800_000_000 + age, 1_800_000_000 + age))
    (tmp_path / "performance" / "2025-11-10-killed").mkdir()
    lines = web.get("/apex/metrics").text.splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "apex_live_sessions 7.0",
        "apex_live_deviations 0.0",
    ]
    (tmp_path / "performance" / "2025-10-10-a" / PERFORMANCE_FILE).write_text("{}")
    assert web.get("/apex/metrics").status_code == 503


def _judge(store: Store, name: str, sessions: int) -> Artifact:
    report = PerformanceReport(
        synthetic=True,
        portfolio="2025-10-01/v1",
        first_marked=None,
        last_marked=None,
        sessions=sessions,
        last_session=dt.date(2025, 10, 10),
        performance=None,
        intervals={},
        comparisons=(),
        turnovers=(),
        mean_turnover=None,
        checks=(),
        benchmarks_of="a",
        backtest_period="",
        ignored_benchmarks=(),
        ledger="b",
        warnings=(),
    )
    return store.write(
        PERFORMANCES, name, files={PERFORMANCE_FILE: canonical_json(report.model_dump(mode="json"))}
    )


def test_before_the_first_month_there_is_nothing(
    web: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APEX_HOME", str(tmp_path))
    answer = web.get("/apex/metrics")
    assert (answer.status_code, answer.text) == (200, "")


def test_wrong_settings_are_one_message(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_RANKING__TOP_K", "many")
    answer = web.get("/apex/metrics")
    assert answer.status_code == 503
    assert "What to do:" in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("client", "token", "sent", "status"),
    [
        ("127.0.0.1", None, None, 200),
        ("::1", None, None, 200),
        ("192.0.2.7", None, None, 403),
        ("not an address", None, None, 403),
        ("192.0.2.7", "secret", "Bearer secret", 200),
        ("192.0.2.7", "secret", "Bearer other", 403),
        ("127.0.0.1", "secret", None, 403),
    ],
)
def test_who_may_read(
    application: Starlette,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    token: str | None,
    sent: str | None,
    status: int,
) -> None:
    monkeypatch.setenv("APEX_HOME", str(tmp_path))
    if token is None:
        monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    headers = {} if sent is None else {"Authorization": sent}
    assert (
        TestClient(application, base_url=THIS_HOST, client=(client, 1))
        .get("/apex/metrics", headers=headers)
        .status_code
        == status
    )


def test_an_application_that_cannot_be_built_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ImportError("no such framework")

    monkeypatch.setattr(web_module, "_application", broken)
    answer = TestClient(LazyWebApp()).get("/months")
    assert answer.status_code == 500
    assert "could not be loaded" in answer.text
    assert "no such framework" not in answer.text
    assert "no such framework" in caplog.text


def test_the_plugin_alone_loads_no_web_framework() -> None:
    import subprocess

    code = (
        "import sys; from airflow.plugins_manager import AirflowPlugin; before = set(sys.modules); "
        "import apex_airflow.plugin, apex_airflow.run_state; "
        "print([m for m in set(sys.modules) - before if m.partition('.')[0] in ('fastapi', 'starlette', 'jinja2')])"
    )
    plugins = str(ROOT / "plugins")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=plugins, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
