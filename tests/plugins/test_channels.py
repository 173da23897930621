"""The two channels: Airflow's own notifiers, and servers that listen, stall or are gone."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from apex_airflow.channels import CHANNELS, EMAIL, SLACK, deliver

from apex_tasks.notifications.messages import Run, run_failed, task_failed
from apex_tasks.notifications.sent_log import SentLog, failure_of
from tests.support.callback_contexts import DAG_ID, RUN_ID, headlines, use
from tests.support.message_servers import MessageServers, connections
from tests.support.paths import ROOT

RUN = Run(DAG_ID, RUN_ID, "http://airflow/run", "docs/runbook.md")
NOTIFICATION = run_failed(RUN, "timed_out")
FAILED = failure_of("infer")


@pytest.fixture
def sent_log(tmp_path: Path) -> SentLog:
    return SentLog(str(tmp_path), DAG_ID, RUN_ID, 0)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_both_channels_send_a_cause_once(servers: MessageServers, sent_log: SentLog) -> None:
    deliver(NOTIFICATION, sent_log, FAILED)
    deliver(NOTIFICATION, sent_log, FAILED)
    assert headlines(servers) == [NOTIFICATION.subject]
    [mail], [post] = servers.mails, servers.posts
    assert (mail.sender, mail.recipients) == ("apex@example.com", ("desk@example.com", "risk@example.com"))
    assert mail.html.strip() == NOTIFICATION.html
    assert (post.path, post.text) == ("/services/T0/B0/secret", NOTIFICATION.slack)


def test_braces_in_an_error_are_no_template(servers: MessageServers, sent_log: SentLog) -> None:
    text = "{{ 6 * 7 }} {% raw %} {{ message }} {# gone #}"
    deliver(task_failed(RUN, "infer", ValueError(text), "http://airflow/log"), sent_log, FAILED)
    assert text in servers.mails[0].subject
    assert text in servers.mails[0].html
    assert text in servers.posts[0].text


@pytest.mark.slow
def test_passwords_of_connections_are_masked(servers: MessageServers, sent_log: SentLog) -> None:
    """In a fresh process: pytest switches Airflow's masking off in its own."""
    code = """
from airflow.sdk.log import mask_secret
from apex_tasks.notifications.sent_log import SentLog
from apex_tasks.notifications.messages import Run, task_failed
from apex_airflow.channels import deliver
import os
from tests.support.paths import ROOT
mask_secret("opensesame")
notification = task_failed(Run("d", "r", "u", "b"), "infer", ValueError("s3://opensesame@bucket"), "l")
deliver(notification, SentLog(str(os.environ["APEX_HOME"]), "d", "r", 0), "failure-infer")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60, capture_output=True)
    for text in (servers.mails[0].subject, servers.mails[0].html, servers.posts[0].text):
        assert "s3://***@bucket" in text
        assert "opensesame" not in text


@pytest.mark.parametrize("broken", CHANNELS)
def test_one_dead_server_keeps_nothing_from_the_other(
    monkeypatch: pytest.MonkeyPatch,
    servers: MessageServers,
    sent_log: SentLog,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    dead = connections(closed_port(), closed_port())
    name = {SLACK: "AIRFLOW_CONN_APEX_SLACK", EMAIL: "AIRFLOW_CONN_APEX_SMTP"}[broken]
    monkeypatch.setenv(name, dead[name])
    deliver(NOTIFICATION, sent_log, FAILED)
    assert (len(servers.posts), len(servers.mails)) == ((0, 1) if broken == SLACK else (1, 0))
    assert f"No {broken} message was sent" in caplog.text
    # The next sender makes up for the dead server alone.
    use(monkeypatch, servers.environment)
    deliver(NOTIFICATION, sent_log, FAILED)
    assert headlines(servers) == [NOTIFICATION.subject]


@pytest.mark.slow
def test_servers_that_never_answer_are_given_up(
    monkeypatch: pytest.MonkeyPatch, sent_log: SentLog, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        use(monkeypatch, {**connections(port, port), "APEX_NOTIFICATIONS__TIMEOUT_SECONDS": "1"})
        began = time.monotonic()
        deliver(NOTIFICATION, sent_log, FAILED)
    assert time.monotonic() - began < 6.0
    assert "No slack message was sent" in caplog.text
    assert "No email message was sent" in caplog.text


def test_missing_connections_are_one_line_each(
    monkeypatch: pytest.MonkeyPatch, sent_log: SentLog, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("APEX_NOTIFICATIONS__SLACK_CONNECTION", "nowhere_slack")
    monkeypatch.setenv("APEX_NOTIFICATIONS__SMTP_CONNECTION", "nowhere_smtp")
    with caplog.at_level(logging.INFO):
        deliver(NOTIFICATION, sent_log, FAILED)
    ours = [record for record in caplog.records if record.name == "apex_airflow.channels"]
    assert [record.levelname for record in ours] == ["WARNING", "WARNING"]
    assert "nowhere_slack" in ours[0].getMessage()
    assert "nowhere_smtp" in ours[1].getMessage()
    assert not any(record.exc_info for record in caplog.records)


def test_nobody_to_write_to_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    servers: MessageServers,
    sent_log: SentLog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("APEX_NOTIFICATIONS__EMAIL_TO")
    deliver(NOTIFICATION, sent_log, FAILED)
    assert (len(servers.posts), len(servers.mails)) == (1, 0)
    assert "notifications.email_to names nobody" in caplog.text


def test_an_unreachable_store_does_not_silence_anybody(
    servers: MessageServers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    deliver(NOTIFICATION, SentLog(str(tmp_path / "file"), DAG_ID, RUN_ID, 0), FAILED)
    assert headlines(servers) == [NOTIFICATION.subject]
    assert "The store cannot record what is sent" in caplog.text
