"""Makes one command of the embedded Airflow's command line whole on SQLite; Airflow imports it by its name.

Python's sqlite3 opens no transaction for a savepoint. The savepoint then is one of its own: it begins by reading,
fails at its first write when another process has written since ("database is locked", however long the
timeout), and releasing it commits. `airflow backfill create` makes each run in such a savepoint: a lock error in
the middle takes back months that the scheduler has begun with, and the scheduler ends as well. Postgres needs
none of this, and the long-running components must not have it: they would hold the write lock for too long.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

__all__: list[str] = []  # Airflow takes whatever is listed here as its own settings.


@event.listens_for(Engine, "savepoint")
def begin_to_write(connection: Connection, name: str | None) -> None:
    """Wait for the write lock before the savepoint begins; the transaction around it then commits as one."""
    raw: object = connection.connection.dbapi_connection
    if isinstance(raw, sqlite3.Connection) and not raw.in_transaction:
        raw.execute("BEGIN IMMEDIATE")
