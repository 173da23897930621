"""Slack and e-mail, by the notifiers of Airflow's providers: each tried by itself, none ever in the way of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import redact

from apex_tasks.settings import NotificationSettings, load_settings

if TYPE_CHECKING:
    from apex_tasks.notifications.messages import Notification
    from apex_tasks.notifications.sent_log import SentLog

log = logging.getLogger(__name__)

SLACK, EMAIL = CHANNELS = ("slack", "email")
RETRIES = 1
"""The Slack client's own number, for mail as well."""


class ChannelOff(Exception):
    """This channel is not set up; the message says what is missing."""


def deliver(notice: Notification, ledger: SentLog, *causes: str, channels: Sequence[str] = CHANNELS) -> None:
    """Send a message by every channel that has not told of all its causes yet.

    Nothing is raised: a server that is down, a missing connection and an unreachable store are one line in the log.

    Parameters
    ----------
    causes
        What the message tells of, as the ledger names it; one that is new is reason enough to send it.
    channels
        Where to send it.
    """
    settings = load_settings().notifications
    told = redact({"subject": notice.subject, "slack": notice.slack, "html": notice.html})
    for channel in channels:
        claimed = [cause for cause in causes if _claim(ledger, cause, channel)]
        if not claimed:
            log.info("By %s, %s was told before", channel, ", ".join(causes))
            continue
        try:
            # The text reaches the notifier's templates as data: braces in an error are no template.
            _NOTIFIERS[channel](settings)({"told": told})
        except (ChannelOff, AirflowNotFoundException) as missing:
            log.warning("No %s message was sent: %s", channel, missing)
        except Exception as error:
            log.error("No %s message was sent: %s: %s", channel, type(error).__name__, error)
        else:
            log.info("Told by %s: %s", channel, notice.subject)
            continue
        for cause in claimed:
            _release(ledger, cause, channel)


def _slack(settings: NotificationSettings) -> Any:
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier
    from airflow.sdk import BaseHook

    BaseHook.get_connection(settings.slack_connection)
    return SlackWebhookNotifier(
        slack_webhook_conn_id=settings.slack_connection,
        text="{{ told.slack }}",
        timeout=settings.timeout_seconds,
    )


def _email(settings: NotificationSettings) -> Any:
    from airflow.providers.smtp.hooks.smtp import SmtpHook
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    from airflow.sdk import BaseHook

    class BriefSmtpHook(SmtpHook):
        """A dead mail server must not hold up a task for the connection's own 30 s times 6."""

        timeout = settings.timeout_seconds
        smtp_retry_limit = RETRIES

    BaseHook.get_connection(settings.smtp_connection)
    if not settings.email_to:
        raise ChannelOff("the setting notifications.email_to names nobody")
    notifier = SmtpNotifier(
        to=list(settings.email_to),
        from_email=settings.email_from,
        subject="{{ told.subject }}",
        html_content="{{ told.html }}",
        smtp_conn_id=settings.smtp_connection,
    )
    notifier.hook = BriefSmtpHook(settings.smtp_connection)
    return notifier


_NOTIFIERS: dict[str, Callable[[NotificationSettings], Any]] = {SLACK: _slack, EMAIL: _email}


def _claim(ledger: SentLog, cause: str, channel: str) -> bool:
    try:
        return ledger.claim(cause, channel)
    except Exception as error:
        # The store may be what has failed: better told twice than never.
        log.warning("The store cannot remember what is told: %s: %s", type(error).__name__, error)
        return True


def _release(ledger: SentLog, cause: str, channel: str) -> None:
    try:
        ledger.release(cause, channel)
    except Exception as error:
        log.warning("The store cannot forget what was not told: %s: %s", type(error).__name__, error)
