"""The web server's metrics, asked over HTTP as Prometheus does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from apex_web import TOKEN_VARIABLE, ApexWebPlugin
from starlette.applications import Starlette
from starlette.testclient import TestClient

from apex_tasks.published import RUN_FILE, latest_version, published_dates
from apex_tasks.store import Store


@pytest.fixture
def application() -> Starlette:
    """Mount the plugin's application as Airflow does."""
    (mounted,) = ApexWebPlugin.fastapi_apps
    server = Starlette()
    server.mount(mounted["url_prefix"], mounted["app"])
    return server


@pytest.fixture
def web(application: Starlette) -> TestClient:
    return TestClient(application, client=("127.0.0.1", 1))


def test_it_tells_the_last_published_month(
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
        TestClient(application, client=(client, 1)).get("/apex/metrics", headers=headers).status_code
        == status
    )


def test_the_plugin_alone_loads_no_web_framework() -> None:
    import subprocess

    code = (
        "import sys; from airflow.plugins_manager import AirflowPlugin; before = set(sys.modules); import apex_web; "
        "print([m for m in set(sys.modules) - before if m.partition('.')[0] in ('fastapi', 'starlette')])"
    )
    plugins = str(Path(__file__).resolve().parents[2] / "plugins")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=plugins, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
