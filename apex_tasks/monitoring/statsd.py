"""A run's numbers over statsd: datagrams that nobody has to receive."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from statsd import StatsClient  # type: ignore[import-untyped]

from apex_tasks.monitoring.gauges import Gauge
from apex_tasks.refusal import Refusal
from apex_tasks.settings import StatsdSettings

log = logging.getLogger(__name__)

RESOLVE_SECONDS = 0.2
"""How long a process waits, once, for the name of the statsd host to be resolved."""
DATAGRAM_BYTES = 1432
"""What passes through an Ethernet in one piece."""


class Metrics:
    """Gauges, counters and timers, gathered and sent together by `flush`.

    Sending never waits and never raises: what cannot be sent at once is lost, and nobody has to listen.
    Without a host, or when its name is not resolved within `RESOLVE_SECONDS`, nothing is sent.

    Parameters
    ----------
    settings
        Host, port, and the prefix of all names.
    """

    def __init__(self, settings: StatsdSettings) -> None:
        client = None if settings.host is None else _connect(settings.host, settings)
        self._pipeline = None if client is None else client.pipeline()

    @property
    def on(self) -> bool:
        """Whether anything is sent."""
        return self._pipeline is not None

    def gauges(self, gauges: Iterable[Gauge]) -> None:
        """Set gauges; one without a finite value is left out."""
        if self._pipeline is not None:
            for gauge in gauges:
                if gauge.value is not None and math.isfinite(gauge.value):
                    self._pipeline.gauge(gauge.statsd_name, gauge.value)

    def count(self, name: str, count: int = 1) -> None:
        """Add to a counter."""
        if self._pipeline is not None:
            self._pipeline.incr(name, count)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step, count its refusals and its errors, and send what it has gathered."""
        started = time.perf_counter()
        try:
            yield
        except Refusal:
            self.count(f"refusals.{name}")
            raise
        except Exception:
            self.count(f"errors.{name}")
            raise
        finally:
            if self._pipeline is not None:
                self._pipeline.timing(f"step.{name}", (time.perf_counter() - started) * 1000)
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        if self._pipeline is not None:
            self._pipeline.send()


class _Client(StatsClient):  # type: ignore[misc]
    """A client whose socket drops a datagram rather than wait for room in its buffer."""

    def __init__(self, host: str, port: int, prefix: str) -> None:
        super().__init__(host, port, prefix, maxudpsize=DATAGRAM_BYTES)
        self._sock.setblocking(False)


def _connect(host: str, settings: StatsdSettings) -> _Client | None:
    """A client, or None when the host's name is not resolved in time: a resolver may wait for minutes."""
    connected: list[_Client] = []

    def resolve() -> None:
        with suppress(OSError, UnicodeError):
            connected.append(_Client(host, settings.port, settings.prefix))

    thread = threading.Thread(target=resolve, name="resolve-statsd-host", daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    if not connected:
        log.warning("statsd host %s is not resolved: this process sends no metrics", host)
        return None
    return connected[0]
