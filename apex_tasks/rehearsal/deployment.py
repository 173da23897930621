"""What the deployment checklist is about: inputs, settings, store, and the outcomes of the stages before it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from apex_tasks.bundle import ResolvedBundle
from apex_tasks.dataset.keys import RowKeys, scan_keys
from apex_tasks.dataset.schema import DatasetFile
from apex_tasks.market.calendar import LAST_DAY, TseCalendar
from apex_tasks.published.portfolio import latest_of_month
from apex_tasks.rehearsal.replay import MonthlyRehearsal
from apex_tasks.rehearsal.request import RehearsalRequest
from apex_tasks.rehearsal.smoke_test import SmokeReport
from apex_tasks.store import Store


@dataclass(frozen=True)
class Deployment:
    """What is deployed here.

    Attributes
    ----------
    request
        Inputs, settings and the day that counts as today.
    bundle, dataset
        After their handshake.
    store
        Where the months will be published.
    calendar
        TSE sessions.
    smoke, months
        Outcomes of the smoke test and the monthly rehearsal; None where they were not run.
    connections
        Airflow connection -> whether it is defined; None outside Airflow, where they cannot be seen.
    """

    request: RehearsalRequest
    bundle: ResolvedBundle
    dataset: DatasetFile
    store: Store
    calendar: TseCalendar
    smoke: SmokeReport | None = None
    months: MonthlyRehearsal | None = None
    connections: Mapping[str, bool] | None = None

    @cached_property
    def keys(self) -> RowKeys:
        """Keys of all rows of the dataset."""
        ranking = self.request.settings.ranking
        return scan_keys(self.dataset, LAST_DAY, new_history_after=ranking.new_history_after_sessions)

    @property
    def panel_bytes(self) -> int:
        """Size of a month's panel: float32 rows of every stock that has one on the newest session."""
        stocks = int((self.keys.days == self.keys.days.max()).sum())
        return stocks * self.bundle.lookback * self.bundle.n_features * 4

    @cached_property
    def next_rebalance(self) -> dt.date:
        """The rebalance day that the next scheduled run is for.

        That is the newest one due, unless it is published or older than `schedule.grace_days`; else the coming one.
        """
        schedule, today = self.request.settings.schedule, self.request.today
        newest = self.calendar.latest_rebalance_session(today, schedule.nth_session)
        skipped = schedule.grace_days is not None and (today - newest).days > schedule.grace_days
        if skipped or latest_of_month(self.store, newest) is not None:
            return self.calendar.next_rebalance_session(today, schedule.nth_session)
        return newest
