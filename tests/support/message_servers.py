"""A mail server and a Slack on loopback ports, which keep what they are sent."""

from __future__ import annotations

import email
import email.policy
import json
import socketserver
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Mail:
    """One e-mail, and when it came (Unix time)."""

    at: float
    sender: str
    recipients: tuple[str, ...]
    subject: str
    html: str


@dataclass(frozen=True)
class Post:
    """One message to Slack, and when it came (Unix time)."""

    at: float
    path: str
    text: str


@dataclass
class MessageServers:
    """Both servers; entering starts them, leaving stops them."""

    mails: list[Mail] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._smtp = _SmtpServer(("127.0.0.1", 0), _SmtpHandler)
        self._slack = _SlackServer(("127.0.0.1", 0), _SlackHandler)
        self._smtp.mails, self._slack.posts = self.mails, self.posts

    def __enter__(self) -> Self:
        for server in (self._smtp, self._slack):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close both ports: from now on connections are refused."""
        for server in (self._smtp, self._slack):
            server.shutdown()
            server.server_close()

    @property
    def environment(self) -> Mapping[str, str]:
        """Airflow's connections to both, and the settings for them."""
        return connections(self._smtp.server_address[1], self._slack.server_address[1])


def connections(smtp_port: int, slack_port: int) -> Mapping[str, str]:
    """Environment that makes Airflow use these ports."""
    smtp = {
        "conn_type": "smtp",
        "host": "127.0.0.1",
        "port": smtp_port,
        "extra": {"disable_ssl": True, "disable_tls": True},
    }
    slack = {"conn_type": "slackwebhook", "password": f"http://127.0.0.1:{slack_port}/services/T0/B0/secret"}
    return {
        "AIRFLOW_CONN_APEX_SMTP": json.dumps(smtp),
        "AIRFLOW_CONN_APEX_SLACK": json.dumps(slack),
        "APEX_NOTIFICATIONS__EMAIL_FROM": "apex@example.com",
        "APEX_NOTIFICATIONS__EMAIL_TO": "desk@example.com, risk@example.com",
        # The Slack client would hand loopback addresses to a proxy of the machine, too.
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), ""),
    }


class _SmtpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    mails: list[Mail]


class _SmtpHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        sender, recipients = "", []
        self._say("220 sink")
        while line := self.rfile.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "MAIL":
                    sender = rest.partition("<")[2].partition(">")[0]
                case "RCPT":
                    recipients.append(rest.partition("<")[2].partition(">")[0])
                case "DATA":
                    self._say("354 go on")
                    self._keep(sender, tuple(recipients))
                case "QUIT":
                    self._say("221 bye")
                    return
            self._say("250 ok")

    def _keep(self, sender: str, recipients: tuple[str, ...]) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        message: Any = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        body = message.get_body(("html",)).get_content()
        self.server.mails.append(Mail(time.time(), sender, recipients, message["Subject"], body))  # type: ignore[attr-defined]

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class _SlackServer(ThreadingHTTPServer):
    posts: list[Post]


class _SlackHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posts.append(Post(time.time(), self.path, body["text"]))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Stay silent."""
