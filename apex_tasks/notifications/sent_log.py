"""Which messages of a run have gone out: one small file per cause and channel, so that nothing is sent twice."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from urllib.parse import quote

from upath import UPath

FOLDER = "notices"
FAILURE_PREFIX = "failure-"


@dataclass(frozen=True)
class SentLog:
    """What was sent about one run, in the store, where every component of Airflow sees it.

    A message is claimed before it is sent, because worker and DAG processor may report the same failure at the same
    moment, and released when it could not be sent, so that the next component tries again.

    Attributes
    ----------
    home
        The store's root; the marks are `notices/<dag> <run>/<attempt>/<cause>.<channel>`.
        Not opened here: a store that cannot be used must not keep a message back.
    dag_id, run_id
        The run.
    attempt
        How often tasks of the run have been cleared: what fails again after that is sent again.
    """

    home: str
    dag_id: str
    run_id: str
    attempt: int

    def claim(self, cause: str, channel: str) -> bool:
        """Claim this cause for this channel; False when it was claimed before."""
        mark = self._mark(cause, channel)
        mark.parent.mkdir(parents=True, exist_ok=True)
        try:
            with mark.open("xb") as file:
                file.write(dt.datetime.now(dt.UTC).isoformat().encode())
        except FileExistsError:
            return False
        return True

    def release(self, cause: str, channel: str) -> None:
        """Give the claim back: nothing was sent."""
        self._mark(cause, channel).unlink(missing_ok=True)

    def failure_sent_since(self, moment: dt.datetime, channel: str) -> bool:
        """Whether this channel has sent a failure of this run, in any attempt, since a moment."""
        marks = self._run.glob(f"*/{FAILURE_PREFIX}*.{channel}") if self._run.is_dir() else ()
        return any(_sent_at(mark) >= moment for mark in marks)

    @property
    def _run(self) -> UPath:
        # Run ids of manual runs are free text: quoted, they cannot leave the folder.
        return UPath(self.home) / FOLDER / quote(f"{self.dag_id} {self.run_id}", safe="")

    def _mark(self, cause: str, channel: str) -> UPath:
        return self._run / str(self.attempt) / f"{quote(cause, safe='')}.{channel}"


def failure_of(task_id: str) -> str:
    """Name of the cause "this task failed"."""
    return FAILURE_PREFIX + task_id


def _sent_at(mark: UPath) -> dt.datetime:
    """When a mark was made; one whose time is still being written was made now."""
    text = mark.read_bytes().decode()
    return dt.datetime.fromisoformat(text) if text else dt.datetime.now(dt.UTC)
