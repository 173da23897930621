"""A real Prometheus scrapes what a run sends, and a real Alertmanager tells of it by Slack and e-mail.

Only the statsd exporter between the two is a double, which translates the same mapping file.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import yaml

from apex_tasks.monthly.run import run_month
from apex_tasks.refusal import ThresholdBroken
from apex_tasks.settings import AlertThreshold, ApexSettings, StatsdSettings, configs_folder
from tests.support.debian_tools import installed
from tests.support.message_servers import MessageServers
from tests.support.small_market import (
    AUGUST,
    CALENDAR,
    JULY,
    SmallMarket,
    month,
    portfolio,
    small_settings,
)
from tests.support.statsd_exporter_double import StatsdExporterDouble

pytestmark = pytest.mark.slow

CONFIGS = configs_folder()
PATIENCE_SECONDS = 30.0
HTTP = httpx.Client(trust_env=False, timeout=5.0)
Found = TypeVar("Found")


@dataclass
class SlackSink:
    """A webhook on a loopback port that keeps what it is sent."""

    posts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                (attachment,) = json.loads(self.rfile.read(int(self.headers["Content-Length"])))[
                    "attachments"
                ]
                posts.append(attachment)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *arguments: object) -> None:
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/services/T/B/secret"

    @contextmanager
    def serving(self) -> Iterator[SlackSink]:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        yield self
        self._server.shutdown()
        self._server.server_close()

    def titles(self) -> list[str]:
        return sorted(post["title"] for post in self.posts)


@dataclass
class Stack:
    """Everything between a run and the operators, on loopback ports."""

    exporter: StatsdExporterDouble
    slack: SlackSink
    mail: MessageServers
    prometheus: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = HTTP.get(f"{self.prometheus}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def value(self, expression: str) -> float | None:
        result = self.query(expression)
        return float(result[0]["value"][1]) if len(result) == 1 else None

    def settings(self, home: Path, **changes: object) -> ApexSettings:
        statsd = StatsdSettings(host="127.0.0.1", port=self.exporter.statsd_port)
        return small_settings(home, statsd=statsd, **changes)


def eventually(look: Callable[[], Found], wanted: Callable[[Found], bool] = bool) -> Found:
    """Look until what is seen is as wanted; return it, or fail with what was seen last."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, f"after {PATIENCE_SECONDS:g} s: {seen!r}"
        time.sleep(0.2)
    return seen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(tool: str, folder: Path, ready: str, *arguments: str) -> Iterator[None]:
    """Run a server until the block ends; it is stopped by its own process id."""
    log = folder / f"{tool}.log"
    with log.open("w") as output:
        server = subprocess.Popen([installed(tool), *arguments], stdout=output, stderr=output, cwd=folder)
    try:
        eventually(lambda: _is_ready(server, ready, log))
        yield
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _is_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    assert server.poll() is None, log.read_text()
    try:
        return HTTP.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with ExitStack() as running:
        exporter = running.enter_context(StatsdExporterDouble(CONFIGS / "statsd" / "mapping.yaml"))
        slack = running.enter_context(SlackSink().serving())
        mail = running.enter_context(MessageServers())
        alertmanager, prometheus = free_port(), free_port()
        smtp = json.loads(mail.environment["AIRFLOW_CONN_APEX_SMTP"])
        running.enter_context(
            process(
                "prometheus-alertmanager",
                tmp_path,
                f"http://127.0.0.1:{alertmanager}/-/ready",
                f"--config.file={_alertmanager_config(tmp_path, slack.url, smtp['port'])}",
                f"--storage.path={tmp_path / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
            )
        )
        running.enter_context(
            process(
                "prometheus",
                tmp_path,
                f"http://127.0.0.1:{prometheus}/-/ready",
                f"--config.file={_prometheus_config(tmp_path, exporter.http_port, alertmanager)}",
                f"--storage.tsdb.path={tmp_path / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{prometheus}",
            )
        )
        yield Stack(exporter, slack, mail, f"http://127.0.0.1:{prometheus}")


