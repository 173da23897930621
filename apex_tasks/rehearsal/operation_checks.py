"""Items of the checklist on settings, calendar, packages, and who is told."""

from __future__ import annotations

import datetime as dt
import os
import re
import socket
from importlib.metadata import PackageNotFoundError, version

from apex_tasks.market.calendar import LAST_DAY, TOKYO
from apex_tasks.monitoring.alerts import INFERENCE_LATENCY
from apex_tasks.rehearsal.deployment import Deployment
from apex_tasks.rehearsal.outcome import ItemOutcome, done, failed, still_open
from apex_tasks.settings import SETTINGS_FILE_VARIABLE, ApexSettings, configs_folder, settings_file
from apex_tasks.store import file_sha256

CONSTRAINTS = "constraints.txt"
CALENDAR_DAYS_AHEAD = 366
USUAL_THRESHOLDS = ("apex_selected_count", "apex_effective_dim", INFERENCE_LATENCY, "apex_daily_cost_bps")
"""Metrics that MANIFEST.lock of v0.1.0 names, or its operators watched."""


def settings_named(deployment: Deployment) -> ItemOutcome:
    """Which file and which environment variables make the settings."""
    path = settings_file().resolve()
    named = f"by {SETTINGS_FILE_VARIABLE}" if os.environ.get(SETTINGS_FILE_VARIABLE) else "packaged"
    variables = sorted(name for name in os.environ if _sets_something(name))
    return done(
        f"{path} ({named}, sha256 {file_sha256(path)[:12]}), overridden by {', '.join(variables) or 'no variable'}"
    )


def next_run_known(deployment: Deployment) -> ItemOutcome:
    """Date, instant and as-of session of the next scheduled run, with Tokyo time as it must be."""
    rebalance, calendar = deployment.next_rebalance, deployment.calendar
    instant = calendar.rebalance_instant(rebalance)
    if instant.utcoffset() != dt.timedelta(hours=9):
        return failed(
            f"{TOKYO} is {instant:%z} from UTC, not +0900: repair the time zone data of this machine"
        )
    utc = instant.astimezone(dt.UTC)
    evidence = f"{instant:%Y-%m-%d %H:%M} JST = {utc:%Y-%m-%d %H:%M} UTC, as-of {calendar.as_of(rebalance)}"
    if rebalance < deployment.request.today:
        evidence += "; not published yet, and due as soon as the DAG is unpaused"
    return done(evidence)


def calendar_reaches(deployment: Deployment) -> ItemOutcome:
    """The calendar knows the sessions of the coming year."""
    ahead = (LAST_DAY - deployment.request.today).days
    closures = len(deployment.calendar.closures)
    evidence = f"sessions are known up to {LAST_DAY}, {ahead:,} days ahead; ad-hoc closures: {closures}"
    return done(evidence) if ahead >= CALENDAR_DAYS_AHEAD else failed(evidence)


def packages_pinned(deployment: Deployment) -> ItemOutcome:
    """The installed packages are those that were tested together."""
    path = configs_folder().parent / CONSTRAINTS
    if not path.is_file():
        return still_open(f"{path} is not there to compare with")
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", path.read_text(), re.MULTILINE))
    installed = {name: _installed(name) for name in pins}
    present = {name: found for name, found in installed.items() if found is not None}
    other = [
        f"{name} {found}, not {pins[name]}"
        for name, found in present.items()
        if pins[name] not in (found, found.partition("+")[0])  # torch 2.13.0+cpu is a build of 2.13.0
    ]
    if other:
        return still_open(f"{len(other)} packages differ from {path}: {', '.join(other)}")
    shown = ", ".join(f"{name} {present[name]}" for name in ("torch", "numpy", "pyarrow") if name in present)
    return done(f"{len(present)} installed packages as in {path} ({shown})")


def thresholds_present(deployment: Deployment) -> ItemOutcome:
    """The usual alerts are set, and the one on the model's size fits the bundle."""
    thresholds = deployment.request.settings.thresholds
    shown = ", ".join(f"{t.metric} {t.comparison} {t.bound:g} {t.severity}" for t in thresholds)
    effective_dim = deployment.bundle.effective_dim
    wrong = [
        t.bound
        for t in thresholds
        if t.metric == "apex_effective_dim" and t.comparison == "!=" and t.bound != effective_dim
    ]
    if wrong:
        return failed(
            f"apex_effective_dim must be {wrong[0]:g}, the bundle has {effective_dim}: every run would stop"
        )
    absent = [name for name in USUAL_THRESHOLDS if name not in [t.metric for t in thresholds]]
    if absent:
        return still_open(f"none on {', '.join(absent)}; set: {shown or 'none'}")
    return done(shown)


def notifications_configured(deployment: Deployment) -> ItemOutcome:
    """Slack or e-mail is set up; only Airflow sees its connections."""
    settings, connections = deployment.request.settings.notifications, deployment.connections
    slack, smtp = settings.slack_connection, settings.smtp_connection
    recipients = len(settings.email_to)
    email = f"email_to has {recipients} recipients" if recipients else "email_to is unset"
    if connections is None:
        return still_open(f"{email}; connections {slack} and {smtp} are seen by the DAG apex_rehearsal only")
    defined = {name: "defined" if connections.get(name) else "undefined" for name in (slack, smtp)}
    evidence = f"{email}; {', '.join(f'connection {name} {state}' for name, state in defined.items())}"
    works = connections.get(slack) or (connections.get(smtp) and recipients)
    return done(evidence) if works else still_open(f"{evidence}: nobody would be told")


def metrics_sent(deployment: Deployment) -> ItemOutcome:
    """The statsd exporter is named, and its name resolves."""
    statsd = deployment.request.settings.statsd
    if statsd.host is None:
        return still_open("statsd.host is unset, no metrics are sent")
    try:
        socket.getaddrinfo(statsd.host, statsd.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        return still_open(f"{statsd.host} does not resolve from here: {error.strerror}")
    return done(f"by UDP to {statsd.host}:{statsd.port}, whose name resolves; nobody acknowledges UDP")


def _sets_something(variable: str) -> bool:
    prefix, _, rest = variable.partition("_")
    return prefix == "APEX" and rest.split("__")[0].lower() in ApexSettings.model_fields


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
