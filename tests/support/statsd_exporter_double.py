"""A test double of the statsd exporter: it translates the same mapping file, and is not the exporter.

It does what the mapping in `configs/statsd` needs of the real one: datagrams of lines `name:value|type|@rate`, gauges
that are relative when their value has a sign, timers in milliseconds that become summaries in seconds, glob
matches in order and then regex matches in order, labels and names with `$1`, `action: drop`, and, for what nothing
matches, the name with underscores. Anything in the mapping file that it does not know is an error here.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import yaml

KINDS = {"c": "counter", "g": "gauge", "ms": "summary"}
TYPES_IN_MAPPING = {"counter": "counter", "gauge": "gauge", "observer": "summary", "timer": "summary"}
KNOWN_KEYS = {"match", "match_type", "match_metric_type", "name", "help", "labels", "action"}
KNOWN_DEFAULTS = {"observer_type": "summary", "ttl": 0}
GLOB = re.compile(r"^(\*|[a-zA-Z_](-?[a-zA-Z0-9_])*)(\.(\*|[a-zA-Z_](-?[a-zA-Z0-9_])*))+$")
NAME = re.compile(r"^([a-zA-Z_]|\$\{?\d+\}?)([a-zA-Z0-9_]|\$\{?\d+\}?)*$")
LABEL = re.compile(r"^[a-zA-Z_][a-zA-Z0-9_]+$")


class Series(NamedTuple):
    """Name, label pairs by name, and kind of one Prometheus metric."""

    name: str
    labels: tuple[tuple[str, str], ...]
    kind: str

    def __str__(self) -> str:
        pairs = ",".join(f'{label}="{value}"' for label, value in self.labels)
        return f"{self.name}{{{pairs}}}" if pairs else self.name


class Mapper:
    """The rules of a mapping file."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        assert set(document) == {"defaults", "mappings"}
        assert document["defaults"] == KNOWN_DEFAULTS
        globs, regexes = [], []
        for rule in document["mappings"]:
            assert set(rule) <= KNOWN_KEYS, f"the double does not know {set(rule) - KNOWN_KEYS}"
            assert NAME.match(rule["name"])
            assert all(LABEL.match(label) for label in rule.get("labels", {}))
            if rule.get("match_type") == "regex":
                regexes.append((re.compile(rule["match"]), rule))
            else:
                assert GLOB.match(rule["match"]), rule["match"]
                pattern = re.escape(rule["match"]).replace(r"\*", r"([^.]*)")
                globs.append((re.compile(rf"^{pattern}$"), rule))
        self._rules = [*globs, *regexes]

    @classmethod
    def of_file(cls, path: Path) -> Mapper:
        return cls(yaml.safe_load(path.read_text()))

    def series(self, name: str, kind: str) -> Series | None:
        """What a statsd metric becomes, or None when it is dropped."""
        for pattern, rule in self._rules:
            wanted = rule.get("match_metric_type")
            if (found := pattern.search(name)) and (wanted is None or TYPES_IN_MAPPING[wanted] == kind):
                if rule.get("action") == "drop":
                    return None
                labels = {label: _filled(value, found) for label, value in rule.get("labels", {}).items()}
                return Series(_filled(rule["name"], found), tuple(sorted(labels.items())), kind)
        return Series(re.sub(r"[^a-zA-Z0-9_]", "_", name), (), kind)


def _filled(template: str, found: re.Match[str]) -> str:
    return re.sub(r"\$\{?(\d+)\}?", lambda number: found[int(number[1])], template)


class Registry:
    """Values of all series seen so far."""

    def __init__(self, mapper: Mapper) -> None:
        self._mapper = mapper
        self.values: dict[Series, float] = {}
        self.counts: dict[Series, int] = {}
        self.kinds: dict[str, str] = {}

    def receive(self, datagram: bytes) -> None:
        for line in datagram.decode().splitlines():
            name, _, rest = line.partition(":")
            text, kind, *sampled = rest.split("|")
            rate = float(sampled[0].removeprefix("@")) if sampled else 1.0
            series = self._mapper.series(name, KINDS[kind])
            if series is None:
                continue
            # The exporter refuses a second kind under the same name, too.
            assert self.kinds.setdefault(series.name, series.kind) == series.kind, f"{name} is a second kind"
            old, value = self.values.get(series, 0.0), float(text)
            if series.kind == "summary":
                value = old + value / 1000 * int(1 / rate)
                self.counts[series] = self.counts.get(series, 0) + int(1 / rate)
            elif series.kind == "counter":
                value = old + value / rate
            elif text[0] in "+-":
                value += old
            self.values[series] = value

    def text(self) -> str:
        lines = []
        for series, value in sorted(dict(self.values).items()):
            if series.kind == "summary":
                lines.append(f"{series._replace(name=series.name + '_sum')} {value!r}")
                lines.append(f"{series._replace(name=series.name + '_count')} {self.counts[series]}")
            else:
                lines.append(f"{series} {value!r}")
        return "".join(f"{line}\n" for line in lines)


class StatsdExporterDouble:
    """UDP in, `/metrics` out, on free ports of 127.0.0.1; stopped on leaving."""

    def __init__(self, mapping_file: Path) -> None:
        self.registry = Registry(Mapper.of_file(mapping_file))
        self.lines: list[str] = []
        self._errors: list[BaseException] = []
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._udp.bind(("127.0.0.1", 0))
        self.statsd_port: int = self._udp.getsockname()[1]
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http_port: int = self._http.server_address[1]
        self._threads = [
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()
        self._http.shutdown()
        self._http.server_close()
        self._udp.close()
        if self._errors and error is None:
            raise self._errors[0]

    def drain(self) -> None:
        """Wait until what was sent before is received: UDP on the loopback keeps its order."""
        arrived = threading.Event()
        self._marker = arrived
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", ("127.0.0.1", self.statsd_port))
        assert arrived.wait(5.0)

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                datagram = self._udp.recv(65_536)
                if not datagram:
                    self._marker.set()
                    continue
                self.lines += datagram.decode().splitlines()
                try:
                    self.registry.receive(datagram)
                except Exception as error:
                    self._errors.append(error)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self.registry

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = registry.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Keep the tests' output clean."""

        return Handler
