"""Airflow's four real processes on SQLite under one folder, started and stopped as one thing.

For the demo, local work and end-to-end tests; a production deployment uses Postgres and docker-compose.yaml.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
from filelock import FileLock, Timeout

from local_airflow.client import AirflowClient
from local_airflow.environment import (
    DATABASE,
    USER,
    api_server_environment,
    build_environment,
    free_port,
    read_or_make_secrets,
    write_private,
)
from local_airflow.sessions import kill_session, stop_sessions

CLI_SETTINGS = Path(__file__).with_name("cli_settings")
COMMANDS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    # Task logs are stored in the folder that the API server reads, so nobody needs to serve them.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
LOG_TAIL_LINES = 25
MIGRATED = "migrated"
"""File that says which version of Airflow has migrated the database beside it."""
MOST_RESTARTS = 3
"""How often `supervise` starts the same component again: SQLite under load ends a scheduler now and then."""
PATIENCE_SECONDS = {"scheduler": 10.0, "dag-processor": 3.0, "triggerer": 3.0, "api-server": 3.0}
"""How long a stopped component may take: the scheduler ends its running tasks, the others hold nothing."""


class AirflowFailedError(Exception):
    """Airflow cannot start, or one of its processes died; the message holds the end of its log."""


class EmbeddedAirflow:
    """One Airflow 3 in one folder, on a loopback port.

    Usable as a context manager: entering migrates and starts, leaving stops. Only processes started from
    this folder are ever signaled, each by its own session; those that a killed predecessor left behind
    are found in ``processes.json`` and stopped at the next start.

    Parameters
    ----------
    home
        ``AIRFLOW_HOME``: database, secrets (mode 0600) and logs. Reused when it exists.
    dags_folder, plugins_folder
        What Airflow runs; without a plugins folder, plugins come from what is installed.
    environment
        Variables for the processes and so for the tasks, on top of the caller's own.
    port
        Port of the API server on 127.0.0.1; None takes a free one.
    python
        The interpreter whose packages Airflow consists of; None takes the running one.

    Raises
    ------
    AirflowFailedError
        Another process uses `home`, the migration fails, or a process dies.
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        plugins_folder: Path | None,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        python: Path | None = None,
    ) -> None:
        self.home = home.resolve()
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        self.logs = self.home / "logs"
        self.logs.mkdir(exist_ok=True)
        self.port = port or free_port()
        self._python = python or Path(sys.executable)
        self._environment = build_environment(
            self.home, self.port, dags_folder, plugins_folder, environment or {}
        )
        self._lock = FileLock(self.home / "runner.lock", timeout=0, thread_local=False)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._client: AirflowClient | None = None
        self._restarts: Counter[str] = Counter()
        self._started = dt.datetime.max.replace(tzinfo=dt.UTC)

    @property
    def url(self) -> str:
        """Address of the web interface and the REST API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """Password of the user ``admin``."""
        return read_or_make_secrets(self.home)["password"]

    @property
    def client(self) -> AirflowClient:
        """A logged-in client; the API server has to be up."""
        if self._client is None:
            self._client = AirflowClient(self.url, USER, self.password, self.check_alive)
        return self._client

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def acquire(self) -> None:
        """Take possession of the folder and stop what a killed predecessor left running in it."""
        try:
            self._lock.acquire()
        except Timeout:
            raise AirflowFailedError(
                f"another run uses {self.home}: wait for it or stop it, then try again"
            ) from None
        self._stop_leftovers()

    def migrate(self) -> None:
        """Create or upgrade the database, unless this version of Airflow has done so."""
        done, now = self.home / MIGRATED, version("apache-airflow-core")
        if done.is_file() and done.read_text() == now:
            return
        finished = self.cli("db", "migrate")
        (self.logs / "db-migrate.log").write_text(finished.stdout + finished.stderr)
        if finished.returncode:
            raise AirflowFailedError(f"airflow db migrate failed:\n{self.log_tail('db-migrate')}")
        with sqlite3.connect(self.home / DATABASE) as connection:
            # The mode stays with the file: readers no longer wait for the writer.
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        done.write_text(now)

    def _spawn(self, name: str) -> None:
        # The interpreter itself must be the child, so that its process id leads the session.
        with (self.logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [self._python, "-m", "airflow", *COMMANDS[name]],
                env=self._environment | (api_server_environment(self.home) if name == "api-server" else {}),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._record_processes()

    def start(self) -> None:
        """Start the four processes, after `acquire` and `migrate`; `wait_healthy` says when they work."""
        try:
            if not self._lock.is_locked:
                self.acquire()
            self.migrate()
            self._started = dt.datetime.now(dt.UTC)
            for name in COMMANDS:
                self._spawn(name)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all processes: ask, then kill whatever is left. Without effect when nothing was started."""
        if not self._lock.is_locked:
            return
        if self._client:
            self._client.close()
            self._client = None
        # The API server last: the others talk to it while they end.
        api_server = {name: self._processes.pop(name) for name in ("api-server",) if name in self._processes}
        stop_sessions(self._processes, PATIENCE_SECONDS)
        stop_sessions(api_server, PATIENCE_SECONDS)
        self._processes.clear()
        self._record_processes()
        self._lock.release()

    def restart(self, name: str, *, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Stop one component, with SIGKILL as a crash would, and start it again.

        Parameters
        ----------
        name
            Key of `COMMANDS`.
        """
        process = self._processes[name]
        if with_signal is signal.SIGKILL:
            kill_session(process.pid)
        stop_sessions({name: process}, PATIENCE_SECONDS)
        self._spawn(name)

    def pid(self, name: str) -> int:
        """Process id of a component, which also leads its session."""
        return self._processes[name].pid

    def dead(self) -> dict[str, int]:
        """Exit code of each component that has ended by itself."""
        codes = {name: process.poll() for name, process in self._processes.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def check_alive(self) -> None:
        """Raise if a component has died."""
        for name, code in self.dead().items():
            raise AirflowFailedError(
                f"{name} ended with {code}; {self.logs / name}.log:\n{self.log_tail(name)}"
            )

    def supervise(self) -> dict[str, int]:
        """Start every component again that has ended by itself, each a few times; the database keeps all runs.

        Call it again and again while waiting.

        Returns
        -------
        dict
            Exit code of each component that was started again.

        Raises
        ------
        AirflowFailedError
            A component has ended more than `MOST_RESTARTS` times.
        """
        ended = self.dead()
        for name in ended:
            self._restarts[name] += 1
            if self._restarts[name] > MOST_RESTARTS:
                self.check_alive()
            self.restart(name)
        return ended

    def wait_healthy(self, *dag_ids: str, timeout_seconds: float = 120.0) -> AirflowClient:
        """Wait until every component reports healthy and these DAGs are parsed.

        Raises
        ------
        AirflowFailedError
            A component died, a DAG file does not import, or time is up.
        """
        deadline = time.monotonic() + timeout_seconds
        missing = ""
        while time.monotonic() < deadline:
            self.check_alive()
            missing = self._missing(dag_ids)
            if not missing:
                return self.client
            time.sleep(0.25)
        tails = "\n".join(f"--- {name}\n{self.log_tail(name)}" for name in COMMANDS)
        raise AirflowFailedError(f"not healthy after {timeout_seconds:.0f} s: {missing}\n{tails}")

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``airflow ARGUMENTS`` in this Airflow's environment, with the settings of `CLI_SETTINGS`."""
        path = filter(None, (str(CLI_SETTINGS), self._environment.get("PYTHONPATH")))
        return subprocess.run(
            [self._python, "-m", "airflow", *arguments],
            env={**self._environment, "PYTHONPATH": os.pathsep.join(path)},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )

    def log_tail(self, name: str) -> str:
        """The last lines of a component's log."""
        path = self.logs / f"{name}.log"
        text = path.read_text(errors="replace") if path.is_file() else ""
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])

    @property
    def _record(self) -> Path:
        return self.home / "processes.json"

    def _record_processes(self) -> None:
        started = {
            name: [process.pid, psutil.Process(process.pid).create_time()]
            for name, process in self._processes.items()
            if process.poll() is None
        }
        write_private(self._record, started)

    def _stop_leftovers(self) -> None:
        """Stop what a killed predecessor in this folder left running; a reused process id is let be."""
        if not self._record.is_file():
            return
        left = {}
        for name, (pid, created) in json.loads(self._record.read_text()).items():
            try:
                process = psutil.Process(pid)
                if process.create_time() == created:
                    left[name] = process
            except psutil.NoSuchProcess:
                continue
        stop_sessions(left, PATIENCE_SECONDS)

    def _missing(self, dag_ids: tuple[str, ...]) -> str:
        """What still keeps this Airflow from being healthy, or an empty text."""
        try:
            health = self.client.call("GET", "/monitor/health")
            unwell = [name for name, part in health.items() if part.get("status") != "healthy"]
            if unwell:
                return f"unhealthy: {', '.join(unwell)}"
            unparsed = [name for name in dag_ids if not self._is_parsed(name)]
            if unparsed and (broken := self.client.import_errors(since=self._started)):
                raise AirflowFailedError("\n".join(f"{file}:\n{trace}" for file, trace in broken.items()))
            return f"not parsed: {', '.join(unparsed)}" if unparsed else ""
        except httpx.TransportError:
            return "the API server does not answer yet"

    def _is_parsed(self, dag_id: str) -> bool:
        """Whether these processes have parsed the DAG: a reused database also knows what it was before."""
        dag = self.client.dag(dag_id)
        parsed = dag and dag["last_parsed_time"]
        return bool(parsed) and dt.datetime.fromisoformat(str(parsed)) >= self._started