def _prometheus_config(folder: Path, exporter: int, alertmanager: int) -> Path:
    """The shipped configuration with other ports and a faster clock; the rules are the shipped file itself."""
    document = yaml.safe_load((CONFIGS / "prometheus" / "prometheus.yml").read_text())
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(CONFIGS / "prometheus" / name) for name in document["rule_files"]]
    assert [scrape["job_name"] for scrape in document["scrape_configs"]] == ["apex-statsd", "apex-web"]
    # Nobody listens where the web server should be: Prometheus works without it.
    for scrape, port in zip(document["scrape_configs"], (exporter, free_port()), strict=True):
        scrape["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    document["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    return _written(folder / "prometheus.yml", document)


def _alertmanager_config(folder: Path, slack_url: str, smtp_port: int) -> Path:
    """The shipped configuration with other addresses and less waiting."""
    document = yaml.safe_load((CONFIGS / "alertmanager" / "alertmanager.yml").read_text())
    secret = folder / "slack_url"
    secret.write_text(slack_url)
    password = folder / "smtp_password"
    password.write_text("unused: the sink wants none")
    document["global"] |= {
        "slack_api_url_file": str(secret),
        "smtp_auth_password_file": str(password),
        "smtp_smarthost": f"127.0.0.1:{smtp_port}",
        "smtp_require_tls": False,
    }
    document["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    for route in document["route"]["routes"]:
        route["group_wait"] = "1s"
    return _written(folder / "alertmanager.yml", document)


def _written(path: Path, document: object) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_broken_threshold_and_a_missing_month_are_told_once_by_slack_and_mail(
    market: SmallMarket, stack: Stack, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    run_month(month(market, home, JULY, stack.settings(home), cold_start=True))
    published = portfolio(home, JULY).read_json("run.json")["metrics"]
    for name in ("apex_selected_count", "apex_effective_dim", "apex_daily_cost_bps"):
        eventually(lambda name=name: stack.value(name), lambda value, name=name: value == published[name])
    assert stack.value('apex_inference_latency_ms{scores="computed"}') > 0
    due = CALENDAR.rebalance_instant(AUGUST).timestamp()
    assert stack.value("apex_next_rebalance_timestamp_seconds") == due
    assert stack.value('apex_step_duration_seconds_count{step="publish"}') == 1
    assert stack.value('up{job="apex-statsd"}') == 1

    # Nobody has published since July 2025, as the clock on the wall shows.
    eventually(stack.slack.titles, lambda titles: titles == ["CRITICAL ApexPublishOverdue"])

    wanted = AlertThreshold(
        metric="apex_selected_count",
        comparison="<",
        bound=60,
        severity="CRITICAL",
        remedy="Look.",
        runbook="low-supply",
    )
    broken_at = time.time()
    with pytest.raises(ThresholdBroken):
        run_month(month(market, home, AUGUST, stack.settings(home, thresholds=(wanted,))))
    both = ["CRITICAL ApexPublishOverdue", "CRITICAL ApexSelectedCountLow"]
    eventually(stack.slack.titles, lambda titles: titles == both)
    eventually(lambda: len(stack.mail.mails), lambda count: count == 2)
    assert max(mail.at for mail in stack.mail.mails) - broken_at < PATIENCE_SECONDS
    (post,) = (post for post in stack.slack.posts if "Low" in post["title"])
    (mail,) = (mail for mail in stack.mail.mails if "candidates" in mail.subject)
    assert mail.subject.startswith("[APEX CRITICAL] Only 53 candidates were kept")
    assert mail.recipients == ("operators@example.org",)
    for text in (post["text"], mail.html):
        assert "The newest plan kept 53 candidates, fewer than its book needs." in text
        assert "What to do: docs/runbook.md#low-supply" in text

    time.sleep(3)  # a few evaluations later nobody has been told again
    assert (stack.slack.titles(), len(stack.mail.mails)) == (both, 2)

    run_month(month(market, home, AUGUST, stack.settings(home)))
    eventually(
        stack.slack.titles, lambda titles: titles == [*both, "Resolved: CRITICAL ApexSelectedCountLow"]
    )


def test_every_rule_is_evaluated_without_an_error(stack: Stack) -> None:
    def health() -> dict[str, str]:
        groups = HTTP.get(f"{stack.prometheus}/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    seen = eventually(health, lambda rules: bool(rules) and "unknown" not in rules.values())
    assert set(seen.values()) == {"ok"}, seen
