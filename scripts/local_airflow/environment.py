"""What the processes of the local Airflow are told: secrets, port and configuration."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

USER = "admin"
DATABASE = "airflow.db"
LOCK_SECONDS, API_LOCK_SECONDS = 60, 3
"""How long a component, and how long the API server, waits for the other writers of SQLite's one file."""


def build_environment(
    home: Path, port: int, dags_folder: Path, plugins_folder: Path | None, extra: Mapping[str, str]
) -> dict[str, str]:
    """The environment of every process and so of the tasks.

    Parameters
    ----------
    home
        ``AIRFLOW_HOME``.
    port
        Port of the API server on 127.0.0.1.
    dags_folder, plugins_folder
        What Airflow runs; without a plugins folder, plugins come from what is installed.
    extra
        Variables on top of the caller's own; they win.
    """
    kept = read_or_make_secrets(home)
    url = f"http://127.0.0.1:{port}"
    # An AIRFLOW… variable of the shell would silently point at another installation.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    plugins = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins_folder.resolve())} if plugins_folder else {}
    loopback = ",".join(filter(None, (inherited.get("NO_PROXY"), "127.0.0.1,localhost")))
    return inherited | {
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        "PYTHONUNBUFFERED": "1",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder.resolve()),
        **plugins,
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": kept["fernet_key"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        **database(home, LOCK_SECONDS),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        # An answer with an error says which: this Airflow has one user, on this machine.
        "AIRFLOW__API__EXPOSE_STACKTRACE": "True",
        "AIRFLOW__API__SECRET_KEY": kept["api_secret_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": kept["jwt_secret"],
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # Tasks of a scheduler that was killed start again half a minute later, not after five minutes.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        # The callback of a failed run waits that long when it meets its DAG file being parsed: the DAG processor
        # then takes the file from its queue without starting anything (`_start_new_processes` of
        # airflow/dag_processing/manager.py passes over a file that has a process) and keeps the callback until it
        # parses the file the next time. With Airflow's own 30 s, the message about a killed task came that much late.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
        **extra,
    }


def database(home: Path, lock_seconds: int) -> dict[str, str]:
    """The variable that names the database, and how long a writer waits before SQLite calls it locked."""
    return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / DATABASE}?timeout={lock_seconds}"}


def api_server_environment(home: Path) -> dict[str, str]:
    """What the API server is told otherwise than the other components.

    It writes its audit log in its event loop (`log_action`). Meets that write the transaction of another request,
    which needs the loop to commit, then each waits for the other until the first has waited for long enough. That
    must be sooner than a task's supervisor gives up a call, after 5 s: a task whose start is reported twice is lost.
    """
    return database(home, API_LOCK_SECONDS)


def read_or_make_secrets(home: Path) -> dict[str, str]:
    """Keys of this installation and the password of `USER`, made when they are asked for first."""
    path = home / "secrets.json"
    if not path.is_file():
        made = {
            "jwt_secret": secrets.token_urlsafe(48),
            "api_secret_key": secrets.token_urlsafe(32),
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "password": secrets.token_urlsafe(12),
        }
        write_private(home / "passwords.json", {USER: made["password"]})
        write_private(path, made)
    return dict(json.loads(path.read_text()))


def write_private(path: Path, content: object) -> None:
    """Write JSON that only this user can read, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    partial.replace(path)


def free_port(preferred: int = 0) -> int:
    """A port of 127.0.0.1 that nobody listens on now: the preferred one if it is free."""
    with socket.socket() as probe:
        # As the server does: a port whose last connections are only dying away counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
